//! `models.toml`: what the operator says of models.
//!
//! ```toml
//! running_hour = 0.08              # USD for an hour in which a session works
//!
//! [models."openai/qwen3"]          # a model, or with a `*` at its end all names that begin so
//! context_window = 32_768
//! input = 0.5                      # USD per million tokens
//! output = 2
//! cache_read = 0.05                # these three cost what input costs, if they aren't said
//! cache_write_5m = 0.625
//! cache_write_1h = 1
//! fast = {input = 1, output = 4}   # in fast mode
//! long = {above = 100_000, input = 1, output = 3}
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use tenure_core::price::{LongPrompt, TokenPrices, Usd};
use tenure_models::{ListPrice, ModelEntry, ModelTable};

/// Reads the file; without one, the shipped list is all there is.
pub(crate) fn model_table(path: &Path) -> Result<ModelTable> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|error| anyhow!("{}: {error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ModelTable::default()),
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

fn parse(text: &str) -> Result<ModelTable, toml::de::Error> {
    let file: File = toml::from_str(text)?;
    let mut table = ModelTable::default();
    for (name, entry) in file.models {
        table = table.with(name.0, entry.into());
    }
    table.running_hour = file.running_hour.0;
    Ok(table)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    running_hour: Dollars,
    #[serde(default)]
    models: BTreeMap<Name, Entry>,
}

/// A model's name, or the beginning of names and a `*`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = ["claude-", "openai/", "script/"].iter().any(|beginning| name.starts_with(beginning));
        let inner_star = name.strip_suffix('*').unwrap_or(&name).contains('*');
        match known && !inner_star {
            true => Ok(Self(name)),
            false => Err(D::Error::custom(format!(
                "expected `claude-…`, `openai/<model>` or `script/<name>`, perhaps with `*` at its end, got `{name}`"
            ))),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    context_window: Option<u64>,
    input: Option<Rate>,
    output: Option<Rate>,
    cache_read: Option<Rate>,
    cache_write_5m: Option<Rate>,
    cache_write_1h: Option<Rate>,
    fast: Option<Rates>,
    long: Option<Long>,
}

#[derive(Deserialize)]
#[serde(try_from = "EntryFile")]
struct Entry(ModelEntry);

impl From<Entry> for ModelEntry {
    fn from(entry: Entry) -> Self {
        entry.0
    }
}

impl TryFrom<EntryFile> for Entry {
    type Error = String;

    fn try_from(file: EntryFile) -> Result<Self, String> {
        let EntryFile { context_window, input, output, cache_read, cache_write_5m, cache_write_1h, fast, long } = file;
        if context_window == Some(0) {
            return Err("expected a `context_window` above 0".to_owned());
        }
        let rest = [&cache_read, &cache_write_5m, &cache_write_1h].iter().any(|price| price.is_some());
        let price = match (input, output) {
            (Some(input), Some(output)) => {
                let standard = Rates { input, output, cache_read, cache_write_5m, cache_write_1h };
                let long = long.map(|Long { above, input, output, cache_read, cache_write_5m, cache_write_1h }| {
                    let rates = Rates { input, output, cache_read, cache_write_5m, cache_write_1h };
                    LongPrompt { above, tokens: rates.into() }
                });
                let fast = fast.map(TokenPrices::from);
                Some(ListPrice { long, fast, ..ListPrice::plain(standard.into()) })
            }
            (None, None) if !rest && fast.is_none() && long.is_none() => None,
            _ => return Err("expected both `input` and `output` with any other price".to_owned()),
        };
        Ok(Self(ModelEntry { context_window, price }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rates {
    input: Rate,
    output: Rate,
    cache_read: Option<Rate>,
    cache_write_5m: Option<Rate>,
    cache_write_1h: Option<Rate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    above: u64,
    input: Rate,
    output: Rate,
    cache_read: Option<Rate>,
    cache_write_5m: Option<Rate>,
    cache_write_1h: Option<Rate>,
}

impl From<Rates> for TokenPrices {
    fn from(rates: Rates) -> Self {
        let Rates { input: Rate(input), output: Rate(output), cache_read, cache_write_5m, cache_write_1h } = rates;
        let or_input = |rate: Option<Rate>| rate.map_or(input, |Rate(rate)| rate);
        Self {
            input,
            output,
            cache_read: or_input(cache_read),
            cache_write_5m: or_input(cache_write_5m),
            cache_write_1h: or_input(cache_write_1h),
        }
    }
}

/// Thousandths of a dollar per million tokens, said in dollars.
struct Rate(u64);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "expected dollars per million tokens, from 0 to 1000000 in steps of 0.001";
        whole(f64::deserialize(deserializer)?, 1e3, 1e9)
            .map(Self)
            .map_err(|got| D::Error::custom(format!("{expected}, got {got}")))
    }
}

/// An amount said in dollars.
#[derive(Default)]
struct Dollars(Usd);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "expected dollars from 0 to 1000000 in steps of 0.000001";
        whole(f64::deserialize(deserializer)?, 1e6, 1e12)
            .map(|millionths| Self(Usd::from_nanos(millionths * 1_000)))
            .map_err(|got| D::Error::custom(format!("{expected}, got {got}")))
    }
}

/// So many of these units, if that is a whole number within bounds.
fn whole(given: f64, units: f64, most: f64) -> Result<u64, f64> {
    let number = (given * units).round();
    let exact = (given * units - number).abs() < 1e-4;
    if exact && (0.0..=most).contains(&number) { Ok(number as u64) } else { Err(given) }
}

#[cfg(test)]
mod tests {
    use tenure_core::model::{ModelConfig, Speed};
    use tenure_core::price::Usd;

    use super::parse;

    #[test]
    fn prices_are_read_and_what_is_left_out_costs_what_input_costs() {
        let text = "running_hour = 0.08\n[models.\"openai/qwen*\"]\ncontext_window = 32_768\ninput = 0.5\noutput = 2\n\
                    cache_read = 0.05\nfast = {input = 1, output = 4}\nlong = {above = 1000, input = 1, output = 3}\n\
                    [models.\"script/demo\"]\ncontext_window = 9000\n";
        let table = parse(text).expect("it is right");
        let facts = table.facts(&ModelConfig::named("openai/qwen3"));
        let price = facts.price.expect("it has one");
        assert_eq!((facts.context_window, price.running_hour), (Some(32_768), Usd::from_cents(8)));
        let tokens = price.tokens;
        assert_eq!((tokens.input, tokens.output, tokens.cache_read, tokens.cache_write_1h), (500, 2_000, 50, 500));
        let long = price.long.expect("it has one");
        assert_eq!((long.above, long.tokens.input, long.tokens.cache_read), (1_000, 1_000, 1_000));
        let fast = ModelConfig { speed: Speed::Fast, ..ModelConfig::named("openai/qwen3") };
        assert_eq!(table.facts(&fast).price.map(|price| price.tokens.output), Some(4_000));
        let demo = table.facts(&ModelConfig::named("script/demo"));
        assert_eq!((demo.context_window, demo.price), (Some(9_000), None));
    }

    #[test]
    fn the_example_of_the_page_is_right() {
        let page = include_str!("../../../../docs/models.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("there is one");
        let table = parse(example).expect("it is right");
        assert!(table.facts(&ModelConfig::named("openai/qwen3")).price.is_some());
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_cause() {
        for (text, line, cause) in [
            ("running_hour = -1\n", "line 1", "expected dollars from 0"),
            ("running_hours = 1\n", "line 1", "unknown field `running_hours`"),
            ("[models.gpt]\ninput = 1\noutput = 1\n", "line 1", "expected `claude-…`"),
            ("[models.\"openai/a*b\"]\n", "line 1", "expected `claude-…`"),
            ("\n[models.\"openai/a\"]\ninput = 1\n", "line 2", "expected both `input` and `output`"),
            ("[models.\"openai/a\"]\ninput = 1\noutput = 0.0001\n", "line 3", "in steps of 0.001, got 0.0001"),
            ("[models.\"openai/a\"]\ninput = 1\noutput = \"2\"\n", "line 3", "invalid type"),
            ("[models.\"openai/a\"]\ninput = 1\noutput = 2\nprice = 3\n", "line 4", "unknown field `price`"),
            ("[models.\"openai/a\"]\ncontext_window = 0\n", "line 1", "above 0"),
            ("[models\n", "line 1", ""),
        ] {
            let error = parse(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(line) && error.contains(cause), "{text}: {error}");
        }
    }
}

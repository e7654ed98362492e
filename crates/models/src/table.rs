//! What is known of models by name: how much they take in at once, and what they cost.

use tenure_core::model::{ModelConfig, Speed};
use tenure_core::price::{LongPrompt, ModelFacts, Price, TokenPrices, Usd};

mod shipped;

/// What is known of models: the shipped list, and above it what the operator says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelTable {
    operators: Vec<(String, ModelEntry)>,
    /// The price of an hour in which a session works.
    pub running_hour: Usd,
}

/// What is said of a model. What one entry leaves out, a less special one may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelEntry {
    /// The most tokens of a request and its reply together.
    pub context_window: Option<u64>,
    /// What it costs.
    pub price: Option<ListPrice>,
}

/// The list price of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPrice {
    /// At the standard speed.
    pub standard: TokenPrices,
    /// At the standard speed with a long prompt, where that differs.
    pub long: Option<LongPrompt>,
    /// In fast mode, where there is one.
    pub fast: Option<TokenPrices>,
    /// Whether inference in the US alone costs a tenth more.
    pub us_surcharge: bool,
}

impl ListPrice {
    /// A price without exceptions.
    pub fn plain(standard: TokenPrices) -> Self {
        Self { standard, long: None, fast: None, us_surcharge: false }
    }
}

impl ModelTable {
    /// The same table with one more word of the operator's. `name` is a model's name, or the beginning of names followed
    /// by `*`; the longest that fits goes first.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, entry: ModelEntry) -> Self {
        self.operators.push((name.into(), entry));
        self
    }

    /// What is known of a model with these settings.
    pub fn facts(&self, config: &ModelConfig) -> ModelFacts {
        let mut said: Vec<&(String, ModelEntry)> =
            self.operators.iter().filter(|(name, _)| fits(name, &config.id)).collect();
        said.sort_by_key(|(name, _)| std::cmp::Reverse((!name.ends_with('*'), name.len())));
        let shipped = shipped::find(&config.id);
        let entries = || said.iter().map(|(_, entry)| *entry).chain(shipped);
        ModelFacts {
            context_window: entries().find_map(|entry| entry.context_window),
            price: entries().find_map(|entry| entry.price).and_then(|price| self.in_force(price, config)),
        }
    }

    /// The price at these settings; none if nobody knows what a model costs in fast mode.
    fn in_force(&self, list: ListPrice, config: &ModelConfig) -> Option<Price> {
        let (tokens, long) = match config.speed {
            Speed::Standard => (list.standard, list.long),
            Speed::Fast => (list.fast?, None),
        };
        let in_us = list.us_surcharge && config.inference_geo.as_deref() == Some("us");
        let surcharged = |prices| if in_us { a_tenth_more(prices) } else { prices };
        Some(Price {
            tokens: surcharged(tokens),
            long: long.map(|long| LongPrompt { tokens: surcharged(long.tokens), ..long }),
            running_hour: self.running_hour,
        })
    }
}

/// Whether an entry speaks of a model: by its name, a dated name of it, or a beginning.
fn fits(name: &str, model: &str) -> bool {
    if let Some(beginning) = name.strip_suffix('*') {
        return model.starts_with(beginning);
    }
    match model.strip_prefix(name) {
        Some("" | "-latest") => true,
        Some(rest) => is_date(rest),
        None => false,
    }
}

/// `-20250929`, or `-2025-09-29`.
fn is_date(rest: &str) -> bool {
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    rest.starts_with('-') && digits == 8 && rest.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

fn a_tenth_more(prices: TokenPrices) -> TokenPrices {
    let more = |price: u64| (price * 11).div_ceil(10);
    let TokenPrices { input, output, cache_read, cache_write_5m, cache_write_1h } = prices;
    TokenPrices {
        input: more(input),
        output: more(output),
        cache_read: more(cache_read),
        cache_write_5m: more(cache_write_5m),
        cache_write_1h: more(cache_write_1h),
    }
}

#[cfg(test)]
mod tests {
    use tenure_core::model::{ModelConfig, Speed};
    use tenure_core::price::{TokenPrices, Usd};

    use super::{ListPrice, ModelEntry, ModelTable};

    fn at(input: u64) -> TokenPrices {
        TokenPrices { input, output: 5 * input, cache_read: input, cache_write_5m: input, cache_write_1h: input }
    }

    fn costs(input: u64) -> ModelEntry {
        ModelEntry { context_window: None, price: Some(ListPrice::plain(at(input))) }
    }

    fn input(table: &ModelTable, config: &ModelConfig) -> Option<u64> {
        table.facts(config).price.map(|price| price.tokens.input)
    }

    #[test]
    fn a_name_is_matched_whole_or_dated_or_by_its_beginning() {
        let shipped = ModelTable::default();
        let cases = [
            ("claude-opus-5-5", Some(4_000)),
            ("claude-opus-5", Some(5_000)),
            ("claude-opus-4-20250514", Some(15_000)),
            ("claude-haiku-4-5-20251001", Some(1_000)),
            ("claude-opus-5-9", None),
            ("claude-opus-5-preview", None),
            ("openai/gpt-5-2025-08-07", Some(1_250)),
            ("openai/gpt-5-turbo", None),
            ("openai/qwen3", None),
            ("script/demo", None),
        ];
        for (name, price) in cases {
            assert_eq!(input(&shipped, &ModelConfig::named(name)), price, "{name}");
        }
    }

    #[test]
    fn the_operator_goes_before_the_list_and_the_longest_name_before_shorter_ones() {
        let window = ModelEntry { context_window: Some(8_192), price: None };
        let table = ModelTable { running_hour: Usd::from_cents(8), ..ModelTable::default() }
            .with("openai/*", costs(1))
            .with("openai/qwen*", costs(2))
            .with("openai/qwen3", window)
            .with("claude-opus-5-5", costs(3));
        assert_eq!(input(&table, &ModelConfig::named("openai/llama")), Some(1));
        assert_eq!(input(&table, &ModelConfig::named("claude-opus-5-5")), Some(3));
        let qwen = table.facts(&ModelConfig::named("openai/qwen3"));
        assert_eq!(qwen.context_window, Some(8_192));
        let price = qwen.price.expect("a shorter name says it");
        assert_eq!((price.tokens.input, price.running_hour), (2, Usd::from_cents(8)));
        let opus = table.facts(&ModelConfig::named("claude-opus-5-5"));
        assert_eq!(opus.context_window, Some(1_000_000), "the list says what the operator leaves out");
    }

    #[test]
    fn settings_have_their_prices() {
        let table = ModelTable::default();
        let fast = |id: &str| ModelConfig { speed: Speed::Fast, ..ModelConfig::named(id) };
        assert_eq!(input(&table, &fast("claude-opus-5-5")), Some(8_000));
        assert_eq!(input(&table, &fast("claude-opus-4-6")), None, "nobody knows the price");
        let us = |id: &str| ModelConfig { inference_geo: Some("us".into()), ..ModelConfig::named(id) };
        assert_eq!(input(&table, &us("claude-opus-5-5")), Some(4_400));
        assert_eq!(input(&table, &us("claude-opus-4-5")), Some(5_000));
        let haiku = table.facts(&us("claude-haiku-5-5")).price.and_then(|price| price.long).expect("it has one");
        assert_eq!((haiku.above, haiku.tokens.input, haiku.tokens.cache_read), (100_000, 550, 55));
    }
}

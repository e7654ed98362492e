//! The shipped list of models. A model that isn't here costs nobody knows what; the operator can say.
//!
//! From <https://platform.claude.com/docs/en/about-claude/pricing>, the model pages beside it, and
//! <https://developers.openai.com/api/docs/pricing>, as of November 2026. Prices that are said to be passing aren't here.

use tenure_core::price::{LongPrompt, TokenPrices};

use super::{ListPrice, ModelEntry, fits};

/// What is said of a model, if it is listed.
pub(super) fn find(model: &str) -> Option<ModelEntry> {
    let model_of_openai = model.strip_prefix(crate::providers::openai::PREFIX);
    let found = match model_of_openai {
        Some(name) => OPENAI.iter().find(|(listed, _)| fits(listed, name)),
        None => CLAUDE.iter().find(|(listed, _)| fits(listed, model)),
    };
    found.map(|(_, entry)| *entry)
}

/// Prices are in thousandths of a dollar per million tokens: input, output, cache read.
#[rustfmt::skip]
const CLAUDE: &[(&str, ModelEntry)] = &[
    ("claude-fable-5-2",  current(claude( 8_000, 40_000,   200), FAST)),
    ("claude-fable-5-1",  current(claude(10_000, 50_000,   250), NOT_FAST)),
    ("claude-mythos-5-1", current(claude(10_000, 50_000,   250), NOT_FAST)),
    ("claude-fable-5",    current(claude(10_000, 50_000, 1_000), NOT_FAST)),
    ("claude-mythos-5",   current(claude(10_000, 50_000, 1_000), NOT_FAST)),
    ("claude-opus-5-5",   current(claude( 4_000, 20_000,   200), FAST)),
    ("claude-opus-5",     current(claude( 5_000, 25_000,   500), FAST)),
    ("claude-opus-4-8",   current(claude( 5_000, 25_000,   500), FAST)),
    ("claude-opus-4-7",   current(claude( 5_000, 25_000,   500), NOT_FAST)),
    ("claude-opus-4-6",   current(claude( 5_000, 25_000,   500), NOT_FAST)),
    ("claude-opus-4-5",   earlier(claude( 5_000, 25_000,   500))),
    ("claude-opus-4-1",   earlier(claude(15_000, 75_000, 1_500))),
    ("claude-opus-4-0",   earlier(claude(15_000, 75_000, 1_500))),
    ("claude-opus-4",     earlier(claude(15_000, 75_000, 1_500))),
    ("claude-sonnet-5-5", current(claude( 2_000, 10_000,   100), NOT_FAST)),
    ("claude-sonnet-5",   current(claude( 2_000, 10_000,   200), NOT_FAST)),
    ("claude-sonnet-4-6", current(claude( 3_000, 15_000,   300), NOT_FAST)),
    ("claude-sonnet-4-5", earlier(claude( 3_000, 15_000,   300))),
    ("claude-sonnet-4-0", earlier(claude( 3_000, 15_000,   300))),
    ("claude-sonnet-4",   earlier(claude( 3_000, 15_000,   300))),
    ("claude-3-7-sonnet", earlier(claude( 3_000, 15_000,   300))),
    ("claude-haiku-5-5",  long_above(100_000, current(claude(100, 500, 10), NOT_FAST), claude(500, 2_500, 50))),
    ("claude-haiku-4-5",  earlier(claude( 1_000,  5_000,   100))),
    ("claude-3-5-haiku",  earlier(claude(   800,  4_000,    80))),
];

/// Prices are in thousandths of a dollar per million tokens: input, cached input, cache write, output.
#[rustfmt::skip]
const OPENAI: &[(&str, ModelEntry)] = &[
    ("gpt-6-astra",   banded(openai(10_000, 1_000, 12_500, 50_000), openai(20_000, 2_000, 25_000, 75_000))),
    ("gpt-6.1-sol",   banded(openai( 2_000,   100,  2_500, 10_000), openai( 4_000,   200,  5_000, 15_000))),
    ("gpt-6-sol",     banded(openai( 2_000,   200,  2_500, 10_000), openai( 4_000,   400,  5_000, 15_000))),
    ("gpt-6-luna",    banded(openai(   100,    10,    125,    500), openai(   200,    20,    250,    750))),
    ("gpt-5.6-terra", banded(openai( 2_000,   200,  2_500, 12_000), openai( 4_000,   400,  5_000, 18_000))),
    ("gpt-5.6-luna",  banded(openai(   200,    20,    250,  1_200), openai(   400,    40,    500,  1_800))),
    ("gpt-5.5",       banded(openai( 5_000,   500,  5_000, 30_000), openai(10_000, 1_000, 10_000, 45_000))),
    ("gpt-5.2",       entry(  400_000, openai(1_750, 175, 1_750, 14_000))),
    ("gpt-5.1",       entry(  400_000, openai(1_250, 125, 1_250, 10_000))),
    ("gpt-5",         entry(  400_000, openai(1_250, 125, 1_250, 10_000))),
    ("gpt-5-mini",    entry(  400_000, openai(  250,  25,   250,  2_000))),
    ("gpt-5-nano",    entry(  400_000, openai(   50,   5,    50,    400))),
    ("gpt-4.1",       entry(1_047_576, openai(2_000, 500, 2_000,  8_000))),
    ("gpt-4.1-mini",  entry(1_047_576, openai(  400, 100,   400,  1_600))),
    ("gpt-4.1-nano",  entry(1_047_576, openai(  100,  25,   100,    400))),
];

/// Whether a model has a fast mode, at twice the price.
const FAST: bool = true;
const NOT_FAST: bool = false;

/// Claude's cache writes cost a quarter more than input for five minutes, and twice as much for an hour.
const fn claude(input: u64, output: u64, cache_read: u64) -> TokenPrices {
    TokenPrices { input, output, cache_read, cache_write_5m: input + input / 4, cache_write_1h: 2 * input }
}

const fn openai(input: u64, cache_read: u64, cache_write: u64, output: u64) -> TokenPrices {
    TokenPrices { input, output, cache_read, cache_write_5m: cache_write, cache_write_1h: cache_write }
}

const fn entry(context_window: u64, standard: TokenPrices) -> ModelEntry {
    let price = ListPrice { standard, long: None, fast: None, us_surcharge: false };
    ModelEntry { context_window: Some(context_window), price: Some(price) }
}

/// A Claude before 4.6.
const fn earlier(standard: TokenPrices) -> ModelEntry {
    entry(200_000, standard)
}

/// A Claude from 4.6 on: a million tokens at one price, a tenth more for inference in the US alone.
const fn current(standard: TokenPrices, has_fast: bool) -> ModelEntry {
    let fast = match has_fast {
        true => Some(TokenPrices {
            input: 2 * standard.input,
            output: 2 * standard.output,
            cache_read: 2 * standard.cache_read,
            cache_write_5m: 2 * standard.cache_write_5m,
            cache_write_1h: 2 * standard.cache_write_1h,
        }),
        false => None,
    };
    let price = ListPrice { standard, long: None, fast, us_surcharge: true };
    ModelEntry { context_window: Some(1_000_000), price: Some(price) }
}

const fn long_above(above: u64, entry: ModelEntry, tokens: TokenPrices) -> ModelEntry {
    let price = match entry.price {
        Some(price) => Some(ListPrice { long: Some(LongPrompt { above, tokens }), ..price }),
        None => None,
    };
    ModelEntry { price, ..entry }
}

/// OpenAI's newer models cost more above 272,000 tokens of input.
const fn banded(standard: TokenPrices, long: TokenPrices) -> ModelEntry {
    long_above(272_000, entry(1_050_000, standard), long)
}

#[cfg(test)]
mod tests {
    use super::{CLAUDE, OPENAI};

    #[test]
    fn the_list_is_sound() {
        for list in [CLAUDE, OPENAI] {
            for (at, (name, entry)) in list.iter().enumerate() {
                assert!(!list[..at].iter().any(|(earlier, _)| earlier == name), "{name} is listed twice");
                let prices = entry.price.expect("that is what the list is for").standard;
                assert!(prices.cache_read <= prices.input && prices.input < prices.output, "{name}: {prices:?}");
                assert!(entry.context_window >= Some(200_000), "{name}");
            }
        }
    }
}

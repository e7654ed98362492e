//! What a model costs, and what may be spent. All in integers, so that a cost is the same on every machine and after every
//! restart.

use serde::{Deserialize, Serialize};

use crate::model::TokenUsage;

/// Billionths of a dollar in a cent.
const NANOS_PER_CENT: u64 = 10_000_000;

/// An amount of money, in billionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many billionths of a dollar.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// So many cents; the most there can be is some 18 billion dollars.
    pub const fn from_cents(cents: u64) -> Self {
        Self(cents.saturating_mul(NANOS_PER_CENT))
    }

    /// In billionths of a dollar.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// In whole cents, rounded up: what has cost anything never shows as nothing.
    pub const fn cents(self) -> u64 {
        self.0.div_ceil(NANOS_PER_CENT)
    }

    /// Whether it is nothing.
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    fn of(nanos: u128) -> Self {
        Self(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What is known of a session's model beside its settings. It is pinned when the session is created, so that what its
/// tokens cost never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The most tokens of a request and its reply together; `None` if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// What it costs; `None` if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl ModelFacts {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a session with a model costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The price of tokens.
    pub tokens: TokenPrices,
    /// Other prices for requests whose prompt is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<LongPrompt>,
    /// The price of an hour in which the session works.
    #[serde(default)]
    pub running_hour: Usd,
}

/// The price of one token of each kind, in billionths of a dollar; the same number is thousandths of a dollar per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPrices {
    /// Uncached input.
    pub input: u64,
    /// Output, thinking included.
    pub output: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Input written to the cache for an hour.
    pub cache_write_1h: u64,
}

/// The prices of a request with a long prompt. They hold for all of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongPrompt {
    /// They hold if the whole input, cached or not, has more tokens than this.
    pub above: u64,
    /// The prices.
    pub tokens: TokenPrices,
}

impl Price {
    /// What one request's tokens cost.
    pub fn of_request(&self, usage: TokenUsage) -> Usd {
        let TokenUsage { input, output, cache_read, cache_write_5m, cache_write_1h } = usage;
        let prompt = [input, cache_read, cache_write_5m, cache_write_1h].into_iter().fold(0, u64::saturating_add);
        let prices = self.long.filter(|long| prompt > long.above).map_or(self.tokens, |long| long.tokens);
        let parts = [
            (input, prices.input),
            (output, prices.output),
            (cache_read, prices.cache_read),
            (cache_write_5m, prices.cache_write_5m),
            (cache_write_1h, prices.cache_write_1h),
        ];
        let cost = |(tokens, price): (u64, u64)| u128::from(tokens) * u128::from(price);
        Usd::of(parts.into_iter().map(cost).sum())
    }

    /// What so much work costs beside the tokens.
    pub fn of_time(&self, active_ms: u64) -> Usd {
        Usd::of((u128::from(active_ms) * u128::from(self.running_hour.nanos())).div_ceil(3_600_000))
    }
}

/// What a session may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The most, in cents, at list prices.
    pub max_list_cost_cents: u64,
}

impl Budget {
    /// The most.
    pub fn limit(self) -> Usd {
        Usd::from_cents(self.max_list_cost_cents)
    }
}

#[cfg(test)]
mod tests {
    use super::{LongPrompt, Price, TokenPrices, Usd};
    use crate::model::TokenUsage;

    const SHORT: TokenPrices =
        TokenPrices { input: 100, output: 500, cache_read: 10, cache_write_5m: 125, cache_write_1h: 200 };
    const LONG: TokenPrices =
        TokenPrices { input: 500, output: 2_500, cache_read: 50, cache_write_5m: 625, cache_write_1h: 1_000 };

    fn price() -> Price {
        let long = Some(LongPrompt { above: 100_000, tokens: LONG });
        Price { tokens: SHORT, long, running_hour: Usd::from_cents(8) }
    }

    #[test]
    fn cents_are_rounded_up() {
        for (nanos, cents) in [(0, 0), (1, 1), (10_000_000, 1), (10_000_001, 2), (u64::MAX, 1_844_674_407_371)] {
            assert_eq!(Usd::from_nanos(nanos).cents(), cents, "{nanos}");
        }
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usage = TokenUsage { input: 1, output: 10, cache_read: 100, cache_write_5m: 1_000, cache_write_1h: 10_000 };
        let cost = 100 + 5_000 + 1_000 + 125_000 + 2_000_000;
        assert_eq!(price().of_request(usage), Usd::from_nanos(cost));
    }

    #[test]
    fn a_long_prompt_has_its_own_prices_for_all_tokens() {
        let cost = |input, cache_read| {
            price().of_request(TokenUsage { input, cache_read, output: 1, ..TokenUsage::default() }).nanos()
        };
        assert_eq!(cost(50_000, 50_000), 50_000 * 110 + 500);
        assert_eq!(cost(50_001, 50_000), 50_001 * 500 + 50_000 * 50 + 2_500);
    }

    #[test]
    fn time_costs_by_the_millisecond_and_nothing_overflows() {
        assert_eq!(price().of_time(3_600_000), Usd::from_cents(8));
        assert_eq!(price().of_time(1), Usd::from_nanos(23));
        let most = TokenUsage { input: u64::MAX, output: u64::MAX, ..TokenUsage::default() };
        assert_eq!(price().of_request(most), Usd::from_nanos(u64::MAX));
        assert_eq!(Usd::from_cents(u64::MAX).plus(Usd::from_cents(1)), Usd::from_nanos(u64::MAX));
    }
}

//! Prices of models in US dollars: those of Claude Code 2.1.330, with whose sums the proxy's own count has to agree.

use super::meter::TokenCount;

/// US dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ModelPrice {
    input: f64,
    output: f64,
    cache_read: f64,
    /// Requests that read more than so many tokens have another price.
    long: Option<(u64, f64, f64, f64)>,
}

/// One search of the web.
const SEARCH_USD: f64 = 0.01;

/// The CLI charges a model that it does not know like this.
const UNKNOWN: ModelPrice = ModelPrice::new(5.0, 25.0, 0.5);

/// The dearest of the faster, dearer way to run a model.
const FAST: ModelPrice = ModelPrice::new(30.0, 150.0, 3.0);

/// Prices by how the model's name begins; the first that fits.
const PRICES: [(&str, ModelPrice); 21] = [
    ("claude-3-5-haiku", ModelPrice::new(0.8, 4.0, 0.08)),
    ("claude-haiku-4-5", ModelPrice::new(1.0, 5.0, 0.1)),
    (
        "claude-haiku-5-5",
        ModelPrice { long: Some((100_000, 0.5, 2.5, 0.05)), ..ModelPrice::new(0.1, 0.5, 0.01) },
    ),
    ("claude-3-5-sonnet", ModelPrice::new(3.0, 15.0, 0.3)),
    ("claude-3-7-sonnet", ModelPrice::new(3.0, 15.0, 0.3)),
    ("claude-sonnet-4", ModelPrice::new(3.0, 15.0, 0.3)),
    ("claude-sonnet-5-5", ModelPrice::new(2.0, 10.0, 0.1)),
    ("claude-sonnet-5", ModelPrice::new(2.0, 10.0, 0.2)),
    ("claude-opus-4-5", ModelPrice::new(5.0, 25.0, 0.5)),
    ("claude-opus-4-6", ModelPrice::new(5.0, 25.0, 0.5)),
    ("claude-opus-4-7", ModelPrice::new(5.0, 25.0, 0.5)),
    ("claude-opus-4-8", ModelPrice::new(5.0, 25.0, 0.5)),
    ("claude-opus-4", ModelPrice::new(15.0, 75.0, 1.5)),
    ("claude-opus-5-5", ModelPrice::new(4.0, 20.0, 0.2)),
    ("claude-opus-5", ModelPrice::new(5.0, 25.0, 0.5)),
    ("claude-fable-5-1", ModelPrice::new(10.0, 50.0, 0.25)),
    ("claude-fable-5-2", ModelPrice::new(8.0, 40.0, 0.2)),
    ("claude-fable-5", ModelPrice::new(10.0, 50.0, 1.0)),
    ("claude-mythos-5-1", ModelPrice::new(10.0, 50.0, 0.25)),
    ("claude-mythos-5-2", ModelPrice::new(8.0, 40.0, 0.2)),
    ("claude-mythos-5", ModelPrice::new(10.0, 50.0, 1.0)),
];

impl ModelPrice {
    const fn new(input: f64, output: f64, cache_read: f64) -> Self {
        Self { input, output, cache_read, long: None }
    }

    /// The price of a model by its name at the service.
    pub(super) fn of(model: &str) -> Self {
        let known = PRICES.iter().find(|(name, _)| model.starts_with(name));
        known.map_or(UNKNOWN, |(_, price)| *price)
    }

    /// What these tokens of one request cost.
    pub(super) fn usd(self, tokens: &TokenCount) -> f64 {
        let read = tokens.input + tokens.cache_read + tokens.cache_write + tokens.cache_write_1h;
        let price = match (tokens.fast, self.long) {
            (true, _) => FAST,
            (false, Some((above, input, output, cache_read))) if read > above => {
                Self::new(input, output, cache_read)
            }
            (false, _) => self,
        };
        // Tokens written to the cache cost more than plain input: a quarter more for minutes, twice as much for an hour.
        let of = |tokens: u64, usd: f64| tokens as f64 / 1e6 * usd;
        let paid = of(tokens.input, price.input)
            + of(tokens.output, price.output)
            + of(tokens.cache_read, price.cache_read)
            + of(tokens.cache_write, price.input * 1.25)
            + of(tokens.cache_write_1h, price.input * 2.0);
        paid + tokens.searches as f64 * SEARCH_USD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(model: &str, tokens: TokenCount) -> f64 {
        (ModelPrice::of(model).usd(&tokens) * 1e9).round() / 1e9
    }

    #[test]
    fn a_name_finds_its_own_price_and_not_that_of_a_shorter_one() {
        let million = TokenCount { input: 1_000_000, ..TokenCount::default() };
        for (model, price) in [
            ("claude-opus-5-5", 4.0),
            ("claude-opus-5-5-20260601", 4.0),
            ("claude-opus-5", 5.0),
            ("claude-opus-4-1-20250805", 15.0),
            ("claude-opus-4-8", 5.0),
            ("claude-sonnet-4-5-20250929", 3.0),
            ("gpt-9", 5.0),
            ("", 5.0),
        ] {
            assert_eq!(usd(model, million), price, "{model}");
        }
        let longer: Vec<_> = PRICES
            .iter()
            .enumerate()
            .filter(|(at, (name, _))| PRICES[..*at].iter().any(|(before, _)| name.starts_with(before)))
            .collect();
        assert!(longer.is_empty(), "a shorter name hides {longer:?}");
    }

    #[test]
    fn every_kind_of_token_has_its_price() {
        let tokens = TokenCount {
            input: 1_000,
            output: 100,
            cache_write: 10_000,
            cache_write_1h: 1_000,
            cache_read: 50_000,
            searches: 2,
            fast: false,
        };
        // 0.005 + 0.0025 + 0.0625 + 0.01 + 0.025 + 0.02
        assert_eq!(usd("claude-opus-4-5", tokens), 0.125);
        let fast = TokenCount { fast: true, ..TokenCount { input: 1_000_000, ..TokenCount::default() } };
        assert_eq!(usd("claude-opus-4-5", fast), 30.0);
        let long = TokenCount { input: 200_000, ..TokenCount::default() };
        assert_eq!(usd("claude-haiku-5-5", long), 0.1);
        let short = TokenCount { input: 100_000, ..TokenCount::default() };
        assert_eq!(usd("claude-haiku-5-5", short), 0.01);
    }
}

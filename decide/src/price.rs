//! What a call may cost at most, and what it did cost.
//!
//! Not here: where prices come from (the tool's definition) and where usage is read (`corridor::rooms::settle`).
//! Invariant: an estimate is a ceiling of every cost the same price can produce, unless usage breaks the promise
//! made by `max_tokens`; then the true cost is charged all the same.

use aegis_domain::{MicroUsd, Params};

/// How a tool is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Price {
    Free,
    PerCall(MicroUsd),
    PerToken(TokenPrice),
}

/// What tokens of a chat model cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPrice {
    pub input_per_million: MicroUsd,
    pub output_per_million: MicroUsd,
    /// What a call may produce when it names no `max_tokens` of its own.
    pub output_tokens_max: u64,
}

/// Tokens a model says it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// How far a call got, as far as its bill is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No byte of the call reached the upstream.
    NotSent,
    /// The upstream took it and refused (status 400 or above).
    Refused,
    /// The upstream answered, and said what was used where the tool is billed by token.
    Answered(Option<Usage>),
    /// It was sent and the answer never came, or broke off before its end.
    Unknown(Option<Usage>),
}

const TOKENS_PER_MILLION: u64 = 1_000_000;

impl Price {
    /// The most this call can cost. `body_bytes` bounds the input tokens: no tokenizer in use makes more than one
    /// token of a byte.
    pub fn estimate(&self, params: &Params, body_bytes: u64) -> MicroUsd {
        match self {
            Price::Free => MicroUsd::ZERO,
            Price::PerCall(amount) => *amount,
            Price::PerToken(price) => price.cost(Usage {
                input_tokens: body_bytes,
                output_tokens: price.output_ceiling(params).saturating_mul(choices(params)),
            }),
        }
    }

    /// What is charged once the outcome is known.
    pub fn actual(&self, progress: Progress, estimate: MicroUsd) -> MicroUsd {
        match (self, progress) {
            (Price::Free, _) | (_, Progress::NotSent) => MicroUsd::ZERO,
            (Price::PerCall(_) | Price::PerToken(_), Progress::Refused) => MicroUsd::ZERO,
            (Price::PerCall(amount), Progress::Answered(_) | Progress::Unknown(_)) => *amount,
            (
                Price::PerToken(price),
                Progress::Answered(Some(usage)) | Progress::Unknown(Some(usage)),
            ) => price.cost(usage),
            (Price::PerToken(_), Progress::Answered(None) | Progress::Unknown(None)) => estimate,
        }
    }
}

impl TokenPrice {
    fn cost(&self, usage: Usage) -> MicroUsd {
        let part = |price: MicroUsd, tokens| {
            price.for_units(tokens, TOKENS_PER_MILLION).unwrap_or(MicroUsd::MAX)
        };
        part(self.input_per_million, usage.input_tokens)
            .saturating_add(part(self.output_per_million, usage.output_tokens))
    }

    fn output_ceiling(&self, params: &Params) -> u64 {
        // Which of several an upstream obeys is its secret, so the highest counts.
        let named = ["max_completion_tokens", "max_output_tokens", "max_tokens"]
            .iter()
            .filter_map(|name| params.get(*name).map(count));
        named.max().unwrap_or(self.output_tokens_max)
    }
}

/// How many answers the call asks for (`n`), each of which may run to the ceiling.
fn choices(params: &Params) -> u64 {
    params.get("n").map_or(1, count).max(1)
}

/// A count as written; what is not plainly one counts as boundless, so that no budget is passed by it.
fn count(value: &serde_json::Value) -> u64 {
    match value.as_u64() {
        Some(count) => count,
        None if value.is_null() => 0,
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn per_token() -> Price {
        Price::PerToken(TokenPrice {
            input_per_million: MicroUsd::new(2_500_000),
            output_per_million: MicroUsd::new(10_000_000),
            output_tokens_max: 4_096,
        })
    }

    fn params(json: serde_json::Value) -> Params {
        json.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn max_tokens_bounds_the_estimate_and_n_multiplies_it() {
        let one = per_token().estimate(&params(serde_json::json!({"max_tokens": 100})), 0);
        let three =
            per_token().estimate(&params(serde_json::json!({"max_tokens": 100, "n": 3})), 0);
        assert_eq!((one.micro_usd(), three.micro_usd()), (1_000, 3_000));
    }

    #[test]
    fn a_ceiling_cannot_be_talked_down() {
        let both = serde_json::json!({"max_completion_tokens": 1, "max_tokens": 100});
        assert_eq!(per_token().estimate(&params(both), 0).micro_usd(), 1_000);
        for odd in [serde_json::json!(100.5), serde_json::json!("1"), serde_json::json!(-1)] {
            let estimate = per_token().estimate(&params(serde_json::json!({"max_tokens": odd})), 0);
            assert_eq!(estimate, MicroUsd::MAX);
        }
    }

    #[test]
    fn a_call_without_max_tokens_is_held_at_the_models_own_ceiling() {
        assert_eq!(per_token().estimate(&Params::new(), 0).micro_usd(), 40_960);
    }

    #[test]
    fn what_was_not_sent_or_was_refused_costs_nothing() {
        let held = MicroUsd::new(77);
        for progress in [Progress::NotSent, Progress::Refused] {
            assert_eq!(per_token().actual(progress, held), MicroUsd::ZERO);
            assert_eq!(Price::PerCall(MicroUsd::new(5)).actual(progress, held), MicroUsd::ZERO);
        }
    }

    #[test]
    fn an_unknown_outcome_is_charged_at_the_estimate() {
        let held = MicroUsd::new(77);
        assert_eq!(per_token().actual(Progress::Unknown(None), held), held);
        assert_eq!(per_token().actual(Progress::Answered(None), held), held);
    }

    proptest! {
        #[test]
        fn an_estimate_is_a_ceiling_while_the_model_keeps_its_promise(
            max_tokens in 1_u64..100_000, body in 0_u64..1_000_000, input in 0.0..1.0_f64, output in 0.0..1.0_f64,
        ) {
            let held = per_token().estimate(&params(serde_json::json!({"max_tokens": max_tokens})), body);
            #[expect(clippy::as_conversions, reason = "a test picks fractions")]
            let part = |of: u64, share: f64| (of as f64 * share) as u64;
            let usage = Usage { input_tokens: part(body, input), output_tokens: part(max_tokens, output) };
            prop_assert!(per_token().actual(Progress::Answered(Some(usage)), held) <= held);
        }
    }
}

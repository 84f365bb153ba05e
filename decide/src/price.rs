//! What a call may cost at most, and what it did cost.
//!
//! Not here: where prices come from (the tool's definition) and where usage is read (`corridor::rooms::settle`).
//! Invariant: an estimate is a ceiling of every cost the same price can produce, unless it says that it is soft or usage
//! breaks the promise made by `max_tokens`; then the true cost is charged all the same.

use aegis_domain::{EstimateKind, MicroUsd, Params};

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
    /// What a call may produce when it names no `max_tokens` of its own; `None` where nothing bounds that.
    pub output_tokens_max: Option<u64>,
}

/// What is held for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub cost: MicroUsd,
    pub kind: EstimateKind,
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
    /// It was sent and the answer never came, or broke off before its end; what was used until then, if it was told.
    Unknown(Option<Usage>),
}

const TOKENS_PER_MILLION: u64 = 1_000_000;
/// What an answer is taken to be long where neither the call nor its tool bounds it.
const OUTPUT_TOKENS_GUESS: u64 = 4_096;
/// Parameters that bring in input which does not stand in the body: earlier turns that OpenAI keeps, what Gemini cached.
const INPUT_ELSEWHERE: [&str; 4] =
    ["previous_response_id", "conversation", "cachedContent", "cached_content"];

impl Price {
    /// The most this call can cost, or a guess that says so. `body_bytes` bounds the input tokens: no tokenizer in use
    /// makes more than one token of a byte.
    pub fn estimate(&self, params: &Params, body_bytes: u64) -> Estimate {
        match self {
            Price::Free => Estimate { cost: MicroUsd::ZERO, kind: EstimateKind::Ceiling },
            Price::PerCall(amount) => Estimate { cost: *amount, kind: EstimateKind::Ceiling },
            Price::PerToken(price) => price.estimate(params, body_bytes),
        }
    }

    /// What is charged once the outcome is known; `held` is what was set aside for the call when it ended.
    pub fn actual(&self, progress: Progress, held: MicroUsd) -> MicroUsd {
        match (self, progress) {
            (Price::Free, _) | (_, Progress::NotSent) => MicroUsd::ZERO,
            (Price::PerCall(_) | Price::PerToken(_), Progress::Refused) => MicroUsd::ZERO,
            (Price::PerCall(amount), Progress::Answered(_) | Progress::Unknown(_)) => *amount,
            (Price::PerToken(price), Progress::Answered(Some(usage))) => price.cost(usage),
            // More was used than anybody saw.
            (Price::PerToken(price), Progress::Unknown(Some(usage))) => price.cost(usage).max(held),
            (Price::PerToken(_), Progress::Answered(None) | Progress::Unknown(None)) => held,
        }
    }
}

impl TokenPrice {
    /// What so many tokens cost.
    pub fn cost(&self, usage: Usage) -> MicroUsd {
        let part = |price: MicroUsd, tokens| {
            price.for_units(tokens, TOKENS_PER_MILLION).unwrap_or(MicroUsd::MAX)
        };
        part(self.input_per_million, usage.input_tokens)
            .saturating_add(part(self.output_per_million, usage.output_tokens))
    }

    fn estimate(&self, params: &Params, body_bytes: u64) -> Estimate {
        let ceiling = self.output_ceiling(params);
        let is_whole = !INPUT_ELSEWHERE.iter().any(|name| params.contains_key(*name));
        let output = ceiling.unwrap_or(OUTPUT_TOKENS_GUESS).saturating_mul(choices(params));
        Estimate {
            cost: self.cost(Usage { input_tokens: body_bytes, output_tokens: output }),
            kind: match (ceiling, is_whole) {
                (Some(_), true) => EstimateKind::Ceiling,
                (None, _) | (_, false) => EstimateKind::Soft,
            },
        }
    }

    fn output_ceiling(&self, params: &Params) -> Option<u64> {
        // Which of several an upstream obeys is its secret, so the highest counts.
        let named = ["max_completion_tokens", "max_output_tokens", "max_tokens"]
            .iter()
            .filter_map(|name| params.get(*name).filter(|value| !value.is_null()).map(count));
        named.max().or(self.output_tokens_max)
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
            output_tokens_max: Some(4_096),
        })
    }

    fn params(json: serde_json::Value) -> Params {
        json.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn max_tokens_bounds_the_estimate_and_n_multiplies_it() {
        let one = per_token().estimate(&params(serde_json::json!({"max_tokens": 100})), 0).cost;
        let three =
            per_token().estimate(&params(serde_json::json!({"max_tokens": 100, "n": 3})), 0).cost;
        assert_eq!((one.micro_usd(), three.micro_usd()), (1_000, 3_000));
    }

    #[test]
    fn a_ceiling_cannot_be_talked_down() {
        let both = serde_json::json!({"max_completion_tokens": 1, "max_tokens": 100});
        assert_eq!(per_token().estimate(&params(both), 0).cost.micro_usd(), 1_000);
        for odd in [serde_json::json!(100.5), serde_json::json!("1"), serde_json::json!(-1)] {
            let estimate = per_token().estimate(&params(serde_json::json!({"max_tokens": odd})), 0);
            assert_eq!(estimate.cost, MicroUsd::MAX);
        }
    }

    #[test]
    fn a_call_without_max_tokens_is_held_at_the_models_own_ceiling() {
        assert_eq!(per_token().estimate(&Params::new(), 0).cost.micro_usd(), 40_960);
        let null = params(serde_json::json!({ "max_tokens": null }));
        assert_eq!(per_token().estimate(&null, 0).cost.micro_usd(), 40_960);
    }

    #[test]
    fn a_guess_is_never_passed_off_as_a_ceiling() {
        let Price::PerToken(bounded) = per_token() else { unreachable!("it is billed by token") };
        let boundless = TokenPrice { output_tokens_max: None, ..bounded };
        let of =
            |price: &TokenPrice, json| Price::PerToken(price.clone()).estimate(&params(json), 0);
        let guess = of(&boundless, serde_json::json!({}));
        assert_eq!((guess.cost.micro_usd(), guess.kind), (40_960, EstimateKind::Soft));
        let named = of(&boundless, serde_json::json!({ "max_tokens": 10 }));
        assert_eq!((named.cost.micro_usd(), named.kind), (100, EstimateKind::Ceiling));
        for name in INPUT_ELSEWHERE {
            let with = serde_json::json!({ "max_tokens": 10, name: "r1" });
            assert_eq!(of(&boundless, with).kind, EstimateKind::Soft, "{name}");
        }
        assert_eq!(per_token().estimate(&Params::new(), 0).kind, EstimateKind::Ceiling);
    }

    #[test]
    fn what_broke_off_costs_what_was_held_or_what_was_told_if_that_is_more() {
        let told =
            |output_tokens| Progress::Unknown(Some(Usage { input_tokens: 0, output_tokens }));
        let held = MicroUsd::new(77);
        assert_eq!(per_token().actual(told(1), held), held);
        assert_eq!(per_token().actual(told(100), held), MicroUsd::new(1_000));
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
            let held = per_token().estimate(&params(serde_json::json!({"max_tokens": max_tokens})), body).cost;
            #[expect(clippy::as_conversions, reason = "a test picks fractions")]
            let part = |of: u64, share: f64| (of as f64 * share) as u64;
            let usage = Usage { input_tokens: part(body, input), output_tokens: part(max_tokens, output) };
            prop_assert!(per_token().actual(Progress::Answered(Some(usage)), held) <= held);
        }
    }
}

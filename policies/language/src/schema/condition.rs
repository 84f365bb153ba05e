//! `when:` as a schema: one leaf a subject, each with exactly one test.
//!
//! Not here: the decoder (`crate::condition`). Invariant: a leaf has its subject and one operator, so two keys.

use aegis_domain::Detector;
use serde_json::{Value, json};

use super::shape::{choice, defined, list, object, one_of, optional, required, sized, text, with};
use crate::MoneyFact;

const AMOUNTS: [MoneyFact; 2] = [MoneyFact::BudgetRemaining, MoneyFact::EstimatedCost];

pub(super) fn condition() -> Value {
    let inner = || defined("condition");
    let nested = [
        required("all", "Every one of these holds.", list(inner(), 1)),
        required("any", "At least one of these holds.", list(inner(), 1)),
        required(
            "not",
            "This does not hold. What looks at a missing value does not hold.",
            inner(),
        ),
        required("dlp", "Any of these detectors found something.", defined("detectors")),
        required("calendar", "The calendar is open now.", defined("name")),
        required("budget_remaining", "What is left of the budget, in micro-USD.", amount()),
        required("estimated_cost", "What the call is expected to cost, in micro-USD.", amount()),
    ];
    let always = json!({ "const": "always", "description": "Every call." });
    let leaves = [
        required("param", "A parameter of the call, declared under `params`.", defined("name")),
        required("fact", "How often a detector found something.", fact()),
        required(
            "context",
            "What the gateway knows: an amount in micro-USD, or whether a calendar is open.",
            context(),
        ),
        required("agent", "An attribute of the agent's identity.", agent()),
        required("request", "A part of the request.", choice(["host", "method", "path", "region"])),
    ];
    let nested = nested.into_iter().map(|key| object([key]));
    one_of(std::iter::once(always).chain(nested).chain(leaves.into_iter().map(leaf)))
}

fn fact() -> Value {
    let names = Detector::ALL.map(|detector| format!("dlp.{}", detector.as_str()));
    choice(names.iter().map(String::as_str))
}

fn context() -> Value {
    let calendar = text("^calendar\\.[A-Za-z_][A-Za-z0-9_]{0,63}$", &["calendar.spare"]);
    one_of([choice(AMOUNTS.map(MoneyFact::as_str)), calendar])
}

/// Scopes and groups are lists, which only `allow` can ask for.
fn agent() -> Value {
    with(defined("name"), "not", choice(["scopes", "groups"]))
}

fn leaf(subject: super::shape::Key) -> Value {
    let number = || json!({ "type": "number", "examples": [5, 0.5] });
    let literal = || {
        one_of([defined("text"), json!({ "type": ["number", "boolean"], "examples": [true, 5] })])
    };
    let tests = [
        optional("gt", "A number greater than this.", number()),
        optional("gte", "A number of at least this.", number()),
        optional("lt", "A number less than this.", number()),
        optional("lte", "A number of at most this.", number()),
        optional("eq", "Exactly this.", literal()),
        optional("neq", "Anything but this, also nothing at all.", literal()),
        optional("in", "A text of this list.", defined("texts")),
        optional("prefix", "A text that begins with this.", defined("text")),
        optional("suffix", "A text that ends with this.", defined("text")),
        optional("contains", "A text that holds this.", defined("text")),
    ];
    sized(object(std::iter::once(subject).chain(tests)), 2, 2)
}

/// An amount against a number of micro-USD or against the other amount.
fn amount() -> Value {
    let bound = || one_of([choice(AMOUNTS.map(MoneyFact::as_str)), defined("micro_usd")]);
    let orders = [
        optional("gt", "More than this.", bound()),
        optional("gte", "At least this.", bound()),
        optional("lt", "Less than this.", bound()),
        optional("lte", "At most this.", bound()),
    ];
    sized(object(orders), 1, 1)
}

pub(super) fn detectors() -> Value {
    list(choice(Detector::ALL.map(Detector::as_str)), 1)
}

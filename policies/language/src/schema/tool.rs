//! A tool as a schema: match, allow, params, rules.
//!
//! Not here: the decoder (`crate::tool`). Invariant: a rule has what its effect needs and nothing that it would ignore.

use aegis_domain::Effect;
use serde_json::{Value, json};

use super::NAME;
use super::shape::{
    Key, boolean, choice, defined, integer, list, map, object, one_of, optional, required, text,
};

pub(super) fn tool() -> Value {
    let params = map(NAME, "amount", defined("param"));
    object([
        required(
            "class",
            "Whether calls only read or may change something; an outage may fail open for reads only.",
            choice(["read", "write"]),
        ),
        required("match", "Which requests are calls of the tool.", matching()),
        required(
            "allow",
            "Who may call: every scope, one of the groups, from one of the regions.",
            allow(),
        ),
        optional("params", "What a call may hold. What is not declared here is refused.", params),
        optional(
            "rules",
            "What else is decided about a call; the strongest effect that fires wins.",
            list(defined("rule"), 0),
        ),
    ])
}

fn matching() -> Value {
    let path = text("^/", &["/v1/payouts", "/v1/payouts/{payout_id}", "/fhir/*"]);
    object([
        required(
            "hosts",
            "Host names; `*.example.com` stands for every name below it.",
            defined("texts"),
        ),
        required("methods", "HTTP methods.", list(defined("method"), 1)),
        required(
            "paths",
            "Whole paths; `{name}` stands for one segment, a last `*` for the rest.",
            list(path, 1),
        ),
    ])
}

fn allow() -> Value {
    let scope = text("^[A-Za-z0-9._:/@-]{1,122}$", &["payments:write"]);
    object([
        optional("scopes", "The agent's token has every one of these.", list(scope, 1)),
        optional("groups", "The agent is in one of these.", defined("texts")),
        optional(
            "regions",
            "The gateway that judges the call stands in one of these.",
            list(defined("region"), 1),
        ),
    ])
}

pub(super) fn param() -> Value {
    let number = || json!({ "type": "number", "examples": [5, 0.5] });
    let pattern =
        json!({ "type": "string", "maxLength": 512, "examples": ["^acct_[A-Za-z0-9]{8,24}$"] });
    object([
        required(
            "type",
            "What the value is.",
            choice(["string", "integer", "number", "boolean", "array", "object"]),
        ),
        optional(
            "unit",
            "What an amount is counted in; for readers only.",
            choice(["minor", "micro_usd"]),
        ),
        optional(
            "required",
            "Whether a call without it is refused. Not required unless said.",
            boolean(),
        ),
        optional("min", "The least number allowed.", number()),
        optional("max", "The greatest number allowed.", number()),
        optional("in", "The texts allowed.", defined("texts")),
        optional("pattern", "What a text must match; without `^` and `$` anywhere in it.", pattern),
        optional("max_length", "The most characters of a text.", integer(0, 1_048_576)),
    ])
}

pub(super) fn rule() -> Value {
    let approval = required("approval", "Whom to ask: a name under `approvals`.", defined("name"));
    let obligation = required(
        "obligation",
        "What to do to the body: a name under `obligations`.",
        defined("name"),
    );
    let reason = optional("reason", "What the caller is told.", defined("text"));
    one_of([
        rule_of(Effect::Deny, reason),
        rule_of(Effect::ApprovalNeeded, approval),
        rule_of(Effect::Sanitize, obligation),
    ])
}

fn rule_of(effect: Effect, own: Key) -> Value {
    let doc = match effect {
        Effect::Deny => "Refuse the call.",
        Effect::ApprovalNeeded => "Hold the call until a person has approved it.",
        Effect::Sanitize => "Let the call through after its obligation is carried out.",
        Effect::Allow => "What a call gets when nothing fires.",
    };
    object([
        required("id", "The rule's name, as decisions and records give it.", defined("rule_id")),
        required("effect", doc, json!({ "const": effect.as_str() })),
        required("when", "The condition under which it fires.", defined("condition")),
        optional(
            "mode",
            "`shadow` evaluates and reports the rule without effect.",
            choice(["enforce", "shadow"]),
        ),
        own,
    ])
}

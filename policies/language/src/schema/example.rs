//! `tests:` as a schema: groups of example calls and what must come of them.
//!
//! Not here: the decoder (`crate::example`). Invariant: what a group may say of the circumstances, each case may.

use aegis_domain::{Detector, Effect};
use serde_json::{Value, json};

use super::NAME;
use super::shape::{
    Key, choice, defined, integer, list, map, object, one_of, optional, required, sized, text, with,
};

pub(super) fn examples() -> Value {
    let own = [
        required("name", "What the group is called in reports.", any_text("payouts")),
        required("tool", "The tool that is called.", defined("tool_name")),
        required("cases", "The calls.", list(case(), 0)),
    ];
    object(own.into_iter().chain(circumstances()))
}

fn case() -> Value {
    let own = [
        optional("name", "What the case is called in reports.", any_text("too much")),
        optional(
            "params",
            "The parameters of the call.",
            with(json!({ "type": "object" }), "examples", json!([{}])),
        ),
        required("expect", "What the policy must decide.", expectation()),
        optional("would", "Exactly these shadow rules fire.", rule_ids()),
        optional("exceptions", "Exactly these exceptions are used.", rule_ids()),
    ];
    object(own.into_iter().chain(circumstances()))
}

/// What both a group and a case may say; what neither says is in order.
fn circumstances() -> [Key; 11] {
    let host = text("^[a-z0-9._:-]{1,253}$", &["api.example.com"]);
    [
        optional("agent", "Who calls.", agent()),
        optional("at", "When: an instant such as 2026-11-20T10:00:00Z.", defined("instant")),
        optional("host", "The host called; the tool's first unless said.", host),
        optional("method", "The method; the tool's first unless said.", defined("method")),
        optional("path", "The path; the tool's first unless said.", any_text("/v1/payouts")),
        optional("mcp", "The MCP tool that the body calls.", defined("mcp")),
        optional("region", "The region of the gateway.", defined("region")),
        optional("dlp", "How often each detector found something.", dlp()),
        optional(
            "budget_remaining",
            "What is left of the budget, in micro-USD.",
            defined("micro_usd"),
        ),
        optional(
            "estimated_cost",
            "What the call is expected to cost, in micro-USD.",
            defined("micro_usd"),
        ),
        optional("approved", "The rules that a person has approved.", rule_ids()),
    ]
}

fn any_text(example: &str) -> Value {
    json!({ "type": "string", "examples": [example] })
}

fn rule_ids() -> Value {
    list(defined("rule_id"), 0)
}

fn agent() -> Value {
    let attribute = json!({ "description": "Any value.", "examples": ["gold", true] });
    object([
        optional("groups", "The groups it is in.", list(any_text("finance"), 0)),
        optional("scopes", "The scopes of its token.", list(any_text("payments:write"), 0)),
        optional("attributes", "What else its identity says.", map(NAME, "tier", attribute)),
    ])
}

fn dlp() -> Value {
    let counts = Detector::ALL
        .map(|detector| optional(detector.as_str(), "How often.", integer(0, u64::from(u32::MAX))));
    one_of([json!({ "const": "not_scanned" }), object(counts)])
}

/// An effect alone, or with exactly the rules that must fire.
fn expectation() -> Value {
    let effects = [Effect::Allow, Effect::Sanitize, Effect::ApprovalNeeded, Effect::Deny];
    let strong = [Effect::Sanitize, Effect::ApprovalNeeded, Effect::Deny].map(|effect| {
        optional(effect.as_str(), "Exactly these rules fire at this level.", rule_ids())
    });
    one_of([choice(effects.map(Effect::as_str)), sized(object(strong), 1, 1)])
}

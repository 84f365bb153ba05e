//! A tool as a schema: match, allow, params, rules, exceptions.
//!
//! Not here: the decoder (`crate::tool`, `crate::exception`). Invariant: a rule has what its effect needs and nothing that it would ignore.

use aegis_domain::Effect;
use serde_json::{Value, json};

use super::shape::{
    Key, boolean, choice, defined, integer, list, map, object, one_of, optional, required, text,
};
use super::{NAME, named_or};

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
        optional(
            "exceptions",
            "Who may do without which rules of this tool, until when.",
            list(defined("exception"), 0),
        ),
        optional(
            "unknown_params",
            "Whether parameters that are not declared refuse the call or are taken out of it.",
            choice(["deny", "strip"]),
        ),
    ])
}

/// Plain requests, or the calls of one tool of an MCP server.
fn matching() -> Value {
    let path = text("^/", &["/v1/payouts", "/v1/payouts/{payout_id}", "/fhir/*"]);
    let hosts = "Host names; `*.example.com` stands for every name below it.";
    let methods = named_or(list(defined("method"), 1));
    let paths = "Whole paths; `{name}` stands for one segment, a last `*` for the rest.";
    one_of([
        object([
            required("hosts", hosts, defined("texts")),
            required("methods", "HTTP methods.", methods),
            required("paths", paths, named_or(list(path, 1))),
        ]),
        object([
            required("mcp", "Calls of one tool of one MCP server.", defined("mcp")),
            optional("hosts", hosts, defined("texts")),
        ]),
        object([
            required("hosts", hosts, defined("texts")),
            required(
                "passthrough",
                "Tunnels to these hosts are not opened: nobody sees what is in them.",
                json!({ "const": true, "examples": [true] }),
            ),
        ]),
    ])
}

pub(super) fn mcp() -> Value {
    let tool = text("^[A-Za-z0-9._:/@-]{1,128}$", &["delete_file"]);
    object([
        required("server", "The server, as the gateway's config calls it.", defined("tool_name")),
        required("tool", "The tool, as the server announces it.", tool),
    ])
}

fn allow() -> Value {
    let scope = text("^[A-Za-z0-9._:/@-]{1,122}$", &["payments:write"]);
    let scopes = named_or(list(scope, 1));
    let regions = named_or(list(defined("region"), 1));
    object([
        optional("scopes", "The agent's token has every one of these.", scopes),
        optional("groups", "The agent is in one of these.", defined("texts")),
        optional("regions", "The gateway that judges the call stands in one of these.", regions),
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
        optional("max_length", "The most characters of a text.", integer(0, 65_536)),
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

pub(super) fn exception() -> Value {
    object([
        required(
            "id",
            "The exception's name, as decisions and records give it.",
            defined("rule_id"),
        ),
        required("owner", "Who answers for it.", defined("text")),
        required("reason", "Why it was granted.", defined("text")),
        required("expires", "The instant at which it ends.", defined("instant")),
        required("rules", "The deny and approval rules it lifts.", list(defined("rule_id"), 1)),
        optional("when", "The calls it is for; every call unless said.", defined("condition")),
    ])
}

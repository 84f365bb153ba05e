//! The JSON Schema (draft 2020-12) of a policy file, from which editors complete, explain and check it.
//!
//! Not here: the decoders, which have the last word. The decoders read positioned nodes and no serde types, so nothing
//! can be derived; instead each construct is described once, in the module named after its decoder's, and the tests
//! below hold the two against each other, key by key and by mutation.
//! Invariant: what the decoder accepts, the schema accepts; each object names exactly the keys its decoder knows.

mod condition;
mod example;
mod shape;
mod tool;

use serde_json::{Map, Value, json};

use shape::{
    boolean, choice, defined, integer, list, map, object, one_of, optional, required, sized, text,
    with,
};

/// `Name`, as a pattern.
const NAME: &str = "^[A-Za-z_][A-Za-z0-9_]{0,63}$";
const LABEL: &str = "^[a-z0-9-]{1,63}$";
const TOOL_NAME: &str = "^[a-z0-9._-]{1,128}$";

/// The schema as a value.
pub fn schema() -> Value {
    let definitions = [
        ("name", text(NAME, &["spare"])),
        ("label", text(LABEL, &["acme-prod"])),
        ("list_name", text("^\\$[A-Za-z_][A-Za-z0-9_]{0,63}$", &["$spare"])),
        ("region", text(LABEL, &["eu-west-1"])),
        ("tool_name", text(TOOL_NAME, &["payments.create"])),
        ("rule_id", text("^[A-Za-z0-9._:/@-]{1,128}$", &["high-value"])),
        ("method", text("^[A-Z0-9-]{1,32}$", &["POST"])),
        ("instant", json!({ "type": "string", "examples": ["2026-11-20T10:00:00Z"] })),
        ("micro_usd", integer(0, aegis_domain::MicroUsd::MAX.micro_usd())),
        ("text", json!({ "type": "string", "minLength": 1, "maxLength": 256, "examples": ["a"] })),
        ("texts", texts()),
        ("detectors", condition::detectors()),
        ("condition", condition::condition()),
        ("param", tool::param()),
        ("rule", tool::rule()),
        ("exception", tool::exception()),
        ("mcp", tool::mcp()),
        ("tool", tool::tool()),
    ];
    let definitions = definitions.into_iter().map(|(name, shape)| (name.to_owned(), shape));
    let mut root = policy_set();
    for (keyword, value) in [
        ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
        ("title", json!("Aegis policy set")),
        ("description", json!("One tenant's policy for one environment, or a part of it.")),
        ("$defs", Value::Object(definitions.collect())),
    ] {
        root = with(root, keyword, value);
    }
    sorted(root)
}

/// The schema as the file holds it.
pub fn schema_text() -> String {
    let mut text = format!("{:#}", schema());
    text.push('\n');
    text
}

/// Keys in one order, whichever map `serde_json` was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(
                entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn policy_set() -> Value {
    let lists =
        map(NAME, "spare", with(list(defined("text"), 0), "maxItems", crate::LIST_MAX.into()));
    object([
        required("apiVersion", "The version of the language.", json!({ "const": "aegis.dev/v1" })),
        required("kind", "What the file holds.", json!({ "const": "PolicySet" })),
        required("metadata", "Whose policy it is.", metadata()),
        optional("defaults", "What holds where nothing is said.", defaults()),
        optional("lists", "Lists of texts, used as `$name`.", lists),
        optional("calendars", "Hours that rules ask for by name.", map(NAME, "spare", calendar())),
        optional("approvals", "Whom rules ask, by name.", map(NAME, "spare", approval())),
        optional(
            "obligations",
            "What sanitize rules do to a body, by name.",
            map(NAME, "spare", obligation()),
        ),
        required(
            "tools",
            "The tools agents may call. What is not here is denied.",
            map(TOOL_NAME, "spare", defined("tool")),
        ),
        optional(
            "exceptions",
            "Who may do without which rules of any tool, until when.",
            list(defined("exception"), 0),
        ),
        optional(
            "tests",
            "Example calls and what must come of them.",
            list(example::examples(), 0),
        ),
    ])
}

fn metadata() -> Value {
    object([
        optional("name", "What people call the set.", defined("label")),
        required("tenant", "The tenant whose agents it judges.", text(LABEL, &["acme"])),
        required("env", "The environment, such as prod.", text(LABEL, &["prod"])),
        optional("owners", "Who answers for it.", list(defined("text"), 0)),
    ])
}

fn defaults() -> Value {
    let deny = || choice(["deny"]);
    object([
        optional("effect", "The effect of a call that no tool grants.", deny()),
        optional("on_error", "The effect when the engine fails.", deny()),
        optional(
            "unknown_params",
            "What becomes of a call with parameters that are not declared.",
            choice(["deny", "strip"]),
        ),
    ])
}

/// A list in place or by name.
fn texts() -> Value {
    named_or(with(list(defined("text"), 1), "maxItems", crate::LIST_MAX.into()))
}

fn named_or(list: Value) -> Value {
    one_of([defined("list_name"), list])
}

fn calendar() -> Value {
    let zone = json!({ "type": "string", "examples": ["Europe/Berlin", "UTC"] });
    let day = "(Mon|Tue|Wed|Thu|Fri|Sat|Sun)";
    let days = format!("{day}(-{day})?");
    let hours = "[0-9]{2}:[0-9]{2}";
    let window = text(
        &format!("^{days}(,{days})* {hours}-{hours}$"),
        &["Mon-Fri 08:00-20:00", "Sat,Sun 10:00-24:00"],
    );
    let holiday = text("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", &["2026-12-25"]);
    object([
        required("tz", "A name of the IANA time zone database.", zone),
        required("weekly", "Windows of the week: days, then hours.", list(window, 0)),
        optional("holidays", "Days that are closed.", list(holiday, 0)),
    ])
}

fn approval() -> Value {
    let expires = text("^[0-9]+(ms|s|m|h|d)$", &["15m"]);
    object([
        required(
            "route",
            "Where the question goes, such as slack:#fin-approvals.",
            defined("text"),
        ),
        optional("quorum", "How many people must agree; 1 unless said.", integer(1, 10)),
        required("expires", "How long the answer may take, such as 15m.", expires),
        optional("bind", "The parameters that the answer is for.", list(defined("name"), 0)),
    ])
}

fn obligation() -> Value {
    let fields = || list(defined("text"), 1);
    let whole =
        || optional("in", "What is looked through: the whole body.", list(choice(["body"]), 1));
    let redact = one_of([
        object([
            required("detectors", "Blank what these find.", defined("detectors")),
            optional("fields", "Blank these fields, at any depth.", fields()),
            whole(),
        ]),
        object([required("fields", "Blank these fields, at any depth.", fields()), whole()]),
    ]);
    // Not to strip is nothing to ask for, so editors are shown only the other choice.
    let strip = with(boolean(), "examples", json!([true]));
    let parts = [
        optional("redact", "Blank parts of the body.", redact),
        optional("keep_fields", "Drop every outermost field but these.", fields()),
        optional("strip_attachments", "Remove file parts.", strip),
    ];
    sized(object(parts), 1, 3)
}

#[cfg(test)]
mod tests;

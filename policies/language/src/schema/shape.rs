//! The few shapes that the schema is put together from.
//!
//! Not here: what the language looks like (`schema`). Invariant: an object refuses keys it does not name; every text
//! carries examples, which editors show and the tests read as well.

use serde_json::{Map, Value, json};

/// One key of an object.
pub(super) struct Key {
    name: &'static str,
    doc: &'static str,
    required: bool,
    shape: Value,
}

pub(super) fn required(name: &'static str, doc: &'static str, shape: Value) -> Key {
    Key { name, doc, required: true, shape }
}

pub(super) fn optional(name: &'static str, doc: &'static str, shape: Value) -> Key {
    Key { name, doc, required: false, shape }
}

/// A mapping with these keys and no others.
pub(super) fn object(keys: impl IntoIterator<Item = Key>) -> Value {
    let (mut properties, mut needed) = (Map::new(), Vec::new());
    for key in keys {
        if key.required {
            needed.push(key.name);
        }
        properties.insert(key.name.to_owned(), with(key.shape, "description", key.doc.into()));
    }
    needed.sort_unstable();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": needed,
    })
}

/// A mapping of which at least, and at most, so many keys stand.
pub(super) fn sized(object: Value, least: usize, most: usize) -> Value {
    with(with(object, "minProperties", least.into()), "maxProperties", most.into())
}

/// A mapping whose keys people choose.
pub(super) fn map(keys: &str, example: &str, values: Value) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "patternProperties": { keys: values },
        "propertyNames": { "examples": [example] },
    })
}

pub(super) fn list(items: Value, least: usize) -> Value {
    let list = json!({ "type": "array", "items": items });
    if least > 0 { with(list, "minItems", least.into()) } else { list }
}

pub(super) fn text(pattern: &str, examples: &[&str]) -> Value {
    json!({ "type": "string", "pattern": pattern, "examples": examples })
}

pub(super) fn choice<'n>(names: impl IntoIterator<Item = &'n str>) -> Value {
    let names: Vec<&str> = names.into_iter().collect();
    json!({ "enum": names })
}

pub(super) fn integer(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

pub(super) fn boolean() -> Value {
    json!({ "type": "boolean" })
}

pub(super) fn one_of(shapes: impl IntoIterator<Item = Value>) -> Value {
    let shapes: Vec<Value> = shapes.into_iter().collect();
    json!({ "oneOf": shapes })
}

/// What `$defs` holds under that name.
pub(super) fn defined(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// The shape with one more keyword.
pub(super) fn with(mut shape: Value, keyword: &str, value: Value) -> Value {
    if let Value::Object(map) = &mut shape {
        map.insert(keyword.to_owned(), value);
    }
    shape
}

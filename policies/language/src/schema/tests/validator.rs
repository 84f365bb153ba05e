//! As much of JSON Schema as the schema uses; a keyword it does not know fails the test.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

thread_local! {
    static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::default();
}

fn matches(pattern: &str, text: &str) -> bool {
    PATTERNS.with_borrow_mut(|patterns| {
        let compile = || Regex::new(pattern).unwrap();
        patterns.entry(pattern.to_owned()).or_insert_with(compile).is_match(text)
    })
}

pub(super) fn is_valid(schema: &Value, value: &Value) -> bool {
    refusal(schema, schema, value).is_none()
}

/// The first keyword that refuses the value, and what it was looking at.
pub(super) fn refusal(root: &Value, shape: &Value, value: &Value) -> Option<String> {
    let shape = shape.as_object().unwrap();
    shape.iter().find_map(|(keyword, rule)| {
        let refused = match value {
            Value::Object(map) => keys(root, (keyword, rule), (shape, map)),
            _ => None,
        };
        refused.or_else(|| {
            (!passes(root, (keyword, rule), value))
                .then(|| format!("{keyword}: {rule} refuses {value}"))
        })
    })
}

fn passes(root: &Value, (keyword, rule): (&str, &Value), value: &Value) -> bool {
    let accepts = |shape: &Value| refusal(root, shape, value).is_none();
    let number = |value: &Value| value.as_f64();
    let (text, items, map) = (value.as_str(), value.as_array(), value.as_object());
    let least = |size: Option<usize>| size.is_none_or(|size| size as u64 >= rule.as_u64().unwrap());
    let most = |size: Option<usize>| size.is_none_or(|size| size as u64 <= rule.as_u64().unwrap());
    match keyword {
        "$ref" => accepts(root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap()),
        "oneOf" => rule.as_array().unwrap().iter().filter(|shape| accepts(shape)).count() == 1,
        "not" => !accepts(rule),
        "const" => value == rule,
        "enum" => rule.as_array().unwrap().contains(value),
        "type" => match rule {
            Value::Array(kinds) => kinds.iter().any(|kind| is_kind(kind.as_str().unwrap(), value)),
            kind => is_kind(kind.as_str().unwrap(), value),
        },
        "pattern" => text.is_none_or(|text| matches(rule.as_str().unwrap(), text)),
        "minLength" => least(text.map(|text| text.chars().count())),
        "maxLength" => most(text.map(|text| text.chars().count())),
        "minimum" => number(value).is_none_or(|found| found >= number(rule).unwrap()),
        "maximum" => number(value).is_none_or(|found| found <= number(rule).unwrap()),
        "minItems" => least(items.map(Vec::len)),
        "maxItems" => most(items.map(Vec::len)),
        "items" => {
            items.is_none_or(|items| items.iter().all(|item| refusal(root, rule, item).is_none()))
        }
        "minProperties" => least(map.map(Map::len)),
        "maxProperties" => most(map.map(Map::len)),
        "required" => map.is_none_or(|map| {
            rule.as_array().unwrap().iter().all(|name| map.contains_key(name.as_str().unwrap()))
        }),
        "properties" | "patternProperties" | "additionalProperties" => true,
        "propertyNames" => rule.as_object().unwrap().keys().all(|keyword| keyword == "examples"),
        "$schema" | "$defs" | "title" | "description" | "examples" => true,
        unknown => panic!("the validator does not know `{unknown}`"),
    }
}

/// The keywords about single keys, which say most when they name the key.
fn keys(
    root: &Value,
    (keyword, rule): (&str, &Value),
    (shape, map): (&Map<String, Value>, &Map<String, Value>),
) -> Option<String> {
    let named = |name: &str| shape.get("properties").is_some_and(|known| known.get(name).is_some());
    let patterned = |name: &str| {
        let patterns = shape.get("patternProperties").and_then(Value::as_object);
        patterns.is_some_and(|patterns| patterns.keys().any(|pattern| matches(pattern, name)))
    };
    map.iter().find_map(|(name, inner)| {
        let refused = match keyword {
            "properties" => rule.get(name).and_then(|shape| refusal(root, shape, inner)),
            "patternProperties" => rule
                .as_object()
                .unwrap()
                .iter()
                .filter(|(pattern, _)| matches(pattern, name))
                .find_map(|(_, shape)| refusal(root, shape, inner)),
            "additionalProperties" => {
                assert_eq!(rule, &Value::Bool(false));
                (!named(name) && !patterned(name)).then(|| "no such key".to_owned())
            }
            _ => None,
        };
        refused.map(|refused| format!("{name}: {refused}"))
    })
}

fn is_kind(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|found| found.fract() == 0.0),
        unknown => panic!("the validator does not know the type `{unknown}`"),
    }
}

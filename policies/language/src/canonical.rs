//! Canonical JSON (RFC 8785), the one spelling of a value that digests are taken over.
//!
//! Not here: which values are hashed (`source`, `snapshot`). Invariant: equal values have equal bytes. `Document`
//! lets in only numbers that Rust and ECMAScript write alike, so no float formatting of our own is needed.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// The canonical text of a value.
pub fn json(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// A number without an exponent.
pub fn number(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => value.to_string(),
        Some(_) | None => number.to_string(),
    }
}

/// A text as a JSON string, which is also a Rego string.
pub fn string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// RFC 8785 §3.2: no spaces, keys sorted by UTF-16 code units; `serde_json` escapes strings as §3.2.2.2 wants.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Number(value) => text.push_str(&number(value)),
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<(&String, &Value)> = map.iter().collect();
            keys.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (index, (key, item)) in keys.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&string(key));
                text.push(':');
                write(item, text);
            }
            text.push('}');
        }
    }
}

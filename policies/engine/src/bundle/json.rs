//! The one spelling that a JSON file of a bundle has, which is also the text that OPA hashes for it.
//!
//! Not here: RFC 8785 (`language::canonical`), whose order of keys differs. Invariant: a file in this spelling has the
//! same hash whether one hashes its bytes, as we do, or its value, as OPA does.

use serde_json::Value;

/// Compact, with keys sorted by their UTF-8 bytes. U+2028 and U+2029 are escaped, as Go's encoder does.
pub(crate) fn compact(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

pub(super) fn is_compact(bytes: &[u8]) -> bool {
    let value: Result<Value, _> = serde_json::from_slice(bytes);
    value.is_ok_and(|value| compact(&value).as_bytes() == bytes)
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
        Value::String(string) => push_string(string, text),
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
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (index, (name, item)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                push_string(name, text);
                text.push(':');
                write(item, text);
            }
            text.push('}');
        }
    }
}

fn push_string(string: &str, text: &mut String) {
    let quoted = Value::from(string).to_string();
    text.push_str(&quoted.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"));
}

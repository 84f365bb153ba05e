//! The one JSON reader of this crate: an object in, its members out, or what is wrong with it.
//!
//! Not here: what the members mean. Invariant: no object at any depth has two members of one name, so
//! no two readers can see different values in the same signed bytes (RFC 8725 §2.4).

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// An object within an object counts two; tokens and key sets need four.
const DEPTH_MAX: u8 = 16;

/// Why a text is not JSON that this crate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("not valid JSON")]
    Syntax,
    #[error("two members of one name")]
    DuplicateMember,
    #[error("nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("not a JSON object")]
    NotAnObject,
}

/// Reads one object and nothing after it.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let flaw = Cell::new(JsonError::Syntax);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let seed = Strict { depth_left: DEPTH_MAX, flaw: &flaw };
    let value = seed.deserialize(&mut json).map_err(|_| flaw.get())?;
    json.end().map_err(|_| JsonError::Syntax)?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(JsonError::NotAnObject)
        }
    }
}

/// Builds a `Value` as `serde_json` does, but counts depth and refuses a second member of one name.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth_left: u8,
    /// What went wrong, because serde's own error would only say it in words.
    flaw: &'a Cell<JsonError>,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(self, flaw: JsonError) -> E {
        self.flaw.set(flaw);
        E::custom(flaw)
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left =
            self.depth_left.checked_sub(1).ok_or_else(|| self.refuse(JsonError::TooDeep))?;
        Ok(Self { depth_left, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.refuse(JsonError::Syntax))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(self.refuse(JsonError::DuplicateMember));
            }
            object.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_name_may_stand_once_at_any_depth_and_however_it_is_spelt() {
        for twice in [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":1,"\u0061":2}]}"#, r#"{"x":{"":0,"":0}}"#] {
            assert_eq!(object(twice.as_bytes()), Err(JsonError::DuplicateMember), "{twice}");
        }
        assert!(object(br#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#).is_ok());
    }

    #[test]
    fn nesting_stops_at_sixteen() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            format!("{{\"a\":{open}{close}}}")
        };
        assert!(object(nested(16).as_bytes()).is_ok());
        assert_eq!(object(nested(17).as_bytes()), Err(JsonError::TooDeep));
        assert_eq!(object(nested(5_000).as_bytes()), Err(JsonError::TooDeep));
    }

    #[test]
    fn only_one_object_and_nothing_around_it_is_read() {
        for (text, flaw) in [
            ("[]", JsonError::NotAnObject),
            ("null", JsonError::NotAnObject),
            ("{}{}", JsonError::Syntax),
            ("{} x", JsonError::Syntax),
            ("\u{feff}{}", JsonError::Syntax),
            ("", JsonError::Syntax),
            ("{\"a\":1e400}", JsonError::Syntax),
            ("{\"a\":NaN}", JsonError::Syntax),
            ("{\"a\":\"\\ud800\"}", JsonError::Syntax),
            ("{'a':1}", JsonError::Syntax),
            ("{\"a\":1,}", JsonError::Syntax),
        ] {
            assert_eq!(object(text.as_bytes()), Err(flaw), "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(JsonError::Syntax));
        assert!(object(b" {\n} ").is_ok());
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(members) = object(&bytes) {
                prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), Value::Object(members));
            }
        }
    }
}

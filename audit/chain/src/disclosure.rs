//! Salted disclosures: what a record says by digest only, and what opens that digest (RFC 9901 §4.2).
//!
//! Pure: the salt is an argument. Not here: where disclosures are kept and erased. Invariant: without its disclosure a
//! digest tells nothing, because each has 128 random bits of its own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::Hash;

/// The name under which the policy's input is disclosed: what a decision was reached from, and can be reached from again.
pub const INPUT: &str = "input";

/// `[salt, name, value]` in base64url: the form that is hashed and handed to an auditor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disclosure(Box<str>);

impl Disclosure {
    pub fn new(salt: [u8; 16], name: &str, value: &Value) -> Self {
        let salt = URL_SAFE_NO_PAD.encode(salt);
        let array = Value::from(vec![Value::from(salt), Value::from(name), value.clone()]);
        Self(URL_SAFE_NO_PAD.encode(array.to_string()).into())
    }

    /// Takes over a disclosure from elsewhere; `None` unless it holds a salt, a name and a value.
    pub fn parse(text: &str) -> Option<(Self, String, Value)> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (_salt, name, value) =
            serde_json::from_slice::<(String, String, Value)>(&bytes).ok()?;
        Some((Self(text.into()), name, value))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands in a record's `_sd`.
    pub fn digest(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_rfc() {
        // RFC 9901 §4.2.1 and §4.2.3.
        let text = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0";
        let (disclosure, name, value) = Disclosure::parse(text).unwrap();
        assert_eq!((name.as_str(), value), ("family_name", Value::from("Möbius")));
        assert_eq!(disclosure.digest().to_string(), "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0");
    }

    #[test]
    fn equal_values_have_unequal_digests() {
        let value = Value::from("ada@example.com");
        let one = Disclosure::new([1; 16], "email", &value);
        let two = Disclosure::new([2; 16], "email", &value);
        assert_ne!(one.digest(), two.digest());
        assert_eq!(Disclosure::parse(one.as_str()).unwrap().2, value);
        assert_eq!(Disclosure::parse("e30"), None);
    }
}

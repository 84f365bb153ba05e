//! The small texts of the registry: scopes, groups, attributes, and who gave a command.
//!
//! Not here: ids (`domain`). Invariant: a scope can stand in a token as it is, and no word holds a control character.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not the word it was offered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    #[error("a scope is 1 to 128 printable ASCII characters without space, quote and backslash")]
    Scope,
    #[error("a group is 1 to 128 of A-Z a-z 0-9 . _ - : / @")]
    Group,
    #[error("an actor is 1 to 256 printable ASCII characters")]
    Actor,
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $max:literal, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, WordError> {
                let fits = (1..=$max).contains(&text.len());
                if fits && text.bytes().all($is_allowed) {
                    Ok(Self(text.into()))
                } else {
                    Err(WordError::$name)
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = WordError;
            fn try_from(text: String) -> Result<Self, WordError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> String {
                word.0.into()
            }
        }

        impl std::str::FromStr for $name {
            type Err = WordError;
            fn from_str(text: &str) -> Result<Self, WordError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word!(
    /// A scope-token (RFC 6749 appendix A.4).
    Scope, 128, |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
);
word!(
    /// A group that policies may name.
    Group, 128, |byte| byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'_' | b'-' | b':' | b'/' | b'@')
);
word!(
    /// Who gave a command, for the record.
    Actor, 256, |byte| matches!(byte, b' '..=b'~')
);

/// A fact about an agent that policies may ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    Truth(bool),
    Number(i64),
    Text(Box<str>),
}

impl From<&Attribute> for serde_json::Value {
    fn from(attribute: &Attribute) -> Self {
        match attribute {
            Attribute::Truth(truth) => (*truth).into(),
            Attribute::Number(number) => (*number).into(),
            Attribute::Text(text) => text.as_ref().into(),
        }
    }
}

//! The names and texts that may reach emitted Rego, checked before anything else sees them.
//!
//! Not here: how they are written into Rego (`lower`). Invariant: a `Name` is a Rego identifier or keyword; a
//! `Text` is one line without control characters, so it survives JSON escaping and OPA's hashing unchanged.

use std::fmt;
use std::str::FromStr;

/// Why a text is not what it was offered as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name is 1 to 64 of `A-Z a-z 0-9 _` and does not begin with a digit")]
    Name,
    #[error("a label is 1 to 63 of `a-z 0-9 -`")]
    Label,
    #[error("a text here has 1 to 256 bytes")]
    TextLength,
    #[error("a text here may not hold control characters, line or paragraph separators")]
    TextControl,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// The name of a list, calendar, approval, obligation, parameter or agent attribute.
    Name,
    |text| {
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if begins && rest && text.len() <= 64 { Ok(()) } else { Err(NameError::Name) }
    }
);

checked_text!(
    /// The name of a policy set or environment.
    Label,
    |text| {
        let fits = (1..=63).contains(&text.len());
        let alphabet = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits && alphabet { Ok(()) } else { Err(NameError::Label) }
    }
);

checked_text!(
    /// A text that is compared with what a call holds, or shown to its caller.
    Text,
    |text| {
        if !(1..=256).contains(&text.len()) {
            return Err(NameError::TextLength);
        }
        let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if text.chars().any(odd) { Err(NameError::TextControl) } else { Ok(()) }
    }
);

//! The body of a token request (RFC 6749 §3.2).
//!
//! Not here: what the parameters mean. Invariant: a parameter is sent once or not at all, so that no two readers see
//! different values; one without a value counts as not sent.

use std::collections::BTreeMap;

const BYTES_MAX: usize = 64 * 1_024;
const PARAMETERS_MAX: usize = 32;

/// Why a body is not a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("body is longer than {BYTES_MAX} bytes or has more than {PARAMETERS_MAX} parameters")]
    TooLong,
    #[error("body is not UTF-8")]
    NotText,
    #[error("a parameter is sent twice")]
    Twice,
}

/// The parameters of one request.
#[derive(Clone, Debug)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub(crate) fn read(body: &[u8]) -> Result<Self, FormError> {
        if body.len() > BYTES_MAX {
            return Err(FormError::TooLong);
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            // The parser puts U+FFFD where bytes are no text.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(FormError::NotText);
            }
            if parameters.len() >= PARAMETERS_MAX {
                return Err(FormError::TooLong);
            }
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(FormError::Twice);
            }
        }
        Ok(Self(parameters))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

//! Shows people what a token says, believed or not.
//!
//! Not here: believing it (`verify`). Invariant: nothing in this crate takes an `Inspection` as input.

use serde_json::{Map, Value};

use crate::TokenError;
use crate::jws::{JWS_BYTES_MAX, Parts};

/// What a token says about itself. Nothing in it was checked but its form: anyone may have written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub unverified_header: Map<String, Value>,
    pub unverified_payload: Map<String, Value>,
}

/// Takes a token apart for people to look at. Its signature is not checked.
pub fn inspect(token: &str) -> Result<Inspection, TokenError> {
    let parts = Parts::split(token, JWS_BYTES_MAX)?;
    Ok(Inspection { unverified_header: parts.header()?, unverified_payload: parts.payload()? })
}

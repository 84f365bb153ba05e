//! The payload of any JWT, read claim by claim.
//!
//! Not here: what each kind of token must say (`claims`, `proof`, `assertion`, `subject`). Invariant: a claim of the
//! wrong type is an error and never an absent claim.

use aegis_domain::{IdError, Timestamp};
use serde_json::{Map, Value};

use crate::TokenError;

/// The longest name of an issuer, a subject or an audience that is looked at.
const NAME_BYTES_MAX: usize = 2_048;

#[derive(Clone, Copy)]
pub(crate) struct Payload<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Payload<'a> {
    pub(crate) fn text(&self, claim: &'static str) -> Result<Option<&'a str>, TokenError> {
        let text = |value: &'a Value| value.as_str().ok_or(TokenError::ClaimMalformed { claim });
        self.0.get(claim).map(text).transpose()
    }

    pub(crate) fn required(&self, claim: &'static str) -> Result<&'a str, TokenError> {
        self.text(claim)?.ok_or(TokenError::ClaimMissing { claim })
    }

    /// A text of printable ASCII that is neither empty nor endless, such as who somebody else's token is about.
    pub(crate) fn name(&self, claim: &'static str) -> Result<&'a str, TokenError> {
        let name = self.required(claim)?;
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
        if fits && name.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            Ok(name)
        } else {
            Err(TokenError::ClaimMalformed { claim })
        }
    }

    pub(crate) fn id<T>(
        &self,
        claim: &'static str,
        parse: fn(&str) -> Result<T, IdError>,
    ) -> Result<Option<T>, TokenError> {
        let text = self.text(claim)?;
        text.map(parse).transpose().map_err(|_| TokenError::ClaimMalformed { claim })
    }

    pub(crate) fn required_id<T>(
        &self,
        claim: &'static str,
        parse: fn(&str) -> Result<T, IdError>,
    ) -> Result<T, TokenError> {
        self.id(claim, parse)?.ok_or(TokenError::ClaimMissing { claim })
    }

    /// An object within the payload.
    pub(crate) fn object(&self, claim: &'static str) -> Result<Option<Payload<'a>>, TokenError> {
        let object =
            |value: &'a Value| value.as_object().ok_or(TokenError::ClaimMalformed { claim });
        Ok(self.0.get(claim).map(object).transpose()?.map(Payload))
    }

    /// One text or an array of them (RFC 7519 §4.1.3).
    pub(crate) fn audience(&self) -> Result<Vec<String>, TokenError> {
        match self.0.get("aud") {
            None => Err(TokenError::ClaimMissing { claim: "aud" }),
            Some(Value::String(one)) => Ok(vec![one.clone()]),
            Some(value) => Ok(texts(value, "aud")?.into_iter().map(str::to_owned).collect()),
        }
    }

    /// A NumericDate (RFC 7519 §2) in whole seconds that a `Timestamp` can hold.
    pub(crate) fn date(&self, claim: &'static str) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.0.get(claim) else {
            return Ok(None);
        };
        whole_seconds(value)
            .and_then(|seconds| seconds.checked_mul(1_000_000_000))
            .map(|ns| Some(Timestamp::from_unix_ns(ns)))
            .ok_or(TokenError::ClaimMalformed { claim })
    }

    pub(crate) fn required_date(&self, claim: &'static str) -> Result<Timestamp, TokenError> {
        self.date(claim)?.ok_or(TokenError::ClaimMissing { claim })
    }
}

pub(crate) fn texts<'a>(value: &'a Value, claim: &'static str) -> Result<Vec<&'a str>, TokenError> {
    value
        .as_array()
        .and_then(|items| items.iter().map(Value::as_str).collect())
        .ok_or(TokenError::ClaimMalformed { claim })
}

/// An integer, or a float without a fraction; what is negative or too large does not parse.
fn whole_seconds(value: &Value) -> Option<u64> {
    if let Some(seconds) = value.as_u64() {
        return Some(seconds);
    }
    let float = value.as_f64().filter(|float| float.fract() == 0.0)?;
    format!("{float:.0}").parse().ok()
}

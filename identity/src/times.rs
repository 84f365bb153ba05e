//! When a signed text is valid (RFC 7519 §4.1.4 to §4.1.6).
//!
//! Pure: the time is an argument. Not here: which of the dates each kind of token must have. Invariant: an end is
//! reached to the nanosecond, and no clock may be off by more than the skew.

use aegis_domain::{Timestamp, Ttl};

use crate::TokenError;
use crate::payload::Payload;

/// The dates of one signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) expires_at: Timestamp,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) issued_at: Option<Timestamp>,
}

impl Times {
    pub(crate) fn read(payload: Payload<'_>) -> Result<Self, TokenError> {
        Ok(Self {
            expires_at: payload.required_date("exp")?,
            not_before: payload.date("nbf")?,
            issued_at: payload.date("iat")?,
        })
    }

    /// Checks them at `now`, for clocks that may be off by `skew` and a life of at most `ttl_max`.
    pub(crate) fn check(&self, now: Timestamp, skew: Ttl, ttl_max: Ttl) -> Result<(), TokenError> {
        if now >= self.expires_at.plus(skew) {
            let ago_s = now.unix_s().saturating_sub(self.expires_at.unix_s());
            return Err(TokenError::Expired { ago_s });
        }
        if let Some(start) = self.not_before.filter(|start| now.plus(skew) < *start) {
            return Err(TokenError::NotYetValid { wait_s: start.since(now).s_ceil() });
        }
        if let Some(issued) = self.issued_at.filter(|issued| now.plus(skew) < *issued) {
            return Err(TokenError::IssuedInFuture { ahead_s: issued.since(now).s_ceil() });
        }
        let born = self.issued_at.unwrap_or(now);
        if self.expires_at > born.plus(ttl_max).plus(skew) {
            return Err(TokenError::LivesTooLong { ttl_max_s: ttl_max.s_ceil() });
        }
        Ok(())
    }
}

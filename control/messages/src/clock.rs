//! The one place in the control API that asks for the time of day and for randomness.
//!
//! Not here: what they are used for. Invariant: missing randomness is a failure, never a default.

use std::time::SystemTime;

use aegis_domain::{DecisionId, IdError, Jti, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The system gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct RandomError;

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// A secret text of 256 bits that says what it is.
pub fn secret(prefix: &str) -> Result<String, RandomError> {
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

/// A token id that sorts by time: a ULID.
pub fn jti(now: Timestamp) -> Result<Jti, RandomError> {
    let ulid = DecisionId::new(now.unix_ms(), random()?);
    Jti::parse(ulid.as_str()).map_err(|_: IdError| RandomError)
}

/// RFC 3339 in UTC, as the API writes instants.
pub fn show(time: Timestamp) -> String {
    let ms = i64::try_from(time.unix_ms()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}

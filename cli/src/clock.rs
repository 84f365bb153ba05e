//! The one place in `aegisctl` that asks for the time of day and for randomness.
//!
//! Not here: what they are used for. Invariant: a clock before 1970 reads as 1970, and missing randomness is a failure,
//! never a default.

use std::time::SystemTime;

pub(crate) use aegis_cli_evidence::{show, show_ms};
use aegis_domain::{DecisionId, IdError, Jti, Timestamp};

use crate::failure::Failure;

pub(crate) fn now() -> Timestamp {
    of(SystemTime::now())
}

/// The instant a file system or the system clock names.
pub(crate) fn of(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Failure::Random)?;
    Ok(bytes)
}

/// A token id that sorts by time: a ULID.
pub(crate) fn jti(now: Timestamp) -> Result<Jti, Failure> {
    let ulid = DecisionId::new(now.unix_ms(), random()?);
    Jti::parse(ulid.as_str()).map_err(|error: IdError| Failure::invalid("a new token id", error))
}

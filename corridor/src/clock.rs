//! The one place that reads the clock and picks random numbers.
//!
//! Not here: what time means to a call; rooms get a `Timestamp`. Invariant: ids are unique because their random
//! part comes from the operating system.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aegis_domain::{DecisionId, Timestamp, TraceContext};

/// What the time is now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Microseconds since `start`.
pub fn micros_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A name for the decision that is about to be reached.
pub fn decision_id(now: Timestamp) -> Result<DecisionId, RandomError> {
    Ok(DecisionId::new(now.unix_ms(), random()?))
}

/// The operating system gave no random bytes, so nothing can be named or signed.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct RandomError(#[source] getrandom::Error);

/// Continues the agent's trace, or begins one.
pub fn trace(traceparent: Option<&str>) -> Result<TraceContext, RandomError> {
    let span_id = nonzero(random()?);
    Ok(match traceparent.and_then(TraceContext::parse) {
        Some(parent) => TraceContext { span_id, ..parent },
        None => TraceContext { trace_id: nonzero(random()?), span_id, flags: 1 },
    })
}

pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// The trace specification forbids all-zero ids.
fn nonzero<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if let Some(last) = bytes.last_mut().filter(|last| **last == 0) {
        *last = 1;
    }
    bytes
}

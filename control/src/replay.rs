//! Whether an assertion or a proof was used before.
//!
//! Not here: what must be asked (`agents/tokens`). The hot state fulfils `Replay` where several nodes share it; alone, a
//! memory does. Invariant: what cannot be remembered is refused, never let through.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aegis_domain::{Jti, TenantId, Timestamp};
use aegis_identity::ReplayCheck;
use aegis_tokens::FirstUse;
use async_trait::async_trait;

/// Why it cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("the memory of used assertions is full")]
    Full,
    #[error("the hot state does not answer")]
    Outage,
}

/// Remembers what was used.
#[async_trait]
pub trait Replay: Send + Sync + fmt::Debug {
    /// Uses it, if nobody did before; one question that cannot be asked twice with the same answer.
    async fn first_use(
        &self,
        tenant: &TenantId,
        check: &ReplayCheck,
        now: Timestamp,
    ) -> Result<FirstUse, ReplayError>;
}

/// Half a million assertions of five minutes: 1,700 tokens a second.
const ENTRIES_MAX: usize = 500_000;

/// The memory of one process.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    until: BTreeMap<Jti, Timestamp>,
    by_end: BTreeSet<(Timestamp, Jti)>,
}

impl Used {
    fn forget(&mut self, now: Timestamp) {
        while let Some((end, _)) = self.by_end.first() {
            if *end > now {
                break;
            }
            if let Some((_, jti)) = self.by_end.pop_first() {
                self.until.remove(&jti);
            }
        }
    }
}

#[async_trait]
impl Replay for Memory {
    async fn first_use(
        &self,
        _tenant: &TenantId,
        check: &ReplayCheck,
        now: Timestamp,
    ) -> Result<FirstUse, ReplayError> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.until.contains_key(&check.jti) {
            return Ok(FirstUse::No);
        }
        if used.until.len() >= ENTRIES_MAX {
            used.forget(now);
        }
        if used.until.len() >= ENTRIES_MAX {
            return Err(ReplayError::Full);
        }
        used.until.insert(check.jti.clone(), check.expires_at);
        used.by_end.insert((check.expires_at, check.jti.clone()));
        Ok(FirstUse::Yes)
    }
}

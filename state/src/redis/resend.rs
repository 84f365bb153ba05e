//! The settlements of the last minutes, to be sent again when servers forgot them or never got them.
//!
//! Not here: sending. Invariant: a settlement that no server confirmed is offered again until it is too late to count;
//! sending one twice changes nothing, because `settle` tells duplicates.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aegis_domain::{DecisionId, MicroUsd, TenantId, Timestamp, Ttl};

use crate::{Hold, LATE_SETTLE};

/// How long ago a replica that is promoted, or a server that restarts, may have stopped hearing.
const HORIZON: Duration = Duration::from_secs(120);
const KEPT_MAX: usize = 1 << 16;

/// One settlement.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) hold: Hold,
    pub(super) actual: MicroUsd,
    now: Timestamp,
    at: Instant,
    is_confirmed: bool,
}

impl Sent {
    /// The time of the gateway that settled, as far as it has come since.
    pub(super) fn now(&self, at: Instant) -> Timestamp {
        let passed = at.saturating_duration_since(self.at).as_millis();
        self.now.plus(Ttl::from_ms(u64::try_from(passed).unwrap_or(u64::MAX)))
    }
}

/// Which settlements to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Those no server confirmed.
    Unconfirmed,
    /// All that a server may have forgotten.
    All,
}

#[derive(Debug, Default)]
pub(super) struct Resends(VecDeque<Sent>);

impl Resends {
    pub(super) fn note(&mut self, hold: &Hold, actual: MicroUsd, now: Timestamp, at: Instant) {
        self.forget(at);
        if self.0.len() >= KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Sent { hold: hold.clone(), actual, now, at, is_confirmed: false });
    }

    /// The newest entries are the ones that are confirmed, so the search is short.
    pub(super) fn confirm(&mut self, id: &DecisionId) {
        if let Some(sent) = self.0.iter_mut().rev().find(|sent| sent.hold.id == *id) {
            sent.is_confirmed = true;
        }
    }

    pub(super) fn of(&self, tenant: &TenantId, again: Again, at: Instant) -> Vec<Sent> {
        let is_due = |sent: &&Sent| {
            let is_recent = at.saturating_duration_since(sent.at) <= HORIZON;
            let wanted = !sent.is_confirmed || (again == Again::All && is_recent);
            sent.hold.tenant == *tenant && wanted
        };
        self.0.iter().filter(is_due).cloned().collect()
    }

    fn forget(&mut self, at: Instant) {
        while let Some(oldest) = self.0.front() {
            let age = at.saturating_duration_since(oldest.at);
            let is_over = age > Duration::from_millis(LATE_SETTLE.ms());
            if !(is_over || (oldest.is_confirmed && age > HORIZON)) {
                break;
            }
            self.0.pop_front();
        }
    }
}

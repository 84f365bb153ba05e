//! One list of budgets as this process sees it: how often it is asked about, and whether a lease on it is worth while.
//!
//! Not here: the leases (`lease`). Invariant: at most one lease is being asked for at a time, and at most `LEASES_MAX` are
//! not settled.

use aegis_domain::{MicroUsd, Timestamp, Ttl};
use aegis_state::Ask;

use crate::LeaseConfig;

/// Those whose calls are still under way, and the one that is drawn from.
pub(crate) const LEASES_MAX: usize = 4;
/// A lease that pays fewer calls is not worth its own two trips.
const CALLS_MIN: u64 = 4;
/// How long a refusal keeps us from asking for another.
const RETRY: Ttl = Ttl::from_s(1);
/// How long nobody asks about a list until it is forgotten.
const QUIET_S: u64 = 60;

#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// The lease that is drawn from.
    pub(crate) current: Option<u64>,
    /// Leases that the inner home holds.
    pub(crate) leases: usize,
    is_asking: bool,
    retry_at: Option<Timestamp>,
    /// Calls of the second under way, and of the one before.
    second: u64,
    calls: [u32; 2],
}

impl Scope {
    /// Counts a call.
    pub(crate) fn heard(&mut self, now: Timestamp) {
        let [this, _] = self.calls;
        match now.unix_s().checked_sub(self.second) {
            // Of one second, or of an asker whose call began before.
            None | Some(0) => {}
            Some(1) => self.calls = [0, this],
            Some(_) => self.calls = [0, 0],
        }
        self.second = self.second.max(now.unix_s());
        let [this, _] = &mut self.calls;
        *this = this.saturating_add(1);
    }

    /// How much to ask for, if a lease is wanted: a share of what is left, so that a fleet's leases never starve it.
    pub(crate) fn wants(
        &mut self,
        ask: &Ask,
        left: MicroUsd,
        config: &LeaseConfig,
    ) -> Option<MicroUsd> {
        let is_hot = self.calls.into_iter().any(|calls| calls >= config.hot_calls_per_s.get());
        let may_ask = !self.is_asking && self.retry_at.is_none_or(|at| at <= ask.now);
        if !is_hot || !may_ask || self.leases >= LEASES_MAX {
            return None;
        }
        let share = left.micro_usd() / (2 * u64::from(config.gateways.get()));
        let amount = config.amount.min(MicroUsd::new(share));
        let is_worth =
            ask.estimate.saturating_times(CALLS_MIN) <= amount && amount > MicroUsd::ZERO;
        self.is_asking = is_worth;
        is_worth.then_some(amount)
    }

    pub(crate) fn was_granted(&mut self, lease: u64) -> Option<u64> {
        self.is_asking = false;
        self.leases += 1;
        self.current.replace(lease)
    }

    pub(crate) fn was_refused(&mut self, now: Timestamp) {
        self.is_asking = false;
        self.retry_at = Some(now.plus(RETRY));
    }

    pub(crate) fn is_quiet(&self, now: Timestamp) -> bool {
        let is_idle = self.second.saturating_add(QUIET_S) <= now.unix_s();
        is_idle && self.leases == 0 && !self.is_asking
    }
}

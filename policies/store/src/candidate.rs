//! A version beside the live one: whose calls it decides, and what both did meanwhile.
//!
//! Not here: when a rollout moves on (`policies/rollout`, and the region's ledger). Invariant: a candidate that failed here
//! decides for nobody here, whatever the region has heard of it; only another release lets it decide again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_domain::{AgentId, Effect, Region, TenantId, Timestamp, Ttl};
use aegis_policy::activation::Cleared;
use aegis_policy_rollout::{
    Counts, Guard, Limit, Observed, Progress, Reaction, Rollout, RolloutError, Share, Side, Stage,
};
use arc_swap::ArcSwap;

/// A version that decides for some agents, and is asked without effect about calls of the others.
#[derive(Debug)]
pub struct Candidate {
    pub version: Cleared,
    pub agents: Share,
    pub sample: Share,
    rollout: Rollout,
    progress: ArcSwap<Progress>,
    stable_did: Tally,
    candidate_did: Tally,
}

impl Candidate {
    /// A rollout of one stage, whose share is the operator's and which one failed evaluation ends.
    pub(crate) fn new(
        version: Cleared,
        agents: Share,
        sample: Share,
        now: Timestamp,
    ) -> Result<Self, RolloutError> {
        let guard = Guard { limit: Limit::EngineErrors, then: Reaction::RollBack };
        let stage = Stage {
            regions: Default::default(),
            tenants: Default::default(),
            share: agents,
            min_duration: Ttl::from_s(0),
            calls_min: 0,
            guards: vec![guard],
        };
        // Named by its content: the same on every node, and another order of agents for another candidate.
        let rollout = Rollout::new(version.snapshot().source_digest(), vec![stage])?;
        let progress = rollout.begin(now);
        Ok(Self::under(version, rollout, progress, (agents, sample)))
    }

    /// A rollout that the region carries on; `agents` is the share of its stage, told to people.
    pub(crate) fn under(
        version: Cleared,
        rollout: Rollout,
        progress: Progress,
        (agents, sample): (Share, Share),
    ) -> Self {
        let progress = ArcSwap::from_pointee(progress);
        let (stable_did, candidate_did) = Default::default();
        Self { version, agents, sample, rollout, progress, stable_did, candidate_did }
    }

    pub(crate) fn side(&self, region: &Region, tenant: &TenantId, agent: &AgentId) -> Side {
        self.rollout.side(**self.progress.load(), region, tenant, agent)
    }

    pub fn progress(&self) -> Progress {
        **self.progress.load()
    }

    /// Tells that an evaluation failed for an agent it decides for; where a guard of its stage says so, the live version
    /// decides from then on. That it moves on is never decided here.
    pub fn engine_failed(&self, now: Timestamp) {
        let candidate = Counts { calls: 1, engine_errors: 1, ..Counts::default() };
        let observed = Observed { candidate, ..Observed::default() };
        let after = self.rollout.step(self.progress(), now, &observed);
        if matches!(after, Progress::RolledBack { .. }) {
            let policy = self.version.snapshot().policy_ref();
            tracing::error!(revision = policy.revision, "a candidate failed and was rolled back");
            self.progress.store(Arc::new(after));
        }
    }

    /// Counts what one side decided.
    pub fn decided(&self, side: Side, did: Did) {
        match side {
            Side::Stable => self.stable_did.add(did),
            Side::Candidate => self.candidate_did.add(did),
        }
    }

    /// What both sides did since this release of the candidate.
    pub fn observed(&self) -> Observed {
        Observed { stable: self.stable_did.counts(), candidate: self.candidate_did.counts() }
    }
}

/// How one call was decided.
#[derive(Clone, Copy, Debug)]
pub struct Did {
    /// `None` where the evaluation failed.
    pub effect: Option<Effect>,
    pub us: u64,
}

/// Bucket `n` counts what took less than `2^n` microseconds; the last has all the rest.
const BUCKETS: usize = 32;

/// Counts of one side; calls add to it side by side.
#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    denied: AtomicU64,
    approvals: AtomicU64,
    engine_errors: AtomicU64,
    took: [AtomicU64; BUCKETS],
}

impl Tally {
    fn add(&self, Did { effect, us }: Did) {
        let one = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        one(&self.calls);
        match effect {
            None => one(&self.engine_errors),
            Some(Effect::Deny) => one(&self.denied),
            Some(Effect::ApprovalNeeded) => one(&self.approvals),
            Some(Effect::Allow | Effect::Sanitize) => {}
        }
        let bits = u64::BITS.saturating_sub(us.leading_zeros());
        let place = usize::try_from(bits).unwrap_or(BUCKETS).min(BUCKETS.saturating_sub(1));
        self.took.get(place).into_iter().for_each(one);
    }

    fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            calls: of(&self.calls),
            denied: of(&self.denied),
            approvals: of(&self.approvals),
            engine_errors: of(&self.engine_errors),
            p99_us: self.p99_us(),
        }
    }

    /// The upper end of the bucket in which the 99th of a hundred calls lies, so never too kind.
    fn p99_us(&self) -> u64 {
        let counts: Vec<u64> = self.took.iter().map(|it| it.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let wanted = all.saturating_sub(all / 100);
        let mut seen = 0_u64;
        let place = counts.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        });
        let place = place.filter(|_| all > 0).and_then(|place| u32::try_from(place).ok());
        place.map_or(0, |place| 1_u64.checked_shl(place).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_a_hundred_calls_is_never_told_shorter_than_it_was() {
        let tally = Tally::default();
        assert_eq!(tally.counts(), Counts::default());
        for us in (1..=1_000).map(|n| n * 10) {
            tally.add(Did { effect: Some(Effect::Deny), us });
        }
        tally.add(Did { effect: None, us: 5 });
        let counts = tally.counts();
        assert_eq!((counts.calls, counts.denied, counts.engine_errors), (1_001, 1_000, 1));
        assert!((9_900..=16_384).contains(&counts.p99_us), "{counts:?}");
    }
}

//! Which agents a candidate version decides for, and when it may decide for more of them.
//!
//! Not here: who keeps the progress and counts the calls (the gateway, the region's ledger). Pure: `now` and the counts
//! are arguments. Invariant: whom a candidate serves depends on names alone, so every node says the same; an agent it
//! serves stays with it in every later stage, until the rollout is rolled back or aborted.

mod wire;

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::str::FromStr;

use aegis_domain::{AgentId, Region, TenantId, Timestamp, Ttl};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A share of agents or calls, in hundredths of a percent: `5%`, `0.25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u16);

/// Where an agent stands in a rollout: one of 10,000 places, the same on every node and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

/// A candidate's way to all agents, in stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "wire::RawRollout")]
pub struct Rollout {
    id: Box<str>,
    stages: Vec<Stage>,
}

/// Whom the candidate serves in addition to the stages before, for how long at least, and what must not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Empty means every region.
    #[serde(default)]
    pub regions: BTreeSet<Region>,
    /// Empty means every tenant.
    #[serde(default)]
    pub tenants: BTreeSet<TenantId>,
    pub share: Share,
    #[serde(rename = "min_duration_s", with = "wire::seconds", default = "wire::no_time")]
    pub min_duration: Ttl,
    /// Calls each version must have decided before rates are compared and before the next stage.
    #[serde(default)]
    pub calls_min: u64,
    #[serde(default)]
    pub guards: Vec<Guard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    pub limit: Limit,
    pub then: Reaction,
}

/// What a candidate is held against. Rates are compared both ways: one that suddenly allows much more is no better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Limit {
    /// Not one evaluation may fail.
    EngineErrors,
    DenyRateDelta(Share),
    ApprovalRateDelta(Share),
    P99 {
        us_max: u64,
    },
}

/// What a breached limit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Stay in this stage; its time begins anew once the limit holds again.
    Hold,
    RollBack,
}

/// What one version did since the stage began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    pub calls: u64,
    pub denied: u64,
    pub approvals: u64,
    pub engine_errors: u64,
    pub p99_us: u64,
}

/// Both versions beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    pub stable: Counts,
    pub candidate: Counts,
}

/// How far a rollout has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Progress {
    Running {
        stage: usize,
        #[serde(rename = "since_ns", with = "wire::instant")]
        since: Timestamp,
    },
    Held {
        stage: usize,
        #[serde(rename = "since_ns", with = "wire::instant")]
        since: Timestamp,
        by: Limit,
    },
    /// The candidate serves everyone, for as long as its last stage asked: it may become the stable version.
    Complete,
    RolledBack {
        by: Limit,
    },
    /// Somebody ended it; the stable version serves everyone.
    Aborted,
}

/// Which of the two versions decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Stable,
    Candidate,
}

/// Why stages make no rollout.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    #[error("a rollout has 1 to {STAGES_MAX} stages")]
    Stages,
    #[error("a stage has at most {GUARDS_MAX} guards")]
    Guards,
}

/// Why a text is not a share.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a share from 0% to 100% with at most two decimals, such as `5%` or `0.25%`")]
pub struct ShareError;

const STAGES_MAX: usize = 32;
const GUARDS_MAX: usize = 16;
const BUCKETS: u16 = 10_000;

impl Share {
    pub const NONE: Share = Share(0);
    pub const ALL: Share = Share(BUCKETS);

    pub fn covers(self, bucket: Bucket) -> bool {
        bucket.0 < self.0
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let number = text.strip_suffix('%').ok_or(ShareError)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(decimals) || !(1..=2).contains(&decimals.len()) {
            return Err(ShareError);
        }
        let parsed = format!("{whole}{decimals:0<2}").parse().map_err(|_| ShareError)?;
        if whole.is_empty() || parsed > BUCKETS { Err(ShareError) } else { Ok(Self(parsed)) }
    }
}

impl TryFrom<String> for Share {
    type Error = ShareError;

    fn try_from(text: String) -> Result<Self, ShareError> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

impl Bucket {
    /// The place of an agent in a rollout.
    pub fn of_agent(rollout: &str, tenant: &TenantId, agent: &AgentId) -> Self {
        Self::of("aegis-rollout-v1", &[rollout, tenant.as_str(), agent.as_str()])
    }

    /// The place of a call among those that are looked at.
    pub fn of_call(id: &str) -> Self {
        Self::of("aegis-sample-v1", &[id])
    }

    /// The first 8 bytes, big-endian, of SHA-256 over the domain and the parts, modulo 10,000. Each part stands behind
    /// its length in 8 bytes, big-endian, so that no two lists of parts hash the same bytes.
    fn of(domain: &str, parts: &[&str]) -> Self {
        let mut hash = Sha256::new_with_prefix(domain);
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let first = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self(u16::try_from(first % u64::from(BUCKETS)).unwrap_or(0))
    }

    pub fn number(self) -> u16 {
        self.0
    }
}

impl Rollout {
    /// The same `id` gives the same order of agents, so a rollout that begins again has an id of its own.
    pub fn new(id: &str, stages: Vec<Stage>) -> Result<Self, RolloutError> {
        if stages.is_empty() || stages.len() > STAGES_MAX {
            return Err(RolloutError::Stages);
        }
        if stages.iter().any(|stage| stage.guards.len() > GUARDS_MAX) {
            return Err(RolloutError::Guards);
        }
        Ok(Self { id: id.into(), stages })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    pub fn begin(&self, now: Timestamp) -> Progress {
        Progress::Running { stage: 0, since: now }
    }

    /// Which version decides an agent's calls in a region.
    pub fn side(&self, at: Progress, region: &Region, tenant: &TenantId, agent: &AgentId) -> Side {
        let reached = match at {
            Progress::RolledBack { .. } | Progress::Aborted => return Side::Stable,
            Progress::Complete => return Side::Candidate,
            Progress::Running { stage, .. } | Progress::Held { stage, .. } => stage,
        };
        let bucket = Bucket::of_agent(&self.id, tenant, agent);
        let mut stages = self.stages.iter().take(reached.saturating_add(1));
        let is_served =
            stages.any(|stage| stage.names(region, tenant) && stage.share.covers(bucket));
        if is_served { Side::Candidate } else { Side::Stable }
    }

    /// What becomes of the rollout, given what both versions did since the stage began.
    pub fn step(&self, at: Progress, now: Timestamp, observed: &Observed) -> Progress {
        let (stage, since, held_by) = match at {
            Progress::Complete | Progress::RolledBack { .. } | Progress::Aborted => return at,
            Progress::Running { stage, since } => (stage, since, None),
            Progress::Held { stage, since, by } => (stage, since, Some(by)),
        };
        let Some(current) = self.stages.get(stage) else { return at };
        if let Some(Guard { limit: by, then }) = current.breached(observed) {
            return match then {
                Reaction::Hold if held_by.is_some() => Progress::Held { stage, since, by },
                Reaction::Hold => Progress::Held { stage, since: now, by },
                Reaction::RollBack => Progress::RolledBack { by },
            };
        }
        if held_by.is_some() {
            // Too few calls to judge by are no sign that the limit holds again.
            let is_well = current.has_evidence(observed);
            return if is_well { Progress::Running { stage, since: now } } else { at };
        }
        let next = stage.saturating_add(1);
        let is_last = next == self.stages.len();
        let is_over = now.since(since) >= current.min_duration && current.has_evidence(observed);
        match (is_over, is_last) {
            (true, false) => Progress::Running { stage: next, since: now },
            (true, true) if current.is_everyone() => Progress::Complete,
            (true, true) | (false, _) => Progress::Running { stage, since },
        }
    }
}

impl Stage {
    fn names(&self, region: &Region, tenant: &TenantId) -> bool {
        (self.regions.is_empty() || self.regions.contains(region))
            && (self.tenants.is_empty() || self.tenants.contains(tenant))
    }

    fn is_everyone(&self) -> bool {
        self.regions.is_empty() && self.tenants.is_empty() && self.share == Share::ALL
    }

    fn has_evidence(&self, observed: &Observed) -> bool {
        observed.candidate.calls >= self.calls_min
            && (observed.stable.calls >= self.calls_min || self.is_everyone())
    }

    /// The guard whose limit is passed; one that rolls back comes first.
    fn breached(&self, observed: &Observed) -> Option<Guard> {
        let broken = self.guards.iter().filter(|guard| self.is_passed(guard.limit, observed));
        broken.max_by_key(|guard| guard.then).copied()
    }

    fn is_passed(&self, limit: Limit, Observed { stable, candidate }: &Observed) -> bool {
        let enough = |counts: &Counts| counts.calls >= self.calls_min.max(1);
        match limit {
            Limit::EngineErrors => candidate.engine_errors > 0,
            Limit::P99 { us_max } => enough(candidate) && candidate.p99_us > us_max,
            Limit::DenyRateDelta(max) => {
                let (ours, theirs) =
                    ((candidate.denied, candidate.calls), (stable.denied, stable.calls));
                enough(candidate) && enough(stable) && differ(ours, theirs, max)
            }
            Limit::ApprovalRateDelta(max) => {
                let ours = (candidate.approvals, candidate.calls);
                let theirs = (stable.approvals, stable.calls);
                enough(candidate) && enough(stable) && differ(ours, theirs, max)
            }
        }
    }
}

/// Whether two rates (part, whole) lie further apart than `max`; exact, without fractions.
fn differ(one: (u64, u64), other: (u64, u64), max: Share) -> bool {
    let cross = |part: u64, whole: u64| u128::from(part).saturating_mul(u128::from(whole));
    let apart = cross(one.0, other.1).abs_diff(cross(other.0, one.1));
    let allowed = cross(one.1, other.1).saturating_mul(u128::from(max.0));
    apart.saturating_mul(u128::from(BUCKETS)) > allowed
}

#[cfg(test)]
mod tests;

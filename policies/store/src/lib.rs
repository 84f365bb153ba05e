//! The policy versions this gateway decides by, tenant by tenant.
//!
//! Not here: the language and the gate (`policies/engine`), and who asks for a change (the gateway). Blocks on the disk
//! only where it loads. Invariant: a call takes one `Judges` and is judged, attested and recorded by nothing else.

mod candidate;
mod load;
mod released;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use aegis_config::{Config, PolicyFiles, PolicySource, Tenant};
use aegis_document::Diagnostics;
use aegis_domain::{AgentId, DecisionId, Region, TenantId, Timestamp};
use aegis_policy::activation::Cleared;
use aegis_policy::{Archive, Snapshot};
use aegis_policy_rollout::{Bucket, Progress, Side};
use arc_swap::ArcSwapOption;

pub use candidate::{Candidate, Did};
pub use load::Refused;
pub use released::{Beside, Bundled, Released};
pub use store::{NotHeld, Shelf, Store};

/// All tenants' policies. A tenant whose policy the region releases has none before the first release.
#[derive(Debug, Default)]
pub struct Policies(BTreeMap<TenantId, ArcSwapOption<Store>>);

/// What one tenant's calls are judged by, from one change to the next.
#[derive(Debug)]
pub struct TenantPolicy {
    pub live: Cleared,
    pub candidate: Option<Arc<Candidate>>,
    /// The live version as a bundle in each form, once somebody has asked for it.
    served: [OnceLock<Option<Archive>>; 2],
}

/// With which signature a bundle is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    EdDsa,
    /// For OPAs whose configuration takes no EdDSA key.
    Es256,
}

/// Whom one call is judged by.
#[derive(Clone, Debug)]
pub struct Judges {
    pub enforced: Arc<Snapshot>,
    /// Asked too, once the call is answered.
    pub beside: Option<Arc<Snapshot>>,
    /// Which side of a rollout they are, where there is one.
    rollout: Option<(Arc<Candidate>, Side)>,
}

impl Policies {
    /// Takes every tenant's files through the gate; every mistake in every file is reported together.
    pub fn load(config: &Config, now: Timestamp) -> Result<Self, Diagnostics> {
        let mut stores = BTreeMap::new();
        let mut mistakes = Diagnostics::default();
        for tenant in config.tenants.values() {
            let slot = match &tenant.policy {
                PolicySource::Release(_) => ArcSwapOption::empty(),
                PolicySource::Files(files) => {
                    match load::tenant(config, (tenant, files), None, now) {
                        Ok(policy) => {
                            let store = Store::new(policy, config.limits.policies_kept);
                            ArcSwapOption::from_pointee(store)
                        }
                        Err(refused) => {
                            mistakes.merge(refused.found);
                            continue;
                        }
                    }
                }
            };
            drop(stores.insert(tenant.id.clone(), slot));
        }
        mistakes.or(Self(stores))
    }

    /// Finds every mistake without giving out a version number.
    pub fn check(config: &Config) -> Result<(), Diagnostics> {
        let mut mistakes = Diagnostics::default();
        for tenant in config.tenants.values() {
            let PolicySource::Files(files) = &tenant.policy else { continue };
            let checked = load::check(config, (tenant, files));
            checked.err().into_iter().for_each(|refused| mistakes.merge(refused.found));
        }
        mistakes.or(())
    }

    /// What the files of one tenant say now. What is in memory already is not cleared again.
    pub fn reload(
        &self,
        config: &Config,
        (tenant, files): (&Tenant, &PolicyFiles),
        now: Timestamp,
    ) -> Result<TenantPolicy, Refused> {
        load::tenant(config, (tenant, files), self.of(&tenant.id).as_deref(), now)
    }

    pub fn of(&self, tenant: &TenantId) -> Option<Arc<Store>> {
        self.0.get(tenant)?.load_full()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TenantId, Arc<Store>)> {
        self.0.iter().filter_map(|(tenant, slot)| Some((tenant, slot.load_full()?)))
    }

    /// Lets a release decide from the next call on; one at a time for each tenant.
    pub fn install(&self, tenant: &TenantId, policy: TenantPolicy, kept: usize) {
        let Some(slot) = self.0.get(tenant) else { return };
        match slot.load_full() {
            Some(store) => store.activate(policy),
            None => slot.store(Some(Arc::new(Store::new(policy, kept)))),
        }
    }

    /// Nothing decides for this tenant any more, so its calls are denied.
    pub fn withdraw(&self, tenant: &TenantId) {
        if let Some(slot) = self.0.get(tenant) {
            slot.store(None);
        }
    }
}

impl TenantPolicy {
    pub fn new(live: Cleared, candidate: Option<Candidate>) -> Self {
        Self { live, candidate: candidate.map(Arc::new), served: Default::default() }
    }

    /// The live version as a bundle; made once in each form, so that its tag stays the same.
    pub fn served(&self, form: Form, make: impl FnOnce() -> Option<Archive>) -> Option<&Archive> {
        let [eddsa, es256] = &self.served;
        let served = match form {
            Form::EdDsa => eddsa,
            Form::Es256 => es256,
        };
        served.get_or_init(make).as_ref()
    }

    /// Whether nothing would change: the same versions, and the candidate for the same calls. A candidate that was
    /// rolled back begins again.
    pub fn is_as(&self, other: &TenantPolicy) -> bool {
        let version = |cleared: &Cleared| cleared.snapshot().policy_ref().version;
        let next = |policy: &TenantPolicy| {
            let candidate = policy.candidate.as_ref()?;
            let is_running = matches!(candidate.progress(), Progress::Running { .. });
            Some((version(&candidate.version), candidate.agents, candidate.sample, is_running))
        };
        version(&self.live) == version(&other.live) && next(self) == next(other)
    }

    /// Whom a call is judged by; the same agent has the same judge until the policy changes.
    pub fn judges(&self, region: &Region, agent: &AgentId, id: DecisionId) -> Judges {
        let live = self.live.snapshot();
        let Some(candidate) = &self.candidate else {
            return Judges { enforced: Arc::clone(live), beside: None, rollout: None };
        };
        let next = candidate.version.snapshot();
        match candidate.side(region, live.tenant(), agent) {
            Side::Candidate => Judges {
                enforced: Arc::clone(next),
                beside: None,
                rollout: Some((Arc::clone(candidate), Side::Candidate)),
            },
            Side::Stable => {
                let is_sampled = candidate.sample.covers(Bucket::of_call(id.as_str()));
                let beside = is_sampled.then(|| Arc::clone(next));
                let rollout = Some((Arc::clone(candidate), Side::Stable));
                Judges { enforced: Arc::clone(live), beside, rollout }
            }
        }
    }
}

impl Judges {
    /// Tells that an evaluation failed.
    pub fn engine_failed(&self, now: Timestamp) {
        if let Some((candidate, Side::Candidate)) = &self.rollout {
            candidate.engine_failed(now);
        }
    }

    /// Counts a decision on its side of a rollout.
    pub fn decided(&self, did: Did) {
        if let Some((candidate, side)) = &self.rollout {
            candidate.decided(*side, did);
        }
    }
}

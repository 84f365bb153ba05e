//! From the bundles of a release to versions that may decide.
//!
//! Not here: whose release it is, and that its bytes are those that were named (`policies/follow`). Computes for long, so it
//! never runs on the way of a call. Invariant: a bundle decides only for the tenant, the environment and under the number it
//! was released for, whatever it says of itself.

use std::error::Error;

use aegis_config::Config;
use aegis_domain::{TenantId, Timestamp};
use aegis_policy::Bundle;
use aegis_policy::activation::{Cleared, Gate, clear_bundle};
use aegis_policy_rollout::{Progress, Rollout, Share};

use crate::load::known;
use crate::{Candidate, Policies, Refused, TenantPolicy};

/// One version, as it was released.
#[derive(Clone, Copy, Debug)]
pub struct Bundled<'a> {
    pub version: u64,
    pub archive: &'a [u8],
}

/// What is released for a tenant.
#[derive(Clone, Debug)]
pub struct Released<'a> {
    pub tenant: &'a TenantId,
    pub environment: &'a str,
    pub live: Bundled<'a>,
    pub beside: Option<Beside<'a>>,
}

/// A version beside the live one.
#[derive(Clone, Debug)]
pub enum Beside<'a> {
    /// It is asked about all calls, without effect.
    Shadow(Bundled<'a>),
    /// It decides for those agents that its rollout has reached.
    Rollout { candidate: Bundled<'a>, plan: &'a Rollout, progress: Progress },
}

impl Policies {
    /// Takes a release through the gate; `check` answers for the signature of a bundle. What is in memory already is not
    /// cleared again.
    pub fn clear<E: Error + Send + Sync + 'static>(
        &self,
        config: &Config,
        released: &Released<'_>,
        check: impl Fn(&str) -> Result<Vec<u8>, E>,
        now: Timestamp,
    ) -> Result<TenantPolicy, Refused> {
        let known = known(self.of(released.tenant).as_deref());
        let clear = |bundled: Bundled<'_>| {
            let name = format!("version {}", bundled.version);
            let bundle = Bundle::open(bundled.archive)
                .map_err(|error| Refused::unreadable(&name, error.to_string()))?;
            if bundle.manifest().env != released.environment {
                return Err(Refused::unreadable(&name, "it is for another environment".to_owned()));
            }
            let is_it = |cleared: &&Cleared| {
                let policy = cleared.snapshot().policy_ref();
                policy.version == bundled.version && policy.bundle_sha256 == bundle.digest()
            };
            if let Some(cleared) = known.iter().find(is_it) {
                return Ok(cleared.clone());
            }
            let gate = Gate {
                tenant: released.tenant,
                version: bundled.version,
                inputs: config.limits.policies_compared,
                bundle_sha256: None,
            };
            clear_bundle(bundle, &check, &gate).map_err(|refusal| Refused::of(refusal, &name))
        };
        let live = clear(released.live)?;
        let candidate = match &released.beside {
            None => None,
            Some(Beside::Shadow(version)) => {
                let made = Candidate::new(clear(*version)?, Share::NONE, Share::ALL, now);
                Some(made.map_err(|error| Refused::unreadable("shadow", error.to_string()))?)
            }
            Some(Beside::Rollout { candidate, plan, progress }) => {
                let agents = share_of(plan, *progress);
                let shares = (agents, Share::NONE);
                Some(Candidate::under(clear(*candidate)?, (*plan).clone(), *progress, shares))
            }
        };
        Ok(TenantPolicy::new(live, candidate))
    }
}

/// Of the stage that a rollout has reached.
fn share_of(plan: &Rollout, progress: Progress) -> Share {
    match progress {
        Progress::Running { stage, .. } | Progress::Held { stage, .. } => {
            plan.stages().get(stage).map_or(Share::NONE, |stage| stage.share)
        }
        Progress::Complete => Share::ALL,
        Progress::RolledBack { .. } | Progress::Aborted => Share::NONE,
    }
}

//! The region's policy releases in this process: followed, taken through the gate, and swapped in.
//!
//! Not here: following (`policies/follow`), the gate (`policies/engine`). Invariant: a release that is refused leaves what
//! decides as it is, and a gateway whose tenants lack a release is not ready.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use aegis_audit_chain::Hash;
use aegis_config::{Config, PolicyExport, PolicySource, RegionRegistry};
use aegis_control::Control;
use aegis_corridor::{Corridor, clock, tenants::UnusableDefinition};
use aegis_domain::TenantId;
use aegis_identity::{KeySet, verify_jws_within};
use aegis_ledger::LineKey;
use aegis_policy_follow::{
    Export, FollowConfig, Follower, Http, Installer, Ready, Release, Report, Scope, Source,
    SourceError, UnusableReport,
};
use aegis_policy_rollout::Observed;
use aegis_policy_store::{Beside, Bundled, Released};
use aegis_registry::{Defined, Part};
use anyhow::Context as _;
use tokio::runtime::Handle;

use crate::exports::Stored;
use crate::{evidence, name};

/// The tenants whose policies the region releases.
fn lines(config: &Config) -> BTreeSet<LineKey> {
    let released = config.tenants.values().filter_map(|tenant| match &tenant.policy {
        PolicySource::Files(_) => None,
        PolicySource::Release(environment) => {
            Some(LineKey { tenant: tenant.id.clone(), environment: environment.clone() })
        }
    });
    released.collect()
}

/// Begins to follow what is released for the tenants of this gateway, if anything is. What was kept decides when it returns.
pub fn follow(
    corridor: &Arc<Corridor>,
    here: Option<&Arc<Control>>,
) -> anyhow::Result<Option<Follower>> {
    let config = &corridor.config;
    let lines = lines(config);
    // What the region defines is followed elsewhere; here it is told of.
    if lines.is_empty() && config.definitions.is_none() {
        return Ok(None);
    }
    let (source, region_keys): (Arc<dyn Source>, KeySet) = match (&config.registry, here) {
        (Some(RegionRegistry::Followed(registry)), _) => {
            let ca = registry.ca_file.as_deref().map(read).transpose()?;
            let source = Http::new(registry.voters.clone(), registry.token.clone(), ca.as_deref())
                .context("the region's releases cannot be followed")?;
            let keys = KeySet::from_jwks(read(&registry.region_keys)?.as_bytes())?;
            (Arc::new(source), keys)
        }
        (Some(RegionRegistry::Kept(_)) | None, Some(control)) => {
            let own = KeySet::default().with(corridor.region_key.public_key().clone())?;
            let source = Here { control: Arc::clone(control), runtime: corridor.control.clone() };
            (Arc::new(source), own)
        }
        (Some(RegionRegistry::Kept(_)) | None, None) => {
            anyhow::bail!("nobody releases policies here")
        }
    };
    let wanted = FollowConfig {
        gateway: name::of(config)?,
        build: format!("aegis-gateway {}", env!("CARGO_PKG_VERSION")),
        region: config.region.clone(),
        region_keys: region_keys.clone(),
        lines,
        directory: config.data_dir.join("releases"),
        export: config.policy_export.as_ref().map(|from| export(from, config)).transpose()?,
    };
    let installer = Installed { corridor: Arc::clone(corridor), region_keys };
    let follower = Follower::start(wanted, source, Arc::new(installer));
    follower.context("the region's releases cannot be followed").map(Some)
}

fn export(from: &PolicyExport, config: &Config) -> anyhow::Result<Export> {
    Ok(match from {
        PolicyExport::File(path) => Export::File(path.clone()),
        PolicyExport::Store(store) => {
            let address = evidence::address(store).context("`policy_export` cannot be used")?;
            Export::Generations(Arc::new(Stored { address, region: config.region.clone() }))
        }
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Takes releases for the corridor.
struct Installed {
    corridor: Arc<Corridor>,
    region_keys: KeySet,
}

impl Installer for Installed {
    fn clear(&self, release: &Release) -> Result<Ready, String> {
        let statement = release.statement();
        let Corridor { policies, config, metrics, .. } = self.corridor.as_ref();
        let tenant = statement.line.tenant.clone();
        let environment = statement.line.environment.to_string();
        let released = released(release, &tenant, &environment)
            .ok_or("its bundles are not those that it points at")?;
        let theirs = statement.author.as_ref();
        let theirs = theirs.map(|author| KeySet::from_jwks(author.keys.as_bytes())).transpose();
        let theirs =
            theirs.map_err(|error| format!("the author's keys cannot be used: {error}"))?;
        let keys = theirs.as_ref().unwrap_or(&self.region_keys);
        let check = |jwt: &str| {
            let (typ, bytes_max) =
                (aegis_policy::SIGNATURE_TYPE, aegis_policy::SIGNATURE_BYTES_MAX);
            verify_jws_within(jwt, typ, keys, bytes_max)
        };
        match policies.clear(config, &released, check, clock::now()) {
            Ok(policy) => {
                let corridor = Arc::clone(&self.corridor);
                Ok(Box::new(move || {
                    let version = policy.live.snapshot().policy_ref().version;
                    corridor.policies.install(
                        &tenant,
                        policy,
                        corridor.config.limits.policies_kept,
                    );
                    corridor.metrics.policy().activation("activated");
                    corridor.metrics.policy().live(&tenant, version);
                }))
            }
            Err(refused) => {
                let why = refused.found.to_string();
                metrics.policy().activation(refused.code);
                if let Some(store) = policies.of(&tenant) {
                    store.note_refusal(Some(why.clone()));
                }
                Err(why)
            }
        }
    }

    fn withdraw(&self, line: &LineKey) {
        self.corridor.policies.withdraw(&line.tenant);
    }

    fn observed(&self, line: &LineKey) -> Option<Observed> {
        let policy = self.corridor.policies.of(&line.tenant)?.current();
        policy.candidate.as_ref().map(|candidate| candidate.observed())
    }

    fn unusable(&self) -> Vec<UnusableReport> {
        let told = |UnusableDefinition { of: Defined { tenant, part }, changed, why }| {
            let tool = match part {
                Part::Tool(name) => Some(name),
                Part::Limits => None,
            };
            UnusableReport { tenant, tool, version: changed, why }
        };
        self.corridor.tenants.unusable().into_iter().map(told).collect()
    }
}

/// The versions that a pointer names. While a rollout is under way, the shadow waits.
fn released<'a>(
    release: &'a Release,
    tenant: &'a TenantId,
    environment: &'a str,
) -> Option<Released<'a>> {
    let pointer = &release.statement().pointer;
    let bundled = |version: u32| {
        Some(Bundled { version: u64::from(version), archive: release.bundle(version)? })
    };
    let beside = match (pointer.under_way(), pointer.choice.shadow) {
        (Some(rollout), _) => {
            let (candidate, progress) = (bundled(rollout.candidate)?, rollout.progress);
            Some(Beside::Rollout { candidate, plan: &rollout.plan, progress })
        }
        (None, Some(shadow)) => Some(Beside::Shadow(bundled(shadow)?)),
        (None, None) => None,
    };
    Some(Released { tenant, environment, live: bundled(pointer.choice.active)?, beside })
}

/// The ledger of this very process.
struct Here {
    control: Arc<Control>,
    runtime: Handle,
}

impl Source for Here {
    fn page(&self, scope: &Scope, after: Option<u64>) -> Result<String, SourceError> {
        let (told, answer) = std::sync::mpsc::channel();
        let (control, scope) = (Arc::clone(&self.control), scope.clone());
        // A task rather than `block_on`, which panics once the runtime is gone; this hears that nobody will answer.
        drop(self.runtime.spawn(async move {
            told.send(control.releases(&scope, after).await).ok();
        }));
        let page = answer.recv().map_err(|_| SourceError::Here("it stops".to_owned()))?;
        page.map_err(|error| SourceError::Here(error.to_string()))
    }

    fn content(&self, digest: Hash) -> Result<Vec<u8>, SourceError> {
        let content = self.control.content(digest);
        content.ok_or_else(|| SourceError::Here(format!("it holds no {digest}")))
    }

    fn report(&self, gateway: &str, report: &Report) -> Result<(), SourceError> {
        self.control.heard(gateway, report.clone());
        Ok(())
    }
}

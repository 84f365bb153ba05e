//! Changing policies while calls go on: the files are read again and what they say is cleared, off the way of calls.
//!
//! Not here: who asks (SIGHUP in `serve`, `door::ops`). Invariant: one reload at a time; a tenant whose new version is
//! refused keeps the one it has, and that is logged and counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_config::{Config, PolicyFiles, PolicySource, Tenant};
use aegis_domain::TenantId;
use tokio::sync::Mutex;

use crate::wire::Gateway;
use aegis_corridor::clock;
use aegis_policy_store::Store;

/// The turn of whoever reloads.
#[derive(Debug, Default)]
pub struct Reloading(Arc<Mutex<()>>);

/// What a reload did for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantReload {
    /// `activated`, `unchanged`, or why not.
    pub result: &'static str,
    pub live: u64,
    /// Every mistake, one a line.
    pub mistakes: Option<String>,
}

impl Reloading {
    /// Reads the configuration again and takes the policies it names. Everything else in it waits for a restart.
    /// `None` when the configuration itself cannot be read; every tenant keeps what it has.
    pub async fn run(&self, gateway: &Arc<Gateway>) -> Option<BTreeMap<TenantId, TenantReload>> {
        let turn = Arc::clone(&self.0).lock_owned().await;
        let gateway = Arc::clone(gateway);
        // The turn goes along: whoever asked may hang up, and the work goes on to its end.
        let work = gateway.corridor.control.clone().spawn_blocking(move || {
            let reloaded = reload(&gateway);
            drop(turn);
            reloaded
        });
        work.await.ok().flatten()
    }
}

fn reload(gateway: &Gateway) -> Option<BTreeMap<TenantId, TenantReload>> {
    let config = match Config::load(&gateway.corridor.config.file) {
        Ok(config) => config,
        Err(mistakes) => {
            gateway.corridor.metrics.policy().activation("invalid");
            tracing::error!(%mistakes, "the configuration cannot be read, so no policy changes");
            return None;
        }
    };
    let tenants = config.tenants.values().filter_map(|tenant| {
        let PolicySource::Files(files) = &tenant.policy else { return None };
        let store = gateway.corridor.policies.of(&tenant.id)?;
        Some((tenant.id.clone(), reload_tenant(gateway, (tenant, files), &store)))
    });
    Some(tenants.collect())
}

fn reload_tenant(
    gateway: &Gateway,
    (tenant, files): (&Tenant, &PolicyFiles),
    store: &Store,
) -> TenantReload {
    let before = store.current();
    let corridor = &gateway.corridor;
    let loaded = corridor.policies.reload(&corridor.config, (tenant, files), clock::now());
    let (result, mistakes) = match loaded {
        Ok(policy) if policy.is_as(&before) => {
            store.note_refusal(None);
            ("unchanged", None)
        }
        Ok(policy) => {
            let revision = policy.live.snapshot().policy_ref().revision.clone();
            store.activate(policy);
            tracing::info!(revision, "a policy was activated");
            ("activated", None)
        }
        Err(refused) => {
            let mistakes = refused.found.to_string();
            store.note_refusal(Some(mistakes.clone()));
            tracing::error!(tenant = %tenant.id, mistakes, "a policy was refused; the old one stays");
            (refused.code, Some(mistakes))
        }
    };
    let live = store.current().live.snapshot().policy_ref().version;
    gateway.corridor.metrics.policy().activation(result);
    gateway.corridor.metrics.policy().live(&tenant.id, live);
    TenantReload { result, live, mistakes }
}

//! What the gateway counts about its policies: activations, engine errors, and what candidates would change.
//!
//! Not here: decisions, which are counted from their records (`metrics`). Invariant: labels are tenants of the
//! configuration, of which the first 256 get series of their own, and words of ours.

use std::collections::HashSet;
use std::sync::Arc;

use aegis_domain::TenantId;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Tenants with series of their own; the others share `other`.
const TENANTS_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActivationLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabels {
    tenant: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShadowLabels {
    tenant: String,
    class: &'static str,
}

/// Cheap to clone; every clone is the same counters.
#[derive(Clone, Debug, Default)]
pub struct PolicyMetrics {
    activations: Family<ActivationLabels, Counter>,
    engine_errors: Family<TenantLabels, Counter>,
    shadow: Family<ShadowLabels, Counter>,
    shadow_dropped: Family<TenantLabels, Counter>,
    version: Family<TenantLabels, Gauge>,
    tenants: Arc<Mutex<HashSet<String>>>,
}

impl PolicyMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "aegis_policy_activations",
            "Attempts to change a tenant's policy, by how they ended",
            self.activations.clone(),
        );
        registry.register(
            "aegis_policy_engine_errors",
            "Evaluations that gave no answer; each denied its call, or would have",
            self.engine_errors.clone(),
        );
        registry.register(
            "aegis_policy_shadow",
            "Calls a candidate was asked about without effect, by what it would change",
            self.shadow.clone(),
        );
        registry.register(
            "aegis_policy_shadow_dropped",
            "Calls a candidate was to be asked about, and the queue was full",
            self.shadow_dropped.clone(),
        );
        registry.register(
            "aegis_policy_version",
            "The number of the version that decides",
            self.version.clone(),
        );
    }

    /// An attempt to change a tenant's policy ended: `activated`, or why it was refused.
    pub fn activation(&self, result: &'static str) {
        self.activations.get_or_create(&ActivationLabels { result }).inc();
    }

    pub fn engine_error(&self, tenant: &TenantId) {
        self.engine_errors.get_or_create(&self.tenant(tenant)).inc();
    }

    /// A candidate was asked: `same`, or what it would change.
    pub fn shadow(&self, tenant: &TenantId, class: &'static str) {
        let TenantLabels { tenant } = self.tenant(tenant);
        self.shadow.get_or_create(&ShadowLabels { tenant, class }).inc();
    }

    pub fn shadow_dropped(&self, tenant: &TenantId) {
        self.shadow_dropped.get_or_create(&self.tenant(tenant)).inc();
    }

    pub fn live(&self, tenant: &TenantId, version: u64) {
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        self.version.get_or_create(&self.tenant(tenant)).set(version);
    }

    fn tenant(&self, tenant: &TenantId) -> TenantLabels {
        let mut known = self.tenants.lock();
        let name = tenant.as_str();
        if known.len() < TENANTS_MAX && !known.contains(name) {
            known.insert(name.to_owned());
        }
        let is_known = known.contains(name);
        TenantLabels { tenant: if is_known { name } else { "other" }.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn series_are_bounded_however_many_tenants_there_are() {
        let metrics = Metrics::new();
        for number in 0..1_000 {
            let tenant = TenantId::parse(&format!("t{number}")).unwrap();
            metrics.policy().engine_error(&tenant);
            metrics.policy().shadow(&tenant, "same");
            metrics.policy().live(&tenant, 7);
        }
        let text = metrics.render();
        assert!(text.contains("aegis_policy_engine_errors_total{tenant=\"t0\"} 1"), "{text}");
        assert!(text.contains("aegis_policy_engine_errors_total{tenant=\"other\"} 744"));
        assert!(text.lines().count() < 1_000);
    }
}

//! How a gateway stands to what its region defines of tools and limits, for alerts.
//!
//! Not here: following the region (`gateway::region`), and which definitions are in force (`corridor`). Invariant: a gateway
//! that goes by its own file alone has none of these series.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Standing {
    standing: &'static str,
}

/// How many definitions of its tenants a gateway holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefinitionGauges {
    pub used: usize,
    /// Calls that they are for are refused.
    pub unusable: usize,
}

/// Cheap to clone; every clone is the same gauges.
#[derive(Clone, Debug, Default)]
pub struct DefinitionMetrics {
    held: Family<Standing, Gauge>,
}

impl DefinitionMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "aegis_definitions",
            "Definitions of the region for this gateway's tenants; calls for an unusable one are refused",
            self.held.clone(),
        );
    }

    pub fn set(&self, gauges: DefinitionGauges) {
        for (standing, held) in [("used", gauges.used), ("unusable", gauges.unusable)] {
            let held = i64::try_from(held).unwrap_or(i64::MAX);
            self.held.get_or_create(&Standing { standing }).set(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn unusable_definitions_are_told_where_a_region_is_followed_and_nowhere_else() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("aegis_definitions{"));
        metrics.definitions().set(DefinitionGauges { used: 3, unusable: 1 });
        let text = metrics.render();
        assert!(text.contains("aegis_definitions{standing=\"used\"} 3\n"), "{text}");
        assert!(text.contains("aegis_definitions{standing=\"unusable\"} 1\n"), "{text}");
    }
}

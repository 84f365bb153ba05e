//! What a voter says of its part in the region's ledger, for alerts.
//!
//! Not here: asking the voter (`gateway::region`). Invariant: a process that is no voter has none of these series, so an
//! alert on a zero never fires there.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Node {
    node: u64,
}

/// How a voter is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoterGauges {
    /// The id of whoever leads.
    pub leader: Option<u64>,
    pub voters: usize,
    pub applied: u64,
    pub ledger_bytes: u64,
    pub ledger_bytes_max: u64,
}

/// Cheap to clone; every clone is the same gauges.
#[derive(Clone, Debug, Default)]
pub struct VoterMetrics {
    leader: Family<Node, Gauge>,
    voters: Family<Node, Gauge>,
    applied: Family<Node, Gauge>,
    bytes: Family<Node, Gauge>,
    bytes_max: Family<Node, Gauge>,
}

impl VoterMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        for (name, help, family) in [
            (
                "aegis_voter_leader",
                "The voter that leads, as this one sees it; 0 for none",
                &self.leader,
            ),
            ("aegis_voter_voters", "How many vote, as this one sees it", &self.voters),
            (
                "aegis_voter_applied",
                "The last entry of the ledger that this voter has applied",
                &self.applied,
            ),
            ("aegis_voter_ledger_bytes", "What the ledger takes on disk", &self.bytes),
            (
                "aegis_voter_ledger_bytes_max",
                "At this, only what takes something back is taken",
                &self.bytes_max,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
    }

    pub fn set(&self, node: u64, gauges: VoterGauges) {
        let VoterGauges { leader, voters, applied, ledger_bytes, ledger_bytes_max } = gauges;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (family, value) in [
            (&self.leader, number(leader.unwrap_or(0))),
            (&self.voters, i64::try_from(voters).unwrap_or(i64::MAX)),
            (&self.applied, number(applied)),
            (&self.bytes, number(ledger_bytes)),
            (&self.bytes_max, number(ledger_bytes_max)),
        ] {
            family.get_or_create(&Node { node }).set(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Metrics;

    use super::*;

    #[test]
    fn a_process_that_is_no_voter_has_no_series_of_voters() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("aegis_voter_leader{"));
        let gauges = VoterGauges {
            leader: None,
            voters: 3,
            applied: 9,
            ledger_bytes: 1,
            ledger_bytes_max: 2,
        };
        metrics.voters().set(2, gauges);
        assert!(metrics.render().contains("aegis_voter_leader{node=\"2\"} 0"));
    }
}

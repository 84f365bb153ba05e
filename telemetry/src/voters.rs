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
    /// For how long it heard of no leader or, as one, of no quorum.
    pub out_of_touch_s: u64,
    pub voters: usize,
    pub applied: u64,
    pub ledger_bytes: u64,
    pub ledger_bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Author {
    author: String,
}

/// How the region that authors releases is, as the voter that asks it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorGauges {
    /// When it was last heard, by this machine's clock.
    pub heard_at_s: u64,
    pub is_silent: bool,
    /// Lines of which a release is not taken.
    pub refused: usize,
}

/// Cheap to clone; every clone is the same gauges.
#[derive(Clone, Debug, Default)]
pub struct VoterMetrics {
    heard: Family<Author, Gauge>,
    silent: Family<Author, Gauge>,
    refused: Family<Author, Gauge>,
    leader: Family<Node, Gauge>,
    out_of_touch: Family<Node, Gauge>,
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
            (
                "aegis_voter_out_of_touch_seconds",
                "For how long this voter heard of no leader or, as one, of no quorum",
                &self.out_of_touch,
            ),
            ("aegis_voter_voters", "How many vote, as this one sees it", &self.voters),
            (
                "aegis_voter_applied",
                "The last entry of the ledger that this voter has applied",
                &self.applied,
            ),
            ("aegis_voter_ledger_bytes", "What log and snapshot of the ledger take", &self.bytes),
            (
                "aegis_voter_ledger_bytes_max",
                "At this, only what takes something back is taken",
                &self.bytes_max,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        for (name, help, family) in [
            (
                "aegis_author_heard_timestamp_seconds",
                "When the region that authors releases was last heard",
                &self.heard,
            ),
            ("aegis_author_silent", "1 where it was not heard for a minute", &self.silent),
            (
                "aegis_author_refused",
                "Lines of which a release of the author is not taken",
                &self.refused,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
    }

    /// Tells of the region that authors; `None` where this voter does not ask it, so that no alert fires here.
    pub fn author(&self, region: &str, gauges: Option<AuthorGauges>) {
        let author = Author { author: region.to_owned() };
        let Some(AuthorGauges { heard_at_s, is_silent, refused }) = gauges else {
            for family in [&self.heard, &self.silent, &self.refused] {
                family.remove(&author);
            }
            return;
        };
        for (family, value) in [
            (&self.heard, i64::try_from(heard_at_s).unwrap_or(i64::MAX)),
            (&self.silent, i64::from(is_silent)),
            (&self.refused, i64::try_from(refused).unwrap_or(i64::MAX)),
        ] {
            family.get_or_create(&author).set(value);
        }
    }

    pub fn set(&self, node: u64, gauges: VoterGauges) {
        let VoterGauges { leader, out_of_touch_s, voters, applied, ledger_bytes, ledger_bytes_max } =
            gauges;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (family, value) in [
            (&self.leader, number(leader.unwrap_or(0))),
            (&self.out_of_touch, number(out_of_touch_s)),
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
            out_of_touch_s: 40,
            voters: 3,
            applied: 9,
            ledger_bytes: 1,
            ledger_bytes_max: 2,
        };
        metrics.voters().set(2, gauges);
        assert!(metrics.render().contains("aegis_voter_leader{node=\"2\"} 0"));
        assert!(metrics.render().contains("aegis_voter_out_of_touch_seconds{node=\"2\"} 40"));
    }

    #[test]
    fn a_voter_that_does_not_ask_the_author_says_nothing_of_it() {
        let metrics = Metrics::new();
        let gauges = AuthorGauges { heard_at_s: 9, is_silent: true, refused: 1 };
        metrics.voters().author("eu-west-1", Some(gauges));
        assert!(metrics.render().contains("aegis_author_silent{author=\"eu-west-1\"} 1"));
        metrics.voters().author("eu-west-1", None);
        assert!(!metrics.render().contains("aegis_author_silent{"));
    }
}

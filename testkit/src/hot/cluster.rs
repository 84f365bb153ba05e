//! A Cluster of primaries with all slots among them, and the resharding of one slot.
//!
//! Not here: failover inside a Cluster, which `Replicated` shows for one primary. Invariant: a Cluster is handed out
//! only when every node agrees that it is well.

use std::path::Path;

use super::server::Server;
use crate::ports::Port;

const SLOTS: usize = 16_384;

pub struct Cluster {
    pub nodes: Vec<Server>,
    /// Where the nodes talk to each other.
    _buses: Vec<Port>,
}

impl Cluster {
    pub fn start(program: &Path, count: usize) -> Self {
        let buses: Vec<Port> = (0..count).map(|_| Port::reserve()).collect();
        let nodes: Vec<Server> = buses
            .iter()
            .map(|bus| {
                let bus = bus.number().to_string();
                let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
                Server::start(
                    program,
                    &[&options[..], &["--cluster-node-timeout", "2000"]].concat(),
                )
            })
            .collect();
        let share = SLOTS.div_ceil(count);
        // As `redis-cli --cluster create` does: nodes that all begin at epoch 0 settle who is which for seconds, and a slot that is
        // moved meanwhile may end with two nodes that each call the other its owner.
        for (epoch, node) in (1..).zip(&nodes) {
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &u64::to_string(&epoch)]);
        }
        for (nth, (node, bus)) in nodes.iter().zip(&buses).enumerate() {
            let (first, last) = (nth * share, ((nth + 1) * share).min(SLOTS) - 1);
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            let (port, bus) = (node.port().to_string(), bus.number().to_string());
            nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let cluster = Self { nodes, _buses: buses };
        cluster.wait_until_well();
        cluster
    }

    fn wait_until_well(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            node.wait_until("the cluster is well", |node| {
                let info = node.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&known)
            });
        }
    }

    pub fn slot_of(&self, key: &str) -> u16 {
        self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]).parse().unwrap()
    }

    /// Which node serves the slot.
    pub fn owner(&self, slot: u16) -> usize {
        slot as usize / SLOTS.div_ceil(self.nodes.len())
    }

    /// Moves a slot as `redis-cli --cluster reshard` does, a few keys at a time, with `between` after each.
    pub fn reshard(&self, slot: u16, (from, to): (usize, usize), mut between: impl FnMut()) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let (from_id, to_id) = (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
        let slot = slot.to_string();
        to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        loop {
            let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
            if keys.is_empty() {
                break;
            }
            let port = to.port().to_string();
            let mut migrate = vec!["MIGRATE", to.ip(), &port, "", "0", "5000", "KEYS"];
            migrate.extend(keys.lines());
            from.ask(&migrate);
            between();
        }
        for node in [to, from].into_iter().chain(&self.nodes) {
            node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
        for node in &self.nodes {
            node.wait_until("all know who serves the slot", |node| {
                let nodes = node.ask(&["CLUSTER", "NODES"]);
                nodes.lines().any(|line| line.starts_with(&to_id) && has(line, &slot))
            });
        }
    }
}

/// Whether a line of `CLUSTER NODES` ends with ranges of slots that this one is in.
fn has(line: &str, slot: &str) -> bool {
    let slot: u16 = slot.parse().unwrap();
    let ranges = line.split_whitespace().skip(8).filter(|range| !range.starts_with('['));
    ranges.into_iter().any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (first.parse().unwrap()..=last.parse().unwrap()).contains(&slot)
    })
}

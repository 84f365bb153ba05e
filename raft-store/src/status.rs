//! How a voter is, as it sees itself.
//!
//! Not here: changing any of it (`node`, `members`). Invariant: a status is one look at what Raft last said, and costs no wait.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use aegis_ledger::Checkpoint;

use crate::node::Node;

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct Status {
    pub node: u64,
    pub term: u64,
    pub leader: Option<u64>,
    pub last_entry: Option<u64>,
    pub applied: Option<u64>,
    pub snapshot: Option<u64>,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// Of a leader: up to which entry each of the others holds the log.
    pub held: BTreeMap<u64, Option<u64>>,
    /// Whether a change of the voters was begun and not finished.
    pub is_joint: bool,
    /// Of a leader: how long ago a quorum last answered.
    pub quorum_heard_ago: Option<Duration>,
    pub checkpoint: Option<Checkpoint>,
    /// How long ago it last was in touch with the cluster: heard a leader, or, as one, a quorum.
    pub in_touch_ago: Duration,
    /// By how many milliseconds the voters' clocks are ahead of the region's time, as far as they are known.
    pub clocks_ahead_ms: BTreeMap<u64, i64>,
    /// What log and snapshot take, and what they may take. The file is up to three times as long.
    pub ledger_bytes: u64,
    pub ledger_bytes_max: u64,
}

/// Beyond this a clock is to be set right: tokens and approvals are judged by each machine's own.
const APART_MAX_MS: u64 = 5_000;

impl Status {
    /// Whether some voter's clock is wrong.
    pub fn are_clocks_apart(&self) -> bool {
        self.clocks_ahead_ms.values().any(|ahead| ahead.unsigned_abs() > APART_MAX_MS)
    }

    /// Whether it is time to look after the disk: four fifths are taken.
    pub fn is_nearly_full(&self) -> bool {
        self.ledger_bytes >= self.ledger_bytes_max.saturating_div(5).saturating_mul(4)
    }

    pub fn is_full(&self) -> bool {
        self.ledger_bytes >= self.ledger_bytes_max
    }
}

impl Node {
    pub fn status(&self) -> Status {
        let metrics = self.running().raft.metrics().borrow().clone();
        let members = metrics.membership_config.membership();
        let held = metrics.replication.clone().unwrap_or_default();
        let quorum_heard_ago = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        Status {
            node: metrics.id,
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_entry: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
            voters: members.voter_ids().collect(),
            learners: members.learner_ids().collect(),
            held: held.into_iter().map(|(id, last)| (id, last.map(|last| last.index))).collect(),
            is_joint: members.get_joint_config().len() > 1,
            quorum_heard_ago,
            checkpoint: self.running().shared.checkpoint(),
            in_touch_ago: quorum_heard_ago.unwrap_or_else(|| self.running().shared.led_ago()),
            clocks_ahead_ms: self.running().shared.clocks_ahead_ms(metrics.id),
            ledger_bytes: self.ledger_bytes(),
            ledger_bytes_max: self.running().bytes_max,
        }
    }

    /// What is acknowledged counts; a file has room of its own beside that, which says nothing of when it ends.
    pub(crate) fn ledger_bytes(&self) -> u64 {
        self.running().used.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }
}

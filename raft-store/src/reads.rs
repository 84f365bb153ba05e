//! How far a voter must have got before it reads: as far as anything that was acknowledged before somebody asked.
//!
//! A leader whose process starts again leads on in its term, if nobody missed it, and openraft 0.9 then asks of a read no more than
//! the first entry of that term (`Leader::noop_log_id`) and what it knows to be committed, which is written down late. What it
//! acknowledged between the two is on its disk, for a leader syncs before it sends; so a read waits for all it found there.
//! Not here: waiting until that is applied (`node`). Invariant: an index is given only by whom a quorum takes for its leader.

use openraft::BasicNode;
use openraft::error::{CheckIsLeaderError, RaftError};

use crate::types::{LogId, Raft};

/// Why there is no such index.
pub(crate) type ReadError = RaftError<u64, CheckIsLeaderError<u64, BasicNode>>;

#[derive(Clone)]
pub(crate) struct Reads {
    raft: Raft,
    /// The last entry that the start found.
    found: Option<LogId>,
}

impl Reads {
    pub(crate) fn new(raft: Raft, found: Option<LogId>) -> Self {
        Self { raft, found }
    }

    /// Asks a quorum. An entry of an earlier leader counts as earlier, wherever it stands: another may be there by now.
    pub(crate) async fn index(&self) -> Result<Option<u64>, ReadError> {
        let (read, _) = self.raft.get_read_log_id().await?;
        Ok(read.max(self.found).map(|id| id.index))
    }
}

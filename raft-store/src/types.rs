//! What Raft is told about us: which types it carries.
//!
//! Not here: what they mean (`ledger`). Invariant: openraft's names stop in this crate.

use std::sync::Arc;

use aegis_ledger::Batch;
use openraft::{BasicNode, StorageError, StorageIOError};

openraft::declare_raft_types!(
    /// Answers are not Raft's business: whoever commands waits for its own node to apply the entry (`waiters`).
    pub(crate) Types:
        D = Batch,
        R = (),
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = Image,
        AsyncRuntime = crate::host::Runtime,
);

pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type Membership = openraft::StoredMembership<u64, BasicNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, BasicNode>;
pub(crate) type Snapshot = openraft::Snapshot<Types>;
pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, BasicNode>;
pub(crate) type Failed = StorageError<u64>;

/// The bytes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image(pub(crate) Arc<Vec<u8>>);

pub(crate) fn read_failed(error: &(impl std::error::Error + 'static)) -> Failed {
    StorageError::IO { source: StorageIOError::read(openraft::AnyError::new(error)) }
}

pub(crate) fn write_failed(error: &(impl std::error::Error + 'static)) -> Failed {
    StorageError::IO { source: StorageIOError::write(openraft::AnyError::new(error)) }
}

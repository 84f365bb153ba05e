//! A voter's file that no voter uses: read whole, and handed to another cluster.
//!
//! Not here: when that is right (`rescue`). Invariant: the file changes its owner, its state and its log in one transaction.

use std::path::Path;

use redb::Database;

use super::tables::{self, Found};
use super::{DiskError, Identity};
use crate::types::{Entry, Snapshot, SnapshotMeta, Vote};

pub(crate) struct Offline(Database);

impl Offline {
    /// Opens the file of a directory; what is not there is made.
    pub(crate) fn open(directory: &Path) -> Result<Self, DiskError> {
        super::database(super::backend(directory)?).map(Self)
    }

    /// Whose file it is, if anybody's.
    pub(crate) fn owner(&self) -> Result<Option<Identity>, DiskError> {
        tables::owner(&self.0)
    }

    /// The same checks as when a voter starts on it.
    pub(crate) fn found(&self, identity: &Identity) -> Result<Found, DiskError> {
        tables::found(&self.0, identity)
    }

    pub(crate) fn snapshot(&self) -> Result<Option<Snapshot>, DiskError> {
        tables::snapshot(&self.0)
    }

    pub(crate) fn entries_from(&self, index: u64) -> Result<Vec<Entry>, DiskError> {
        tables::entries(&self.0, index.., index, usize::MAX)
    }

    /// Gives the file to another owner, with this state and nothing after it.
    pub(crate) fn take_over(
        &self,
        owner: &Identity,
        (about, image): (&SnapshotMeta, &[u8]),
        vote: &Vote,
    ) -> Result<(), DiskError> {
        tables::take_over(&self.0, owner, (about, image), vote)
    }
}

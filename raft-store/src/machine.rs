//! The ledger as Raft wants it: entries are applied in memory, and a snapshot of it is kept in the voter's file.
//!
//! Not here: what a command does (`ledger`). Invariant: after a restart the state is the snapshot and the entries after it,
//! so nothing is ever purged that the snapshot on disk does not hold.

use std::sync::Arc;

use aegis_ledger::Ledger;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use sha2::{Digest as _, Sha256};

use crate::disk::{Change, Disk, DiskError};
use crate::host;
use crate::state::{Shared, State};
use crate::types::{Entry, Failed, Image, LogId, Membership, Snapshot, SnapshotMeta, Types};
use crate::types::{read_failed, write_failed};

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    disk: Arc<Disk>,
    shared: Arc<Shared>,
}

impl Machine {
    /// Takes up the snapshot of the file.
    pub(crate) fn open(disk: &Arc<Disk>) -> Result<Self, DiskError> {
        let state = match disk.snapshot()? {
            None => State::default(),
            Some(snapshot) => state_of(&snapshot.meta, &snapshot.snapshot)?,
        };
        Ok(Self { disk: Arc::clone(disk), shared: Arc::new(Shared::new(state)) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

fn state_of(meta: &SnapshotMeta, image: &Image) -> Result<State, DiskError> {
    let ledger: Ledger = serde_json::from_slice(&image.0)?;
    Ok(State { ledger, applied: meta.last_log_id, membership: meta.last_membership.clone() })
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), Failed> {
        let state = self.shared.read();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failed>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut replies = Vec::new();
        for entry in entries {
            match &entry.payload {
                EntryPayload::Blank => self.shared.pass(entry.log_id, None),
                EntryPayload::Normal(batch) => self.shared.apply(entry.log_id, batch),
                EntryPayload::Membership(members) => {
                    let members = Membership::new(Some(entry.log_id), members.clone());
                    self.shared.pass(entry.log_id, Some(members));
                }
            }
            replies.push(());
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Image>, Failed> {
        Ok(Box::new(Image(Arc::default())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Image>,
    ) -> Result<(), Failed> {
        let state = state_of(meta, &snapshot).map_err(|error| read_failed(&error))?;
        let change = Change::Snapshot(Box::new(meta.clone()), snapshot.0);
        self.disk.write(change).await.map_err(|error| write_failed(&error))?;
        self.shared.replace(state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, Failed> {
        self.disk.snapshot().map_err(|error| read_failed(&error))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot, Failed> {
        // A copy, so that entries are applied while it is written out.
        let State { ledger, applied, membership } = self.shared.read().clone();
        let written = host::blocking(move || serde_json::to_vec(&ledger)).await;
        let image = written.map_err(|error| read_failed(&error))?;
        let image = Arc::new(image.map_err(|error| read_failed(&error))?);
        let digest = Sha256::digest(image.as_slice());
        let mark = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let meta = SnapshotMeta {
            last_log_id: applied,
            last_membership: membership,
            snapshot_id: format!("{}-{mark}", applied.map_or(0, |applied| applied.index)),
        };
        let change = Change::Snapshot(Box::new(meta.clone()), Arc::clone(&image));
        self.disk.write(change).await.map_err(|error| write_failed(&error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Image(image)) })
    }
}

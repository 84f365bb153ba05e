//! The log and the machine of a voter, with the oracle looking on.
//!
//! Not here: what they do (`crate::log`, `crate::machine`), which is all passed on. Invariant: unless a bug is planted, a voter
//! behaves as it would unwatched.

use std::fmt::Debug;
use std::ops::RangeBounds;

use aegis_registry::ClientId;
use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};

use super::oracle::Oracle;
use super::{Bug, planted};
use crate::log::LogStore;
use crate::machine::Machine;
use crate::types::{Entry, Failed, Image, LogId, Membership, Snapshot, SnapshotMeta, Types, Vote};

pub(crate) struct Watched<T> {
    pub(crate) node: u64,
    pub(crate) inner: T,
    pub(crate) oracle: Oracle,
}

impl RaftLogReader<Types> for Watched<LogStore> {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, Failed> {
        self.inner.try_get_log_entries(range).await
    }
}

impl RaftLogStorage<Types> for Watched<LogStore> {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failed> {
        self.inner.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.inner.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), Failed> {
        if !planted(Bug::VoteNotSaved) {
            self.inner.save_vote(vote).await?;
        }
        // One that power took before it was saved was never given.
        self.oracle.voted(self.node, *vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, Failed> {
        self.inner.read_vote().await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), Failed> {
        self.inner.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, Failed> {
        self.inner.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failed>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.inner.append(entries, callback).await
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), Failed> {
        self.inner.truncate(since).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), Failed> {
        self.inner.purge(upto).await
    }
}

impl RaftStateMachine<Types> for Watched<Machine> {
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), Failed> {
        self.inner.applied_state().await
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failed>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut replies = Vec::new();
        for mut entry in entries {
            let told = entry.clone();
            if planted(Bug::ClientForgotten) && self.oracle.is_copy(&told) {
                forget(&mut entry);
            }
            replies.append(&mut self.inner.apply([entry]).await?);
            self.oracle.applied(self.node, &told, &self.inner.shared().ledger());
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.inner.get_snapshot_builder().await
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Image>, Failed> {
        self.inner.begin_receiving_snapshot().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Image>,
    ) -> Result<(), Failed> {
        self.inner.install_snapshot(meta, snapshot).await?;
        self.oracle.installed(self.node, meta.last_log_id);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, Failed> {
        self.inner.get_current_snapshot().await
    }
}

/// As if the commands came from clients that were never heard of.
fn forget(entry: &mut Entry) {
    let index = entry.log_id.index;
    let EntryPayload::Normal(batch) = &mut entry.payload else { return };
    for command in &mut batch.commands {
        let stranger = format!("{:?} {index}", command.origin.client);
        command.origin.client = ClientId::of(stranger.as_bytes());
    }
}

//! openraft's own suite, on a store that stays open and on one that is opened anew for every call.
//!
//! Not here: crashes (`crashes`). Invariant: in the second, nothing a call left behind is anywhere but on disk.

use std::fmt::Debug;
use std::ops::RangeBounds;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{LogState, OptionalSend, RaftLogReader, RaftSnapshotBuilder};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{closed_dir, identity, never};
use crate::disk::Disk;
use crate::log::LogStore;
use crate::machine::Machine;
use crate::types::{Entry, Failed, Image, LogId, Membership, Snapshot, SnapshotMeta, Types, Vote};

/// A store as the suite uses it: it applies entries that are in no log and purges what no snapshot holds, neither of which
/// Raft does. So a snapshot comes with both.
#[derive(Clone)]
struct Judged {
    path: Arc<Mutex<PathBuf>>,
    /// Without it the file is opened for each call and closed after.
    kept: Option<(LogStore, Machine)>,
}

impl Judged {
    async fn act<T>(&self, act: impl AsyncFnOnce(LogStore, Machine) -> T) -> T {
        let path = self.path.lock().await;
        if let Some((log, machine)) = self.kept.clone() {
            return act(log, machine).await;
        }
        let (disk, _) = Disk::open(&path, &identity(), never()).unwrap();
        let disk = Arc::new(disk);
        let machine = Machine::open(&disk).unwrap();
        let acted = act(LogStore(Arc::clone(&disk)), machine).await;
        Arc::try_unwrap(disk).expect("nobody keeps the file open");
        acted
    }
}

impl RaftLogReader<Types> for Judged {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, Failed> {
        self.act(async |mut log, _| log.try_get_log_entries(range).await).await
    }
}

impl RaftLogStorage<Types> for Judged {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failed> {
        self.act(async |mut log, _| log.get_log_state().await).await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), Failed> {
        self.act(async |mut log, _| log.save_vote(vote).await).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, Failed> {
        self.act(async |mut log, _| log.read_vote().await).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), Failed> {
        self.act(async |mut log, _| log.save_committed(committed).await).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, Failed> {
        self.act(async |mut log, _| log.read_committed().await).await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failed>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.act(async |mut log, _| log.append(entries, callback).await).await
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), Failed> {
        self.act(async |mut log, _| log.truncate(since).await).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), Failed> {
        self.act(async |mut log, mut machine| {
            let (applied, last_membership) = machine.applied_state().await?;
            if applied < Some(upto) {
                let snapshot_id = "suite".into();
                let meta = SnapshotMeta { last_log_id: Some(upto), last_membership, snapshot_id };
                let image = serde_json::to_vec(&*machine.shared().ledger()).unwrap();
                machine.install_snapshot(&meta, Box::new(Image(Arc::new(image)))).await?;
            }
            log.purge(upto).await
        })
        .await
    }
}

impl RaftStateMachine<Types> for Judged {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), Failed> {
        self.act(async |_, mut machine| machine.applied_state().await).await
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failed>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.act(async |_, mut machine| {
            let replies = machine.apply(entries).await?;
            machine.build_snapshot().await?;
            Ok(replies)
        })
        .await
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Image>, Failed> {
        self.act(async |_, mut machine| machine.begin_receiving_snapshot().await).await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Image>,
    ) -> Result<(), Failed> {
        self.act(async |_, mut machine| machine.install_snapshot(meta, snapshot).await).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, Failed> {
        self.act(async |_, mut machine| machine.get_current_snapshot().await).await
    }
}

impl RaftSnapshotBuilder<Types> for Judged {
    async fn build_snapshot(&mut self) -> Result<Snapshot, Failed> {
        self.act(async |_, mut machine| machine.build_snapshot().await).await
    }
}

struct Kept;
struct Anew;

impl StoreBuilder<Types, Judged, Judged, TempDir> for Kept {
    async fn build(&self) -> Result<(TempDir, Judged, Judged), Failed> {
        let home = closed_dir();
        let disk = Arc::new(Disk::open(home.path(), &identity(), never()).unwrap().0);
        let machine = Machine::open(&disk).unwrap();
        let path = Arc::new(Mutex::new(home.path().to_owned()));
        let store = Judged { path, kept: Some((LogStore(disk), machine)) };
        Ok((home, store.clone(), store))
    }
}

impl StoreBuilder<Types, Judged, Judged, TempDir> for Anew {
    async fn build(&self) -> Result<(TempDir, Judged, Judged), Failed> {
        let home = closed_dir();
        let store = Judged { path: Arc::new(Mutex::new(home.path().to_owned())), kept: None };
        Ok((home, store.clone(), store))
    }
}

#[test]
fn the_store_passes_openrafts_suite() {
    Suite::test_all(Kept).unwrap();
}

#[test]
fn the_store_passes_openrafts_suite_when_it_is_opened_anew_for_every_call() {
    Suite::test_all(Anew).unwrap();
}

//! The log as Raft wants it, over the voter's file.
//!
//! Not here: how it is written (`disk`). Invariant: an append is acknowledged by the writer, after its transaction.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, PoisonError};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};

use crate::disk::{Change, Disk, Job};
use crate::types::{Entry, Failed, LogId, Types, Vote, read_failed, write_failed};

/// What one message to a follower holds: few enough that a heartbeat does not wait behind it.
const BYTES_MAX: usize = 2 * 1_024 * 1_024;

#[derive(Clone, Debug)]
pub(crate) struct LogStore(pub(crate) Arc<Disk>);

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, Failed> {
        self.0.entries(range, usize::MAX).map_err(|error| read_failed(&error))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, Failed> {
        let entries = self.0.entries(start..end, BYTES_MAX).map_err(|error| read_failed(&error))?;
        // What was given up since Raft asked leaves a gap, which openraft 0.9 would send; for nothing it sends a heartbeat.
        let is_whole = entries.first().is_none_or(|first| first.log_id.index == start);
        Ok(if is_whole { entries } else { Vec::new() })
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failed> {
        let bounds = self.0.bounds();
        Ok(LogState { last_purged_log_id: bounds.purged, last_log_id: bounds.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), Failed> {
        self.0.write(Change::Vote(*vote)).await.map_err(|error| write_failed(&error))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, Failed> {
        self.0.vote().map_err(|error| read_failed(&error))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), Failed> {
        self.0.set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, Failed> {
        Ok(self.0.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failed>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut rows, mut last) = (Vec::new(), None);
        for entry in entries {
            let bytes = serde_json::to_vec(&entry).map_err(|error| write_failed(&error))?;
            rows.push((entry.log_id.index, bytes));
            last = Some(entry.log_id);
        }
        let bounds = self.0.bounds_handle();
        let done = Box::new(move |result: Result<(), _>| {
            if result.is_ok() {
                bounds.lock().unwrap_or_else(PoisonError::into_inner).last = last;
            }
            callback.log_io_completed(result.map_err(io::Error::other));
        });
        self.0.send(Job { change: Change::Append(rows), done });
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), Failed> {
        let written = self.0.write(Change::Truncate(since.index)).await;
        written.map_err(|error| write_failed(&error))?;
        let before = since.index.checked_sub(1);
        let left = match before {
            Some(before) => self.0.entries(before..since.index, BYTES_MAX),
            None => Ok(Vec::new()),
        };
        let left = left.map_err(|error| read_failed(&error))?;
        let last = left.last().map(|entry| entry.log_id);
        self.0.move_bounds(|bounds| bounds.last = last.or(bounds.purged));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), Failed> {
        self.0.write(Change::Purge(upto)).await.map_err(|error| write_failed(&error))?;
        self.0.move_bounds(|bounds| {
            bounds.purged = Some(upto);
            bounds.last = bounds.last.max(Some(upto));
        });
        Ok(())
    }
}

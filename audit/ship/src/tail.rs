//! Follows a directory's records in order, from a cursor on, while the journal is being written.
//!
//! Not here: what readers make of them (`telemetry`, `aegisctl audit tail`). Invariant: each record is shown once, in
//! the order of streams and numbers; of a live stream only what is durable.

use std::io;
use std::path::{Path, PathBuf};

use aegis_audit_chain::{Cursor, Origin, StoredRecord, layout};
use tokio::sync::watch;

use crate::Journal;
use crate::stream_reader::{StreamReader, Wants, header_of, names};

/// Reads on where the cursor stands.
#[derive(Debug)]
pub struct Tail {
    root: PathBuf,
    reader: Option<StreamReader>,
    live: Option<(Origin, watch::Receiver<u64>)>,
}

impl Tail {
    /// Begins at the cursor, or with the oldest record there is. For readers in other processes.
    pub fn new(dir: &Path, cursor: Option<Cursor>) -> Self {
        let reader = cursor.map(|cursor| StreamReader::new(dir, cursor.origin, cursor.seq));
        Self { root: dir.to_path_buf(), reader, live: None }
    }

    /// Begins at the cursor and shows only what this process's journal knows to be durable.
    pub fn follow(dir: &Path, journal: &Journal, cursor: Option<Cursor>) -> Self {
        let live = Some((journal.origin().clone(), journal.durable()));
        Self { live, ..Self::new(dir, cursor) }
    }

    /// The next records, at most `max`; none when there are none yet.
    pub fn read(&mut self, max: usize) -> io::Result<Vec<StoredRecord>> {
        let mut records = Vec::new();
        // A stream that has a successor is final, so the list must be older than the read.
        let mut streams = streams(&self.root)?;
        if self.reader.is_none() {
            let Some((_, first)) = streams.pop_first() else { return Ok(records) };
            self.reader = Some(StreamReader::new(&self.root, first, 0));
        }
        while let Some(reader) = &mut self.reader {
            let origin = reader.origin().clone();
            let end = match &self.live {
                Some((live, durable)) if *live == origin => *durable.borrow(),
                Some(_) | None => u64::MAX,
            };
            let room = max.saturating_sub(records.len());
            if room == 0 {
                break;
            }
            reader.read(end, &mut |seq, bytes| {
                records.push(StoredRecord { origin: origin.clone(), seq, bytes: bytes.to_vec() });
                if records.len() < max { Wants::More } else { Wants::Enough }
            })?;
            if records.len() >= max {
                break;
            }
            let after = streams.split_off(&origin.incarnation().saturating_add(1));
            let Some((_, next)) = after.first_key_value() else { break };
            self.reader = Some(StreamReader::new(&self.root, next.clone(), 0));
            streams = after;
        }
        Ok(records)
    }

    /// Where to begin again to see what was not shown yet; `None` before the first record was.
    pub fn cursor(&self) -> Option<Cursor> {
        let reader = self.reader.as_ref()?;
        Some(Cursor { origin: reader.origin().clone(), seq: reader.next_seq() })
    }

    /// Waits until the live journal has more; returns at once when it has closed, or where there is none.
    pub async fn changed(&mut self) {
        if let Some((_, durable)) = &mut self.live
            && durable.changed().await.is_err()
        {
            self.live = None;
        }
    }
}

/// The streams of a directory by incarnation, which no two share.
fn streams(root: &Path) -> io::Result<std::collections::BTreeMap<u64, Origin>> {
    let mut streams = std::collections::BTreeMap::new();
    let dir = root.join(layout::STREAMS_DIR);
    for writer in names(&dir)? {
        for life in names(&dir.join(&writer))? {
            let wal = dir.join(&writer).join(&life).join("wal");
            let Some(first) = names(&wal)?.into_iter().next() else { continue };
            if let Some(header) = header_of(&wal.join(first))? {
                streams.insert(header.origin.incarnation(), header.origin);
            }
        }
    }
    Ok(streams)
}

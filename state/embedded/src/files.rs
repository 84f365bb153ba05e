//! The files of a state directory: numbered journals, and the snapshot that stands for those before it.
//!
//! Not here: appending (`journal`). Invariant: snapshot `n` is the ledger after all journals below `n`, and no
//! file is removed before the one that replaces it is synced under its final name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::journal::{Disk, Sink, open_at, sync_directory};
use super::ledger::Ledger;
use super::record::{MAGIC, Next, Record, next};
use aegis_state::StateError;

/// What a directory holds, read back.
pub(super) struct Recovered {
    pub(super) ledger: Ledger,
    /// The number of the snapshot, or zero.
    pub(super) base: u64,
    /// The number of the last journal.
    pub(super) generation: u64,
    /// The length of its whole frames.
    pub(super) len: u64,
}

pub(super) fn journal_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("journal-{generation:010}"))
}

fn snapshot_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("snapshot-{generation:010}"))
}

/// Takes the directory for this process until the returned file is dropped, also by a crash.
pub(super) fn lock(directory: &Path) -> Result<File, StateError> {
    let io = |what| move |source| StateError::Io { what, source };
    fs::create_dir_all(directory).map_err(io("create the state directory"))?;
    let file = File::options().create(true).append(true).open(directory.join("lock"));
    let file = file.map_err(io("open the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StateError::Locked),
        Err(fs::TryLockError::Error(source)) => {
            Err(StateError::Io { what: "lock the state directory", source })
        }
    }
}

/// Reads the newest snapshot and every journal from there up to, not including, `before`.
pub(super) fn recover(directory: &Path, before: u64) -> Result<Recovered, StateError> {
    let io = |source| StateError::Io { what: "list the state directory", source };
    let snapshots = numbered(directory, "snapshot-").map_err(io)?;
    let journals = numbered(directory, "journal-").map_err(io)?;
    let mut ledger = Ledger::new();
    let base = snapshots.range(..before).next_back().copied();
    if let Some(base) = base {
        read_snapshot(&snapshot_path(directory, base), &mut ledger)?;
    }
    let base = base.unwrap_or(0);
    let (mut generation, mut len) = (base, 0);
    for (wanted, found) in (base..).zip(journals.range(base..before)) {
        if wanted != *found {
            return Err(StateError::Damaged { what: "a journal is missing" });
        }
        generation = wanted;
        len = read_journal(&journal_path(directory, wanted), &mut ledger)?;
    }
    if base > 0 && len == 0 && !journals.contains(&base) {
        return Err(StateError::Damaged { what: "the journal after the snapshot is missing" });
    }
    ledger.forget_old();
    Ok(Recovered { ledger, base, generation, len })
}

fn numbered(directory: &Path, prefix: &str) -> io::Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix));
        numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
    }
    Ok(numbers)
}

fn read_snapshot(path: &Path, ledger: &mut Ledger) -> Result<(), StateError> {
    let bytes =
        fs::read(path).map_err(|source| StateError::Io { what: "read the snapshot", source })?;
    let mut count = 0;
    let mut ended = None;
    let mut rest = bytes.strip_prefix(MAGIC).unwrap_or_default();
    while let Next::Record(record) = next(&mut rest) {
        match &*record {
            Record::End { records, .. } => ended = Some(*records),
            _ => count += 1,
        }
        ledger.apply(*record);
    }
    if ended == Some(count) && rest.is_empty() {
        Ok(())
    } else {
        Err(StateError::Damaged { what: "the snapshot is not whole" })
    }
}

/// Applies the journal's whole frames and returns their length. What follows them was never acknowledged as
/// durable: a write that a crash or a power cut tore.
fn read_journal(path: &Path, ledger: &mut Ledger) -> Result<u64, StateError> {
    let bytes =
        fs::read(path).map_err(|source| StateError::Io { what: "read the journal", source })?;
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        return if MAGIC.starts_with(&bytes) {
            Ok(0)
        } else {
            Err(StateError::Damaged { what: "a journal begins with other bytes" })
        };
    };
    loop {
        match next(&mut rest) {
            Next::Record(record) => ledger.apply(*record),
            Next::Unknown => {
                return Err(StateError::Damaged { what: "a journal is of a newer version" });
            }
            Next::Nothing => break,
        }
    }
    if !rest.is_empty() {
        warn!(dropped_bytes = rest.len(), "the journal ends in a torn frame");
    }
    Ok((bytes.len() - rest.len()) as u64)
}

/// Makes journal `generation`, empty and there to stay.
pub(super) fn start_journal(
    disk: &dyn Disk,
    directory: &Path,
    generation: u64,
) -> io::Result<(Arc<dyn Sink>, u64)> {
    let opened = open_at(disk, &journal_path(directory, generation), 0)?;
    sync_directory(directory)?;
    Ok(opened)
}

/// Replaces everything before journal `generation` by a snapshot.
pub(super) fn compact(
    disk: &dyn Disk,
    directory: &Path,
    generation: u64,
) -> Result<(), StateError> {
    let io = |what| move |source| StateError::Io { what, source };
    let ledger = recover(directory, generation)?.ledger;
    let temporary = directory.join("snapshot.tmp");
    write_snapshot(disk, &temporary, &ledger).map_err(io("write the snapshot"))?;
    fs::rename(&temporary, snapshot_path(directory, generation))
        .and_then(|()| sync_directory(directory))
        .map_err(io("put the snapshot in place"))?;
    remove_before(directory, generation).map_err(io("remove old files"))
}

const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;

fn write_snapshot(disk: &dyn Disk, path: &Path, ledger: &Ledger) -> io::Result<()> {
    let (sink, _) = open_at(disk, path, 0)?;
    let mut chunk = Vec::new();
    let mut records = 0;
    for record in ledger.image() {
        record.frame(&mut chunk);
        records += 1;
        if chunk.len() >= SNAPSHOT_CHUNK_BYTES {
            sink.append(&chunk)?;
            chunk.clear();
        }
    }
    let (latest, forgotten) = (ledger.latest(), ledger.forgotten());
    Record::End { records, latest, forgotten }.frame(&mut chunk);
    sink.append(&chunk)?;
    sink.sync()
}

/// Removes journals and snapshots that snapshot `generation` stands for.
pub(super) fn remove_before(directory: &Path, generation: u64) -> io::Result<()> {
    for old in numbered(directory, "snapshot-")?.range(..generation) {
        fs::remove_file(snapshot_path(directory, *old))?;
    }
    for old in numbered(directory, "journal-")?.range(..generation) {
        fs::remove_file(journal_path(directory, *old))?;
    }
    Ok(())
}

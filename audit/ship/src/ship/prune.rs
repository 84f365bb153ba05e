//! Deletes files of the journal that are not needed here any more: confirmed in the bucket, old enough, read by everybody.
//!
//! Not here: the registry's files, which every verifier needs whole; of what witnesses said of it, only the newest word. Invariant: the note that says where the chain
//! stood behind a file is durable before the file goes, and a file goes only when the newest manifest that was read back from
//! the bucket covers all of it.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aegis_audit_chain::link::{Pruned, Walker};
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::record::Ending;
use aegis_audit_chain::segment::Manifest;
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Origin, layout};
use aegis_domain::Timestamp;

use super::error::{ShipError, io_error};
use super::ledger::Reach;
use super::spool::Spool;
use crate::disk::Disk;
use crate::pruned;
use crate::stream_reader::wal_firsts;

/// Read once more at a time, of one stream, before they go: half a gigabyte.
const FILES_MAX: usize = 8;

/// Says whether every other reader is done with the first so many records of a stream.
pub type IsRead = dyn Fn(&Origin, u64) -> bool + Send + Sync;

/// Which files may be deleted.
#[derive(Clone)]
pub struct Keep {
    /// So old a file must be.
    pub at_least: Duration,
    pub is_read: Arc<IsRead>,
}

pub(crate) struct Pruner {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) keep: Keep,
}

/// A file of a stream: its first record, and the first one after it.
type File = (u64, u64);

impl Pruner {
    /// Deletes what may go of one stream; says how many files went.
    pub(crate) fn prune(
        &self,
        reach: &Reach,
        (spool, region): (&Spool, &Signer),
        now: Timestamp,
    ) -> Result<usize, ShipError> {
        let origin = &reach.origin;
        if reach.size == 0 {
            return self.leave(origin);
        }
        let firsts = wal_firsts(&self.dir, origin).map_err(io_error("listing a stream"))?;
        if firsts.is_empty() {
            return Ok(0);
        }
        let before = pruned::read(&self.dir, origin, region.verifier());
        let before = before.map_err(io_error("reading where a stream begins"))?;
        let walker = before.map_or_else(|| Walker::new(origin.clone()), |pruned| pruned.walker);
        // Left by a crash between the note and the last of its files.
        let (stale, firsts): (Vec<u64>, Vec<u64>) =
            firsts.into_iter().partition(|first| *first < walker.size());
        self.delete(origin, &stale)?;
        let confirmed = confirmed(spool, origin, region)?;
        let going = self.going(reach, (&firsts, confirmed), now);
        let Some((pruned, gone)) = self.walk(walker, &going)? else { return Ok(0) };
        let path = self.dir.join(layout::pruned_note(origin));
        let note = pruned.note(region);
        self.disk
            .write_whole(&path, note.as_bytes())
            .map_err(io_error("writing where a stream begins"))?;
        self.delete(origin, &gone)?;
        Ok(gone.len())
    }

    /// A stream that ended before its first record has nothing to begin behind. Earlier builds wrote a note all the same,
    /// which no reader takes.
    fn leave(&self, origin: &Origin) -> Result<usize, ShipError> {
        let path = self.dir.join(layout::pruned_note(origin));
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(io_error("deleting a note of nothing")(error))
            }
            Ok(()) | Err(_) => Ok(0),
        }
    }

    /// Deletes witnessed heads of the registry that are in the bucket and old enough, but for the newest of them.
    pub(crate) fn prune_witnessed(
        &self,
        registry: &Origin,
        (heads, sent): (&[u64], u64),
        now: Timestamp,
    ) -> Result<(), ShipError> {
        for head in heads.iter().copied().take_while(|head| *head < sent) {
            let path = self.dir.join(layout::witnessed_file(registry, head));
            if !is_older(&path, self.keep.at_least, now) {
                break;
            }
            fs::remove_file(path).map_err(io_error("deleting a shipped head"))?;
        }
        Ok(())
    }

    /// The files at the stream's beginning that may go.
    fn going(
        &self,
        reach: &Reach,
        (firsts, confirmed): (&[u64], u64),
        now: Timestamp,
    ) -> Vec<File> {
        // A stream that is not what was anchored is evidence, and its last file grows while it lives.
        let end = match reach.ended {
            Some(Ending::RolledBack | Ending::Forked) => return Vec::new(),
            Some(Ending::Closed | Ending::Crashed | Ending::IoError) => Some(reach.size),
            None => None,
        };
        let nexts = firsts.iter().skip(1).copied().map(Some).chain([end]);
        let files = firsts.iter().copied().zip(nexts);
        let files = files.map_while(|(first, next)| Some((first, next?)));
        let may_go = |(first, next): &File| {
            let path = self.dir.join(layout::wal_file(&reach.origin, *first));
            *next <= confirmed
                && is_older(&path, self.keep.at_least, now)
                && (self.keep.is_read)(&reach.origin, *next)
        };
        files.take_while(may_go).take(FILES_MAX).collect()
    }

    /// Where the chain stands behind these files; `None` when it stands behind none of them. A file that is not what it was
    /// stays, and so does all behind it.
    fn walk(
        &self,
        mut walker: Walker,
        files: &[File],
    ) -> Result<Option<(Pruned, Vec<u64>)>, ShipError> {
        let (mut found, mut gone) = (None, Vec::new());
        for (first, next) in files {
            let path = self.dir.join(layout::wal_file(walker.origin(), *first));
            let bytes = fs::read(path).map_err(io_error("reading back the journal"))?;
            let mut last_ts = 0;
            walk_file(&mut walker, (*first, &bytes), &mut |_, step| last_ts = step.head.ts);
            if walker.size() != *next {
                break;
            }
            found = Some(Pruned { walker: walker.clone(), last_ts });
            gone.push(*first);
        }
        Ok(found.map(|pruned| (pruned, gone)))
    }

    fn delete(&self, origin: &Origin, firsts: &[u64]) -> Result<(), ShipError> {
        for first in firsts {
            let path = self.dir.join(layout::wal_file(origin, *first));
            fs::remove_file(path).map_err(io_error("deleting a shipped file"))?;
        }
        Ok(())
    }
}

/// How far a stream was read back from the bucket.
fn confirmed(spool: &Spool, origin: &Origin, region: &Signer) -> Result<u64, ShipError> {
    let note = spool.cursor(origin).map_err(io_error("reading a cursor"))?;
    let manifest = note.and_then(|note| Manifest::open(&note, region.verifier()).ok());
    let manifest = manifest.filter(|(manifest, _)| manifest.origin == *origin);
    Ok(manifest.map_or(0, |(manifest, _)| manifest.size))
}

/// Whether a file was written last so long ago; one that nobody can tell of was not.
fn is_older(path: &std::path::Path, age: Duration, now: Timestamp) -> bool {
    let written = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let since = written.and_then(|written| written.duration_since(UNIX_EPOCH).ok());
    let now = Duration::from_nanos(now.unix_ns());
    since.and_then(|since| now.checked_sub(since)).is_some_and(|passed| passed >= age)
}

//! Where a log's files come from, wherever they lie.
//!
//! Not here: folders and buckets themselves (`audit/ship`), and judging what they hold (`audit/verify`). Invariant: a file
//! that could not be read is never taken for one that is not there.

use std::borrow::Cow;
use std::ops::Range;

use crate::link::Pruned;
use crate::note::Verifier;
use crate::retention::{Kept, Retention, Said};
use crate::segment::SegmentError;
use crate::{Hash, Origin, layout};

/// Why a file or directory of a log was not handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nobody can tell what is in it.
    #[error("{path} cannot be read: {why}")]
    Unreadable { path: String, why: String },
    /// It was read, and is not what was signed for.
    #[error("{path} does not hold: {why}")]
    Broken { path: String, why: SegmentError },
}

impl SourceError {
    pub fn path(&self) -> &str {
        match self {
            SourceError::Unreadable { path, .. } | SourceError::Broken { path, .. } => path,
        }
    }
}

/// First record of a piece of a log, and the log's size up to the piece's end.
pub type Piece = (u64, u64);

/// Takes a record's number and its bytes.
pub type Take<'t> = dyn FnMut(u64, &[u8]) + 't;

/// Logs that lie in pieces, out of which records can be had without the others.
pub trait Pieces {
    /// The pieces of a log, in order; none where it is not here.
    fn of(&self, log: &Origin) -> Vec<Piece>;

    /// Wall clocks of a piece's first and last record.
    fn times(&self, log: &Origin, piece: Piece) -> Result<(u64, u64), SourceError>;

    /// Hands out a piece's records from one number to before another, in order.
    fn records(
        &self,
        log: &Origin,
        piece: Piece,
        span: Range<u64>,
        take: &mut Take<'_>,
    ) -> Result<(), SourceError>;

    /// The leaf hashes of a piece's records, in order.
    fn leaves(&self, log: &Origin, piece: Piece) -> Result<Vec<Hash>, SourceError>;

    /// The path of a record, by its number, in the tree of a size; `None` where the pieces do not reach that far.
    fn path(&self, log: &Origin, at: (u64, u64)) -> Result<Option<Vec<Hash>>, SourceError>;
}

/// The files of a region's log, by their paths below its directory (`layout`); several may be read at once.
pub trait LogSource: Sync {
    /// The names in a directory, in any order; none when it is missing.
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError>;

    /// A whole file, or that there is none; a log file has 64 MiB and rarely more.
    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError>;

    /// A file's bytes from an offset on, at most so many; fewer where it ends before.
    fn part(
        &self,
        path: &str,
        (offset, bytes_max): (u64, u64),
    ) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        let Some(bytes) = self.read(path)? else { return Ok(None) };
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let end = begin.saturating_add(most).min(bytes.len());
        Ok(Some(Cow::Owned(bytes.get(begin..end).unwrap_or_default().to_vec())))
    }

    /// What a file is called where it really lies.
    fn place(&self, path: &str) -> String {
        path.to_owned()
    }

    /// How much there is to read in all, for whoever waits.
    fn bytes(&self) -> u64 {
        0
    }

    /// The same logs in pieces, where they lie so.
    fn pieces(&self) -> Option<&dyn Pieces> {
        None
    }

    /// How far the registry must reach at least, by what was read so far. Only where a log is carried here piece by piece do
    /// streams come before the registry that names them; `None` where one hand writes both.
    fn carried(&self, _registry: &Origin) -> Option<u64> {
        None
    }

    /// How long the objects are kept that this log is read from, each in the version that is read.
    fn kept(&self, _asked: Retention) -> Kept {
        let what = "nobody can be asked how long files are kept".to_owned();
        let said = Said { of: "the log".to_owned(), objects: 0, what };
        Kept { unknown: vec![said], ..Kept::default() }
    }

    /// What was found while the files were listed, each with the name it has there.
    fn found(&self) -> Vec<(String, SegmentError)> {
        Vec::new()
    }
}

/// Why a file that must be there was not had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{0} is missing")]
    Missing(String),
    /// Under the region's signature, so that nothing is wrong with what is left.
    #[error(
        "records of {origin} before {to} were shipped and deleted here; the audit bucket has them (--from)"
    )]
    Deleted { origin: Origin, to: u64 },
}

/// The first records of a log's files, in order.
pub fn log_files(source: &dyn LogSource, origin: &Origin) -> Result<Vec<u64>, FileError> {
    let names = source.list(&layout::wal_dir(origin))?;
    let mut firsts: Vec<u64> =
        names.iter().filter_map(|name| layout::parse_wal_name(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// The same of a stream that must be here from its first record on. Where it is not, and the region says that it was shipped and
/// deleted, that is the error; without the region's word what is missing is missing, and for the reader to find.
pub fn whole_log_files(
    source: &dyn LogSource,
    (origin, region): (&Origin, &Verifier),
) -> Result<Vec<u64>, FileError> {
    let firsts = log_files(source, origin)?;
    if firsts.first() == Some(&0) {
        return Ok(firsts);
    }
    // A note is there before the first of its files goes.
    match deleted_here(source, (origin, region))? {
        0 => Ok(firsts),
        to => Err(FileError::Deleted { origin: origin.clone(), to }),
    }
}

/// How many records of a stream were shipped and deleted here, by a note that holds under the region's key.
pub fn deleted_here(
    source: &dyn LogSource,
    (origin, region): (&Origin, &Verifier),
) -> Result<u64, SourceError> {
    let Some(note) = source.read(&layout::pruned_note(origin))? else { return Ok(0) };
    let pruned = Pruned::open(std::str::from_utf8(&note).unwrap_or_default(), region).ok();
    let own = pruned.filter(|pruned| pruned.walker.origin() == origin);
    Ok(own.map_or(0, |pruned| pruned.size()))
}

/// A whole file that must be there.
pub fn required_file<'s>(
    source: &'s dyn LogSource,
    path: &str,
) -> Result<Cow<'s, [u8]>, FileError> {
    source.read(path)?.ok_or_else(|| FileError::Missing(path.to_owned()))
}

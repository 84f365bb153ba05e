//! Where an audit log is read from: the journal's own directory, a copy of it, or a bucket it was shipped to.
//!
//! Not here: verifying (`audit/chain`), objects (`bucket`). Invariant: nothing is written to any of them.

use std::borrow::Cow;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use aegis_audit_chain::layout;
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_plain::Links;
use aegis_audit_trust::Trust;

use crate::FILE_BYTES;
use aegis_audit_bucket::{Address, Bucket, BucketError, BucketLog, Indexes};

/// No file of a log is longer: a log file has `FILE_BYTES`, or what one full queue of appends takes, which is less. Notes are
/// short, but for a line for each tenant of the one that stands for deleted files.
const READ_BYTES_MAX: u64 = 2 * FILE_BYTES;

/// One log, opened.
#[derive(Debug)]
pub enum Log {
    Directory(Directory),
    Bucket(Box<Bucket>, Indexes),
}

impl Log {
    /// A text with a scheme is a bucket, and so is a folder that is laid out as one.
    pub fn open(from: &str, options: &[(String, String)]) -> Result<Self, BucketError> {
        let path = Path::new(from);
        let address = if from.contains("://") {
            Address { url: from.to_owned(), options: options.to_vec() }
        } else if path.join(layout::BUCKET_ROOT).is_dir() {
            Address::folder(path)?
        } else {
            fs::read_dir(path).map_err(BucketError::Folder)?;
            return Ok(Self::Directory(Directory(path.to_path_buf())));
        };
        let bucket = Bucket::open(&address)?;
        Ok(Self::Bucket(Box::new(bucket), Indexes::Unread))
    }

    /// Holds the indexes of a bucket's segments against their records as well, when these are read.
    pub fn with_indexes(self) -> Self {
        match self {
            Self::Bucket(bucket, _) => Self::Bucket(bucket, Indexes::Checked),
            directory @ Self::Directory(_) => directory,
        }
    }

    /// Does `work` with the files of this log; of a bucket, once for each region that a trusted registry is of.
    pub fn each<T, E: From<BucketError>>(
        &self,
        trust: &Trust,
        work: &mut dyn FnMut(&dyn LogSource, &Trust) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let (bucket, indexes) = match self {
            Self::Directory(directory) => return Ok(vec![work(directory, trust)?]),
            Self::Bucket(bucket, indexes) => (bucket, *indexes),
        };
        let regions = trust.by_region();
        regions.iter().map(|trust| work(&BucketLog::open(bucket, trust, indexes)?, trust)).collect()
    }

    /// The same, to be read again and again.
    pub fn stay(&self, trust: &Trust) -> Result<Vec<Staying<'_>>, BucketError> {
        let (bucket, indexes) = match self {
            Self::Directory(directory) => return Ok(vec![Staying::Directory(directory)]),
            Self::Bucket(bucket, indexes) => (bucket, *indexes),
        };
        let open = |trust| BucketLog::open(bucket, trust, indexes).map(Box::new);
        let regions = trust.by_region();
        regions.iter().map(|trust| open(trust).map(Staying::Bucket)).collect()
    }
}

/// One region's log, to be read while it grows.
#[derive(Debug)]
pub enum Staying<'l> {
    Directory(&'l Directory),
    Bucket(Box<BucketLog<'l>>),
}

impl Staying<'_> {
    pub fn source(&self) -> &dyn LogSource {
        match self {
            Self::Directory(directory) => *directory,
            Self::Bucket(log) => log.as_ref(),
        }
    }

    /// Looks for what was written since.
    pub fn refresh(&mut self) -> Result<(), BucketError> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Bucket(log) => log.refresh(),
        }
    }
}

/// A log in the journal's own directory, or in a copy of it.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

/// Bytes of all files below a folder, as far as they can be seen.
fn below(dir: &Path) -> u64 {
    let mut total = 0_u64;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        total = total.saturating_add(if meta.is_dir() { below(&entry.path()) } else { meta.len() });
    }
    total
}

impl LogSource for Directory {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        let failed = |error| unreadable(dir, &error);
        let entries = match fs::read_dir(self.0.join(dir)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        entries.map(|entry| entry.map(name).map_err(failed)).collect()
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        // A copy that was handed over may hold anything in a file's place.
        match aegis_audit_plain::read(&self.0.join(path), Links::Refused, READ_BYTES_MAX) {
            Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    fn part(
        &self,
        path: &str,
        (offset, bytes_max): (u64, u64),
    ) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        match part(&self.0.join(path), offset, bytes_max.min(READ_BYTES_MAX)) {
            Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    fn bytes(&self) -> u64 {
        below(&self.0)
    }
}

fn part(path: &Path, offset: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = aegis_audit_plain::open(path, Links::Refused)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &str, error: &io::Error) -> SourceError {
    SourceError::Unreadable { path: path.to_owned(), why: error.to_string() }
}

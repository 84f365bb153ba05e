//! The log that is being written.
//!
//! Not here: reading it back (`directory`). Invariant: an append that failed leaves no bytes that a later one could follow;
//! where that cannot be had, nothing is appended any more.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use aegis_registry::Entry;

use crate::directory::Directory;
use crate::{StoreError, line};

/// What a log needs of its file; the tests bring one that fails.
pub(crate) trait Sink: Send + Sync + std::fmt::Debug {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

impl Sink for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) sink: Box<dyn Sink>,
    path: PathBuf,
    len: u64,
    broken: bool,
}

impl Log {
    /// Goes on after the first `len` bytes; what follows them is cut off.
    pub(crate) fn open(directory: &Directory, len: u64) -> Result<Self, StoreError> {
        let path = directory.log();
        let made = || -> io::Result<File> {
            let file = directory.append_to(&path)?;
            file.set_len(len)?;
            file.sync_all()?;
            directory.sync()?;
            Ok(file)
        };
        match made() {
            Ok(file) => Ok(Self { sink: Box::new(file), path, len, broken: false }),
            Err(source) => Err(StoreError::File { path, source }),
        }
    }

    /// An empty one in the place of the one before.
    pub(crate) fn begin(directory: &Directory) -> Result<Self, StoreError> {
        Self::open(directory, 0)
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Returns when the entry is on disk.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        let file = |source| StoreError::File { path: self.path.clone(), source };
        let bytes = line::write(entry).map_err(file)?;
        if let Err(source) = self.sink.append(&bytes) {
            self.broken = self.sink.truncate(self.len).is_err();
            return Err(file(source));
        }
        // A second sync would succeed though the kernel dropped what the first could not write (P. Rebello et al.,
        // "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
        if let Err(source) = self.sink.sync() {
            self.broken = true;
            return Err(file(source));
        }
        self.len = self.len.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

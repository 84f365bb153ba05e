//! The file every change is appended to before anyone hears of it.
//!
//! Not here: what the records mean (`ledger`), and when the file is synced or replaced (`keeper`). Invariant: an
//! append that failed leaves no bytes that a later append could follow.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use tracing::error;

use super::record::{MAGIC, Record};
use aegis_state::StateError;

/// Where files are opened; the tests bring one that fills up.
pub(super) trait Disk: Send + Sync {
    /// Opens the file for appending and makes it if it is not there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn Sink>>;
    /// Writes the first bytes that a file shows once more, and syncs them. After a sync that failed they may be in memory only, where
    /// the next sync passes them by: it has been told that they are clean (see `Journal::sync_has_failed`).
    fn write_again(&self, path: &Path, len: u64) -> io::Result<()>;
}

/// One file, as far as a journal needs it.
pub(super) trait Sink: Send + Sync {
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    fn truncate(&self, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// The real file system.
pub(super) struct Files;

impl Disk for Files {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn Sink>> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn write_again(&self, path: &Path, len: u64) -> io::Result<()> {
        let shown = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            shown => shown?,
        };
        let again = usize::try_from(len).ok().and_then(|len| shown.get(..len));
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(again.unwrap_or(&shown), 0)?;
        file.sync_data()
    }
}

impl Sink for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file: &File = self;
        file.write_all(bytes)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Opens `path` with exactly its first `len` bytes, synced; the magic is written where it is missing.
pub(super) fn open_at(disk: &dyn Disk, path: &Path, len: u64) -> io::Result<(Arc<dyn Sink>, u64)> {
    let sink = disk.open(path)?;
    let head = MAGIC.len() as u64;
    if len < head {
        sink.truncate(0)?;
        sink.append(MAGIC)?;
    } else {
        sink.truncate(len)?;
    }
    sink.sync()?;
    Ok((sink, len.max(head)))
}

/// Makes renames, new and removed files in the directory last.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The journal that is being written.
pub(super) struct Journal {
    sink: Arc<dyn Sink>,
    /// The length of its whole frames.
    len: u64,
    /// Bytes appended to this and earlier files since the start.
    appended: u64,
    /// Set while bytes of a failed append may follow the whole frames.
    torn: bool,
    /// Set from an append that failed to the next that does not.
    failing: bool,
    sync_failed: bool,
    frames: Vec<u8>,
}

impl Journal {
    pub(super) fn new(sink: Arc<dyn Sink>, len: u64) -> Self {
        Self {
            sink,
            len,
            appended: 0,
            torn: false,
            failing: false,
            sync_failed: false,
            frames: Vec::new(),
        }
    }

    /// Appends the records with one write, all or none.
    pub(super) fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<(), StateError> {
        if self.sync_failed {
            return Err(StateError::SyncFailed);
        }
        self.repair()?;
        self.frames.clear();
        records.into_iter().for_each(|record| record.frame(&mut self.frames));
        if let Err(source) = self.sink.append(&self.frames) {
            if !self.failing {
                error!(cause = %source, "appending to the state journal failed");
            }
            (self.torn, self.failing) = (true, true);
            return Err(StateError::Io { what: "append to the journal", source });
        }
        let written = self.frames.len() as u64;
        self.len += written;
        self.appended += written;
        self.failing = false;
        Ok(())
    }

    /// Cuts off what a failed append left behind.
    fn repair(&mut self) -> Result<(), StateError> {
        if self.torn {
            let cut = self.sink.truncate(self.len);
            cut.map_err(|source| StateError::Io { what: "repair the journal", source })?;
            self.torn = false;
        }
        Ok(())
    }

    /// Whether the last append and every sync succeeded.
    pub(super) fn is_sound(&self) -> bool {
        !self.failing && !self.sync_failed
    }

    pub(super) fn appended(&self) -> u64 {
        self.appended
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.sink)
    }

    /// After a failed sync the kernel may have dropped what it could not write, and a second sync would succeed
    /// all the same (P. Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    pub(super) fn sync_has_failed(&mut self) {
        self.sync_failed = true;
    }

    /// Goes on in another file; refused while the current one needs repair.
    pub(super) fn turn_to(&mut self, sink: Arc<dyn Sink>, len: u64) -> Result<(), StateError> {
        self.repair()?;
        (self.sink, self.len) = (sink, len);
        Ok(())
    }
}

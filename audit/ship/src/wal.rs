//! The log files of one stream, as their single writer sees them.
//!
//! Not here: batching and acknowledgement (`writer`). Invariant: `append` returns `Ok` only after the whole batch is on
//! the device; after an error the caller must not write to the stream again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_audit_chain::frame::Header;
use aegis_audit_chain::{Origin, layout};

use crate::disk::{Disk, DiskFile};

pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    origin: Origin,
    file_bytes: u64,
    file: Box<dyn DiskFile>,
    /// Number of the file's first record.
    first: u64,
    /// How much of the file is used.
    used: u64,
}

impl Wal {
    /// Begins a file whose first record is number `first`.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        root: &Path,
        (origin, first): (&Origin, u64),
        file_bytes: u64,
    ) -> io::Result<Self> {
        disk.create_dir(&root.join(layout::wal_dir(origin)))?;
        disk.create_dir(&root.join(layout::heads_dir(origin)))?;
        let (file, used) = begin(&*disk, root, (origin, first), file_bytes)?;
        let (root, origin) = (root.to_path_buf(), origin.clone());
        Ok(Self { disk, root, origin, file_bytes, file, first, used })
    }

    /// Goes on in a file of which `used` bytes are valid and the rest is zero.
    pub(crate) fn reopen(
        disk: Arc<dyn Disk>,
        root: &Path,
        (origin, first, used): (&Origin, u64, u64),
        file_bytes: u64,
    ) -> io::Result<Self> {
        let file = disk.reopen(&root.join(layout::wal_file(origin, first)))?;
        // Whoever made the file may have been killed before its name was durable.
        disk.sync_dir(&root.join(layout::wal_dir(origin)))?;
        let (root, origin) = (root.to_path_buf(), origin.clone());
        Ok(Self { disk, root, origin, file_bytes, file, first, used })
    }

    /// Writes a batch of frames, the first of which is record `first`, and syncs it.
    pub(crate) fn append(&mut self, first: u64, frames: &[u8]) -> io::Result<()> {
        let length = u64::try_from(frames.len()).unwrap_or(u64::MAX);
        // A batch larger than a file grows it; a batch never spans two.
        if self.used.saturating_add(length) > self.file_bytes && self.has_records() {
            self.file.trim(self.used)?;
            let of = (&self.origin, first);
            (self.file, self.used) = begin(&*self.disk, &self.root, of, self.file_bytes)?;
            self.first = first;
        }
        self.file.write_at(frames, self.used)?;
        self.file.sync()?;
        self.used = self.used.saturating_add(length);
        Ok(())
    }

    /// Number of the first record of the file that is written to.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Gives back the room that was not used.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.file.trim(self.used)
    }

    /// Writes a signed note next to the log.
    pub(crate) fn write_note(&self, path: &str, text: &str) -> io::Result<()> {
        self.disk.write_whole(&self.root.join(path), text.as_bytes())
    }

    fn has_records(&self) -> bool {
        self.used > header_bytes(&self.origin)
    }
}

fn header_bytes(origin: &Origin) -> u64 {
    let header = Header { origin: origin.clone(), first: 0 };
    u64::try_from(header.encode().len()).unwrap_or(u64::MAX)
}

fn begin(
    disk: &dyn Disk,
    root: &Path,
    (origin, first): (&Origin, u64),
    file_bytes: u64,
) -> io::Result<(Box<dyn DiskFile>, u64)> {
    let path = root.join(layout::wal_file(origin, first));
    let header = Header { origin: origin.clone(), first }.encode();
    let mut file = disk.create(&path, file_bytes)?;
    file.write_at(&header, 0)?;
    file.sync()?;
    disk.sync_dir(&root.join(layout::wal_dir(origin)))?;
    Ok((file, u64::try_from(header.len()).unwrap_or(u64::MAX)))
}

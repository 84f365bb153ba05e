//! The directory: who may read it, who writes it, and what it holds.
//!
//! Not here: appending (`log`). Invariant: the directory is 0700 and its files 0600 from their first byte on; a snapshot is
//! whole or not there.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_registry::{Entry, Registry};
use tracing::warn;

use crate::{StoreError, line};

#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = |source| StoreError::File { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file)?;
        let directory = Self(path.to_owned());
        directory.check_closed(path)?;
        Ok(directory)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    fn snapshot(&self) -> PathBuf {
        self.0.join("snapshot")
    }

    /// Takes the directory until the file is dropped, also by a crash.
    pub(crate) fn lock(&self) -> Result<File, StoreError> {
        let path = self.0.join("lock");
        let file = self.append_to(&path);
        let file = file.map_err(|source| StoreError::File { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: self.0.clone() }),
            Err(TryLockError::Error(source)) => Err(StoreError::File { path, source }),
        }
    }

    pub(crate) fn append_to(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(path)
    }

    /// Makes new and renamed files last.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn check_closed(&self, path: &Path) -> Result<(), StoreError> {
        let file = |source| StoreError::File { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(file)?.mode();
        if mode & 0o077 == 0 { Ok(()) } else { Err(StoreError::TooOpen { path: path.to_owned() }) }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        match fs::read(path) {
            Ok(bytes) => {
                self.check_closed(path)?;
                Ok(bytes)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(StoreError::File { path: path.to_owned(), source }),
        }
    }

    pub(crate) fn read_snapshot(&self) -> Result<Registry, StoreError> {
        let path = self.snapshot();
        let bytes = self.read(&path)?;
        if bytes.is_empty() && !path.exists() {
            return Ok(Registry::default());
        }
        let registry = bytes.strip_suffix(b"\n").and_then(line::read);
        registry.ok_or(StoreError::Damaged { path, offset: 0, what: "the snapshot is not whole" })
    }

    pub(crate) fn write_snapshot(&self, registry: &Registry) -> Result<(), StoreError> {
        let path = self.snapshot();
        let written = || -> io::Result<()> {
            let beside = self.0.join("snapshot.new");
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(&line::write(registry)?)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            self.sync()
        };
        written().map_err(|source| StoreError::File { path: path.clone(), source })
    }

    /// Plays the log onto the snapshot; also returns the length of its whole lines. What follows them was never answered
    /// for: a write that a crash tore. A whole line after a broken one is damage.
    pub(crate) fn read_log(&self, mut registry: Registry) -> Result<(Registry, u64), StoreError> {
        let path = self.log();
        let bytes = self.read(&path)?;
        let (mut offset, mut torn_at) = (0_usize, None);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let entry = piece.strip_suffix(b"\n").and_then(line::read::<Entry>);
            match (entry, torn_at) {
                (Some(entry), None) => self.play(&mut registry, &entry, offset)?,
                (Some(_), Some(torn)) => {
                    let what = "whole entries follow a broken one";
                    return Err(StoreError::Damaged { path, offset: wide(torn), what });
                }
                (None, torn) => {
                    let torn = torn.unwrap_or(offset);
                    if line::ends_in::<Entry>(piece) {
                        let what = "a whole entry follows a broken line feed";
                        return Err(StoreError::Damaged { path, offset: wide(torn), what });
                    }
                    torn_at = Some(torn);
                }
            }
            offset = offset.saturating_add(piece.len());
        }
        if let Some(torn) = torn_at {
            let bytes = offset.saturating_sub(torn);
            warn!(path = %path.display(), bytes, "a torn write at the end of the registry's log is cut off");
        }
        Ok((registry, wide(torn_at.unwrap_or(offset))))
    }

    fn play(
        &self,
        registry: &mut Registry,
        entry: &Entry,
        offset: usize,
    ) -> Result<(), StoreError> {
        if entry.event.serial <= registry.view().serial() {
            return Ok(());
        }
        registry.commit(entry).map_err(|source| StoreError::Disordered {
            path: self.log(),
            offset: wide(offset),
            source,
        })
    }
}

fn wide(offset: usize) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}

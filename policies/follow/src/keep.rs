//! The last known good on disk: of each line the last three releases that were taken, each in a file of its own.
//!
//! Not here: whether a release is good (`release`), which is asked again at every start. Invariant: a file is whole or
//! absent, and one that does not check out is set aside, never read again and never silently skipped.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_ledger::LineKey;

use crate::release::Release;

/// The one that decides, the one before, and one more.
const GENERATIONS: usize = 3;
const EXTENSION: &str = "release";

#[derive(Debug)]
pub(crate) struct Keep(PathBuf);

/// A release that was kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) epoch: u64,
    path: PathBuf,
}

impl Kept {
    /// As text, whatever became of it: what is no text fails its checks.
    pub(crate) fn read(&self) -> io::Result<String> {
        fs::read(&self.path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Puts it where someone can look at it.
    pub(crate) fn set_aside(&self) -> io::Result<()> {
        fs::rename(&self.path, self.path.with_extension("refused"))
    }
}

impl Keep {
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Self(directory.to_owned()))
    }

    /// Tenants and environments hold no dot, so the parts of a name are found again.
    fn prefix(line: &LineKey) -> String {
        format!("{}.{}.", line.tenant, line.environment)
    }

    /// What is kept of a line, the newest first.
    pub(crate) fn of(&self, line: &LineKey) -> io::Result<Vec<Kept>> {
        let prefix = Self::prefix(line);
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            let epoch = name.and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
            if let Some(epoch) = epoch.and_then(|epoch| epoch.parse().ok()) {
                kept.push(Kept { epoch, path: entry.path() });
            }
        }
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.epoch));
        Ok(kept)
    }

    /// Keeps a release, and lets go of the oldest.
    pub(crate) fn add(&self, release: &Release) -> io::Result<()> {
        let statement = release.statement();
        let name =
            format!("{}{:020}.{EXTENSION}", Self::prefix(&statement.line), statement.pointer.epoch);
        self.replace(&self.0.join(name), release.text().as_bytes())?;
        for old in self.of(&statement.line)?.iter().skip(GENERATIONS) {
            fs::remove_file(&old.path)?;
        }
        Ok(())
    }

    /// Forgets a line that is released here no more.
    pub(crate) fn forget(&self, line: &LineKey) -> io::Result<()> {
        self.of(line)?.iter().try_for_each(|kept| fs::remove_file(&kept.path))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(&self.0)?.sync_all()
    }
}

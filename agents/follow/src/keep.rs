//! The last known good on disk: the pages that led to it, one a line, as they were signed.
//!
//! Not here: checking them (`feed`), which is done again at every start. Invariant: the file is 0600, and a line is whole
//! or the last and cut off.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::FeedError;
use crate::feed::Part;

/// After so many pages everything is asked for again, so that a start has little to read.
const PAGES_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct Keep {
    directory: PathBuf,
    name: &'static str,
    pages: usize,
}

impl Keep {
    pub(crate) fn open(directory: &Path, name: &'static str) -> Result<Self, FeedError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| FeedError::File { path: directory.to_owned(), source })?;
        Ok(Self { directory: directory.to_owned(), name, pages: 0 })
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{}.{kind}", self.name))
    }

    fn path(&self) -> PathBuf {
        self.file("pages")
    }

    fn failed(&self, source: io::Error) -> FeedError {
        FeedError::File { path: self.path(), source }
    }

    /// The whole lines. One that a crash tore is cut off; the feed will bring it again.
    pub(crate) fn read(&mut self) -> Result<Vec<String>, FeedError> {
        let text = match fs::read_to_string(self.path()) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.failed(source)),
        };
        let whole = text.rfind('\n').map_or(0, |end| end.saturating_add(1));
        if whole < text.len() {
            let file = OpenOptions::new().write(true).open(self.path());
            let cut = file.and_then(|file| file.set_len(u64::try_from(whole).unwrap_or(0)));
            cut.map_err(|source| self.failed(source))?;
        }
        let lines: Vec<_> =
            text.get(..whole).unwrap_or_default().lines().map(str::to_owned).collect();
        self.pages = lines.len();
        Ok(lines)
    }

    /// Puts a file that does not check out where someone can look at it.
    pub(crate) fn set_aside(&mut self) -> Result<(), FeedError> {
        self.pages = 0;
        let aside = self.file("refused");
        fs::rename(self.path(), aside).map_err(|source| self.failed(source))
    }

    pub(crate) fn is_long(&self) -> bool {
        self.pages >= PAGES_MAX
    }

    pub(crate) fn add(&mut self, page: &str, part: Part) -> Result<(), FeedError> {
        let line = format!("{}\n", page.trim());
        let written = match part {
            Part::Whole => self.replace(line.as_bytes()),
            Part::More => self.append(line.as_bytes()),
        };
        written.map_err(|source| self.failed(source))?;
        self.pages = match part {
            Part::Whole => 1,
            Part::More => self.pages.saturating_add(1),
        };
        Ok(())
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let beside = self.file("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, self.path())?;
        File::open(&self.directory)?.sync_all()
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.path())?;
        file.write_all(bytes)?;
        file.sync_data()
    }
}

//! Where an audit log is read from: the journal's own directory, a copy of it, or a bucket it was shipped to.
//!
//! Not here: verifying (`audit/chain`), objects (`audit/ship`). Invariant: nothing is written to any of them.

use std::borrow::Cow;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aegis_audit_chain::layout;
use aegis_audit_chain::trust::Trust;
use aegis_audit_chain::verify::{LogSource, Options, Report, SourceError, verify_region};
use aegis_audit_ship::{Address, Bucket, BucketLog};

use crate::failure::Failure;
use crate::screen::Screen;

/// One log, opened.
#[derive(Debug)]
pub(super) enum Log {
    Directory(Directory),
    Bucket(Box<Bucket>),
}

impl Log {
    /// A text with a scheme is a bucket, and so is a folder that is laid out as one.
    pub(super) fn open(from: &str, options: &[(String, String)]) -> Result<Self, Failure> {
        let path = Path::new(from);
        let url = if from.contains("://") {
            from.to_owned()
        } else if path.join(layout::BUCKET_ROOT).is_dir() {
            let whole = fs::canonicalize(path);
            let whole = whole.map_err(|error| Failure::file("the audit log", path, error))?;
            format!("file://{}", whole.display())
        } else {
            return Ok(Self::Directory(Directory(path.to_path_buf())));
        };
        let bucket = Bucket::open(&Address { url, options: options.to_vec() })?;
        Ok(Self::Bucket(Box::new(bucket)))
    }

    /// Verifies all of it; a bucket is listed once for each registry that is trusted.
    pub(super) fn verify(
        &self,
        trust: &Trust,
        options: &Options,
        screen: &Screen,
    ) -> Result<Report, Failure> {
        let run = |source: &dyn LogSource, bytes: u64, trust: &Trust| {
            let progress = screen.progress(bytes);
            let report =
                verify_region(source, trust, options, &mut |done| progress.reach(done.bytes));
            progress.done();
            report
        };
        let bucket = match self {
            Self::Directory(directory) => return Ok(run(directory, directory.bytes()?, trust)),
            Self::Bucket(bucket) => bucket,
        };
        let mut report = Report::default();
        for (_, region) in trust.registries() {
            let Some(trust) = Trust::of(region.clone()) else { continue };
            let log = BucketLog::open(bucket, region)?;
            report.absorb(run(&log, log.bytes(), &trust));
        }
        Ok(report)
    }
}

/// A log in the journal's own directory, or in a copy of it.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// How much there is to read; also finds out whether there is anything.
    fn bytes(&self) -> Result<u64, Failure> {
        fn below(dir: &Path) -> std::io::Result<u64> {
            let mut total = 0_u64;
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let meta = entry.metadata()?;
                let size = if meta.is_dir() { below(&entry.path())? } else { meta.len() };
                total = total.saturating_add(size);
            }
            Ok(total)
        }
        below(&self.0).map_err(|error| Failure::file("the audit log", &self.0, error))
    }
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
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, &error)),
        }
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> SourceError {
    SourceError::Unreadable { path: path.to_owned(), why: error.to_string() }
}

//! A wall clock of one process's own, which a test sets while the process runs.
//!
//! Not here: time that passes; that is nobody's to change. Invariant: where clocks can be faked, a process shows the time that
//! its file says, a second after that was written; where `CI` is set they can be.

use std::path::{Path, PathBuf};

/// A clock, as an offset from this machine's.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// `None`, after saying so, where libfaketime is not installed.
    #[expect(clippy::print_stderr, reason = "a test without its clocks must say so")]
    pub(crate) fn new(file: &Path) -> Option<Self> {
        // It is in a folder named after the machine's architecture.
        let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
        let mut paths = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
        let Some(library) = paths.find(|path| path.exists()) else {
            assert!(std::env::var_os("CI").is_none(), "libfaketime is not installed");
            eprintln!("libfaketime is not installed: clocks do not jump");
            return None;
        };
        let clock = Self { file: file.to_owned(), library };
        clock.set("+0");
        Some(clock)
    }

    /// Shows the time with this offset in seconds, such as `+3600`.
    pub(crate) fn set(&self, offset: &str) {
        std::fs::write(&self.file, offset).unwrap();
    }

    /// What a process that is to have this clock is started with.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

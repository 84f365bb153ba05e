//! Why a command could not do its work.
//!
//! Not here: the exit code that says so (`cli`). Invariant: what was found against a log is an answer, never an error.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use aegis_audit_ship::BucketError;

#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("{what} cannot be used: {}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} is not valid")]
    Invalid { what: String, source: Box<dyn Error + Send + Sync> },
    #[error("the audit log cannot be read")]
    Bucket(#[from] BucketError),
    #[error("{message}")]
    Unknown { message: String },
    #[error("{message}")]
    Usage { message: String },
}

impl EvidenceError {
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn invalid(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Invalid { what: what.into(), source: source.into() }
    }
}

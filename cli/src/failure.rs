//! Why a command could not do its work, and the exit code that says so to a script.
//!
//! Not here: findings about what was checked; those are data. Invariant: exit codes are documented in `--help` and in
//! `docs/cli.md` and do not change.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_audit_ship::BucketError;
use aegis_cli_evidence::EvidenceError;
use aegis_cli_journal::JournalError;
use aegis_cli_region::{MachineError, RegionError};
use aegis_document::Diagnostics;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Ok,
    /// What was checked is not as it must be.
    CheckFailed,
    /// The command line is wrong in a way that its grammar does not tell.
    Usage,
    /// Something is not there, or only a part of it; or a policy does not compile.
    Missing,
    /// The system or a rule of ours forbids it.
    NotAllowed,
    /// A policy does not do what one of its tests says.
    TestFailed,
    /// A replay shows what it was asked to fail on.
    Impact,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::CheckFailed => 1,
            // What clap gives for a wrong command line.
            Exit::Usage => 2,
            Exit::Missing => 3,
            Exit::NotAllowed | Exit::TestFailed => 4,
            Exit::Impact => 5,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{what} is missing: {}", path.display())]
    Missing { what: &'static str, path: PathBuf },
    #[error("{} exists and is never overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("{} may not be used", path.display())]
    NotAllowed { path: PathBuf, source: io::Error },
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{what} is not valid")]
    Invalid { what: String, source: Box<dyn Error + Send + Sync> },
    #[error("{} does not compile", path.display())]
    Uncompiled { path: PathBuf, source: Diagnostics },
    #[error("{message}")]
    Unknown { message: String },
    #[error("{message}")]
    Usage { message: String },
    #[error(transparent)]
    Region(RegionError),
    #[error("the audit log cannot be read")]
    Bucket(#[from] BucketError),
    #[error("the system gives no randomness")]
    Random(#[source] getrandom::Error),
    #[error("stdin cannot be read")]
    Stdin(#[source] io::Error),
    #[error("stdout cannot be written")]
    Stdout(#[source] io::Error),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::File { path, source } => Self::file("the audit journal", &path, source),
            JournalError::Damaged { path, source } => {
                Self::invalid(path.display().to_string(), source)
            }
            JournalError::Record { origin, source } => {
                Self::invalid(format!("a record of {origin}"), source)
            }
        }
    }
}

impl From<EvidenceError> for Failure {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::File { what, path, source } => Self::file(what, &path, source),
            EvidenceError::Invalid { what, source } => Self::Invalid { what, source },
            EvidenceError::Bucket(error) => Self::Bucket(error),
            EvidenceError::Unknown { message } => Self::Unknown { message },
            EvidenceError::Usage { message } => Self::Usage { message },
        }
    }
}

impl From<RegionError> for Failure {
    fn from(error: RegionError) -> Self {
        match error {
            RegionError::Journal(error) => error.into(),
            RegionError::Machine(MachineError::Exists { path }) => Self::Exists { path },
            RegionError::Machine(MachineError::Missing { what, path }) => {
                Self::Missing { what, path }
            }
            error @ RegionError::Machine(MachineError::WasVoter { .. }) => Self::Region(error),
            RegionError::Machine(error) => Self::Usage { message: chain(&error) },
            other => Self::Region(other),
        }
    }
}

impl Failure {
    /// What the system said about a file, sorted by what can be done about it.
    pub(crate) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::NotFound => Failure::Missing { what, path },
            ErrorKind::AlreadyExists => Failure::Exists { path },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Failure::NotAllowed { path, source }
            }
            // io::ErrorKind is open: whatever else happens to a file is told as the system tells it.
            _ => Failure::File { path, source },
        }
    }

    pub(crate) fn invalid(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Failure::Invalid { what: what.into(), source: source.into() }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Missing { .. } | Failure::Unknown { .. } | Failure::Uncompiled { .. } => {
                Exit::Missing
            }
            Failure::Bucket(BucketError::Address(_)) | Failure::Usage { .. } => Exit::Usage,
            Failure::Bucket(_) => Exit::Missing,
            Failure::Region(error) if error.is_forbidden() => Exit::NotAllowed,
            Failure::Region(error) if error.is_missing() => Exit::Missing,
            Failure::Region(_) => Exit::CheckFailed,
            Failure::Exists { .. } | Failure::NotAllowed { .. } => Exit::NotAllowed,
            Failure::File { .. }
            | Failure::Invalid { .. }
            | Failure::Random(_)
            | Failure::Stdin(_)
            | Failure::Stdout(_) => Exit::CheckFailed,
        }
    }

    /// What to do about it, where that is not plain.
    fn help(&self) -> Option<&'static str> {
        match self {
            Failure::Missing { .. } => {
                Some("name the data directory with --data, or make one with `aegisctl init`")
            }
            Failure::Exists { .. } => Some("name another file or directory, or move this one away"),
            Failure::NotAllowed { .. } => Some("run this as the user who owns the file"),
            Failure::Region(error) => error.help(),
            Failure::File { .. }
            | Failure::Bucket(_)
            | Failure::Invalid { .. }
            | Failure::Uncompiled { .. }
            | Failure::Unknown { .. }
            | Failure::Usage { .. }
            | Failure::Random(_)
            | Failure::Stdin(_)
            | Failure::Stdout(_) => None,
        }
    }

    pub(crate) fn chain(&self) -> String {
        chain(self)
    }

    /// The chain as an error, and the help below it.
    pub(crate) fn text(&self) -> String {
        match self.help() {
            Some(help) => format!("error: {}\n  help: {help}", self.chain()),
            None => format!("error: {}", self.chain()),
        }
    }
}

/// The whole chain of causes on one line.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

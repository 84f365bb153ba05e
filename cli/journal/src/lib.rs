//! The audit journal on disk, read for `aegisctl`: its records one by one, and what they say was spent.
//!
//! Not here: writing it (`audit/ship`), and believing it (`aegisctl audit verify`). Invariant: nothing is written or locked, so
//! a journal can be read while its gateway writes it.

mod cursor;
mod spent;

use std::io;
use std::path::PathBuf;

use aegis_audit_chain::Origin;
use aegis_audit_chain::frame::FrameError;
use aegis_audit_chain::record::{Record, RecordError};

pub use cursor::{Cursor, open};
pub use spent::{Spent, Sum};

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{} of the audit journal cannot be read", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is not valid", path.display())]
    Damaged { path: PathBuf, source: FrameError },
    #[error("a record of {origin} is not valid")]
    Record { origin: Origin, source: RecordError },
}

/// A record whose checksum holds and which still is none was written by another version, or changed on purpose.
pub fn record(origin: &Origin, bytes: &[u8]) -> Result<Record, JournalError> {
    Record::parse(bytes).map_err(|source| JournalError::Record { origin: origin.clone(), source })
}

//! Why the journal cannot do what it is asked.
//!
//! Not here: what a caller does about it; the gateway refuses calls. Invariant: a failure to write is final for the
//! stream, so after `Failed` every later append fails too.

use std::io;

use aegis_audit_chain::OriginError;
use aegis_audit_chain::record::RecordError;
use aegis_audit_registry::RegistryError;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("another process holds the audit directory")]
    Locked,
    #[error("{what} failed")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the registry is not what the region key signed")]
    Registry(#[from] RegistryError),
    #[error("the registry is shorter than a signed head of it, or has another history")]
    RegistryRolledBack,
    #[error(
        "the directory holds {found}, and this gateway would keep {own} there: \
         give it back the name it began with, or a data directory of its own"
    )]
    OtherName { found: String, own: String },
    #[error("the stream's name is not one")]
    Origin(#[from] OriginError),
    #[error("a record cannot be encoded")]
    Record(#[from] RecordError),
    #[error("the system gave no random bytes")]
    Random,
    /// The disk failed; nothing is written to this stream any more.
    #[error("the journal failed and takes no more records: {0}")]
    Failed(io::ErrorKind),
    /// Whoever goes on writes a second history.
    #[error(
        "witnesses have seen more of this audit log than this disk holds, or another history of it: this data directory is \
         an older copy, or a second gateway has one; bring back the newest copy and end the other gateway, or set the \
         folder `audit` aside and give this gateway a new `name`"
    )]
    Disowned,
    #[error(
        "the stream's key was revoked, and the stream takes no more records: start the gateway again"
    )]
    Revoked,
    #[error("the journal's queue is full")]
    Full,
    #[error("the journal is closed")]
    Closed,
}

/// Names the step that an I/O error came from.
pub(crate) fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Io { what, source }
}

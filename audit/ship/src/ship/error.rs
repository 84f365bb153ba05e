//! Why records do not get from the journal into the bucket.
//!
//! Not here: what the gateway does about it; `Standing` tells it how much waits. Invariant: an error that a later try could
//! mend is told apart from one that a person must look at.

use std::io;

use aegis_audit_chain::Origin;
use aegis_audit_chain::segment::SegmentError;
use aegis_audit_registry::RegistryError;

use crate::JournalError;
use aegis_audit_bucket::BucketError;

#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("{what} failed")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the journal cannot be read")]
    Journal(#[from] JournalError),
    #[error("the registry is not what the region key signed")]
    Registry(#[from] RegistryError),
    #[error("{origin} has {found} records, and {signed} are signed for")]
    Short { origin: Origin, found: u64, signed: u64 },
    #[error("the records of {origin} before {size} are not those that were signed for")]
    Changed { origin: Origin, size: u64 },
    #[error("what the bucket holds of {origin} does not hold: {why}")]
    Shipped { origin: Origin, why: SegmentError },
    #[error(
        "the records of {origin} before {size} were deleted here, and the bucket has them no more"
    )]
    Gone { origin: Origin, size: u64 },
    #[error("the bucket holds the log of another registry under {key}")]
    OtherRegistry { key: String },
}

impl ShipError {
    /// Whether trying again is of no use until somebody has looked at it.
    pub fn is_final(&self) -> bool {
        match self {
            ShipError::Bucket(error) => match error {
                BucketError::Address(_)
                | BucketError::Client(_)
                | BucketError::Fork { .. }
                | BucketError::Overwrites { .. }
                | BucketError::TooLong { .. }
                | BucketError::Unproven => true,
                // The rule of a bucket can be mended while this runs, and until then nothing is sent there.
                BucketError::Retention { .. } => false,
                // Its lock can be lengthened.
                BucketError::Kept { .. } => false,
                BucketError::Runtime(_)
                | BucketError::Folder(_)
                | BucketError::Store { .. }
                | BucketError::Status { .. }
                | BucketError::Unlisted { .. }
                | BucketError::Ask { .. }
                | BucketError::Silent { .. }
                | BucketError::Answer { .. } => false,
            },
            ShipError::Io { .. } | ShipError::Journal(_) => false,
            ShipError::Registry(_)
            | ShipError::Short { .. }
            | ShipError::Changed { .. }
            | ShipError::Shipped { .. }
            | ShipError::Gone { .. }
            | ShipError::OtherRegistry { .. } => true,
        }
    }
}

/// Names the step that an I/O error came from.
pub(crate) fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> ShipError {
    move |source| ShipError::Io { what, source }
}

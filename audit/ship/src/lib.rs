//! The audit journal on local disk, and its way into a bucket.
//!
//! Not here: the format (`audit/chain`), the bucket itself (`audit/bucket`). Invariant: an append is acknowledged only after its record
//! is on disk, and the first disk error ends the stream for good; nothing is shipped that is not signed for.

mod anchor;
mod costs;
mod disk;
mod error;
mod inclusion;
mod journal;
mod newest;
mod open;
mod pruned;
mod recover;
mod registry_log;
mod resume;
mod ship;
mod source;
mod stream_reader;
mod tail;
mod wal;
mod writer;

/// Where records are shipped to, for those who ship or read what was.
pub use aegis_audit_bucket::{
    Address, Bucket, BucketError, BucketLog, Indexes, LockMode, Receipt, Retention,
};
pub use costs::recorded_costs;
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::JournalError;
pub use inclusion::{Inclusion, InclusionError};
pub use journal::{Journal, Pending, Position, Sealed, WallClock};
pub use newest::NewestHead;
pub use open::{FILE_BYTES, JournalConfig};
pub use recover::{Recovered, RecoveredStream, Unsettled};
pub use resume::resumed_tree;
pub use ship::{
    BACKLOG_BYTES_MAX, IsRead, Keep, SHIP_EVERY, ShipConfig, ShipError, Shipper, Standing, start,
};
pub use source::{Directory, Log, Staying};
pub use stream_reader::{StreamReader, Wants};
pub use tail::Tail;

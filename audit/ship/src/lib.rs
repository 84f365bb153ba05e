//! The audit journal on local disk.
//!
//! Not here: the format and its verification (`audit/chain`). Invariant: an append is acknowledged only after its record
//! is on disk, and the first disk error ends the stream for good.

mod anchor;
mod costs;
mod disclosures;
mod disk;
mod error;
mod journal;
mod open;
mod recover;
mod registry_log;
mod stream_reader;
mod tail;
mod wal;
mod writer;

pub use costs::recorded_costs;
pub use disclosures::Disclosures;
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::JournalError;
pub use journal::{Journal, Pending, Position, Sealed, WallClock};
pub use open::{FILE_BYTES, JournalConfig};
pub use recover::{Recovered, RecoveredStream, Unsettled};
pub use tail::Tail;

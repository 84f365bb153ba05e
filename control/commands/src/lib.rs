//! Commands on their way into the region's ledger: proposed once, put on record, and read here when they return.
//!
//! Not here: what a command may do (`ledger`), how voters agree (`raft-store`), and who may command (`control`). Invariant: where
//! an audit log is kept, nothing is answered as done that it did not take.

mod chronicle;
mod ledger;
mod replicated;
mod under_way;

pub use chronicle::{
    Changed, Chronicle, ChronicleError, Chronicled, Deed, RECORD_WITHIN, chronicled, done,
};
pub use ledger::{Ledger, LedgerError, Proposal, Reading};
pub use replicated::Replicated;
pub use under_way::{Begun, UnderWay};

//! The rules of the ledger.
//!
//! Not here: voters that agree (`raft-store`). Invariant: time is given, never read.

use super::*;

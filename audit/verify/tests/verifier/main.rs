//! The verifier over logs in memory: what it costs, and that nobody who helps it changes what it says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod allocations;
mod crews;
mod damage;
mod region;
mod two;

//! The real `aegisctl`, typed at: output, words, exit codes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod ca;
mod journal;
mod ledger;
mod policy;
mod setup;
mod support;
mod token;
mod verify;

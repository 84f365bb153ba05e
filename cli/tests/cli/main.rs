//! The real `aegisctl`, typed at: output, words, exit codes.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod journal;
mod ledger;
mod setup;
mod support;
mod token;

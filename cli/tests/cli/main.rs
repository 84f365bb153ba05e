//! The real `aegisctl`, typed at: output, words, exit codes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod budget;
mod bundle;
mod ca;
mod calls;
mod cluster;
mod definition;
mod deleted;
mod disclose;
mod export;
mod fleet;
mod foreign;
mod guide;
mod journal;
mod ledger;
mod policy;
mod recorder;
mod region;
mod releases;
mod replay;
mod revoked;
mod setup;
mod support;
mod tenant;
mod token;
mod verify;
mod witnessed;

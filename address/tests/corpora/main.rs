//! Public test data against our one reading of hosts and addresses; the counts are printed.
//!
//! The data is read at test time from `AEGIS_CORPORA`, or from `../shared/corpora` beside the repository, and is
//! never copied here; without it the tests say that they were skipped.
//! Invariant: refusing is always right; reading another host than a standard parser does, or dialling a forbidden
//! address, never is.
#![expect(clippy::print_stdout, reason = "the figures are what these tests are for")]
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "test data lives in files"))]

#[cfg(test)]
mod idna;
#[cfg(test)]
mod ssrf;
#[cfg(test)]
mod wpt;

use std::path::PathBuf;

/// The text of one file of the test data, if it is there.
#[cfg(test)]
fn corpus(path: &str) -> Option<String> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora"));
    let root = std::env::var_os("AEGIS_CORPORA").map_or_else(beside, PathBuf::from);
    let text = std::fs::read_to_string(root.join(path)).ok();
    if text.is_none() {
        println!("skipped: corpora absent ({path})");
    }
    text
}

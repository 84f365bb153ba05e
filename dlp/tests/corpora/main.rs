//! Recall and precision on public test data, printed and held at the level reached.
//!
//! The data is read at test time from `AEGIS_CORPORA`, or from `../shared/corpora` beside the repository, and is
//! never copied here; without it the tests say that they were skipped.
#![expect(clippy::print_stdout, reason = "the figures are what these tests are for")]
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "test data lives in files"))]

#[cfg(test)]
mod encodings;
#[cfg(test)]
mod json;
#[cfg(test)]
mod labelled;
#[cfg(test)]
mod secrets;

use std::path::PathBuf;

/// The folder of one data set, if it is there.
#[cfg(test)]
fn corpus(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora"));
    let root = std::env::var_os("AEGIS_CORPORA").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: corpora absent ({name})");
    None
}

/// A share in percent, for people.
#[cfg(test)]
fn percent(part: usize, of: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    100.0 * number(part) / number(of.max(1))
}

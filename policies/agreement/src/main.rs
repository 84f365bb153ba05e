//! Figures of a policy decision on three engines; `make policyfigures` builds and runs it.
//!
//! Not here: whether the engines agree (`tests/agreement.rs`). Invariant: no test depends on what is measured here.

fn main() {}

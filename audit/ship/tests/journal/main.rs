//! The journal on a real disk, and the verifier over what it leaves there.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, also in its fixtures"
)]

#[path = "../crews/mod.rs"]
mod crews;

mod append;
mod attacks;
mod crash;
mod cuts;
mod faults;
mod plain_chain;
mod platter;
mod power;
mod recovery;
mod resume;
mod revoked;
mod support;

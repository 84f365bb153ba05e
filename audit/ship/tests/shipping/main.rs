//! The journal shipped to a folder, to S3, Azure and Google, and the verifier over what lies there.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, also in its fixtures"
)]

#[path = "../crews/mod.rs"]
mod crews;

mod address;
mod azure;
mod bucket_attacks;
mod contradicted;
mod crashes;
mod ended;
mod faults;
mod fleet;
mod google;
mod growing;
mod indexes;
mod kept;
mod on_its_way;
mod prune;
mod python;
mod retention;
mod revoked;
mod rounds;
mod s3;
mod spooled;
mod support;
mod syscalls;
mod unsynced;
mod verifiers;
mod witnessed;
mod worm;

//! Stores to ship to, S3's and Azure's real ones and Google's as documented, and what networks, stores and intruders do to those who use one.
//!
//! Not here: what is shipped, and clients. Invariant: a process that is started here does not outlive the test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and this is only ever part of one"
)]

mod azurite;
mod fault_proxy;
mod google;
mod moto;
mod process;

pub use azurite::{ACCOUNT, Azurite, azure_options, endpoint};
pub use fault_proxy::{Crash, Fault, Proxy};
pub use google::{Google, google_options};
pub use moto::{Moto, MotoToBe, ask, options, packages, put_other};

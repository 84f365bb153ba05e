//! A real S3 to ship to, and what networks and stores do to those who use one.
//!
//! Not here: what is shipped. Invariant: a process that is started here does not outlive the test.

mod fault_proxy;
mod moto;

pub use fault_proxy::{Fault, Proxy};
pub use moto::{Moto, MotoToBe};

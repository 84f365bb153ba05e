//! Holds our engine against two others: regorus' interpreter, and real OPA as a library.
//!
//! Not here: the engine (`policies/engine`), and where the library comes from (`opa.py`, `make opa`).
//! Invariant: all three read the files of one bundle and one input document, and a decision is compared whole.

mod comparison;
mod opa;
mod packs;

pub use comparison::{Comparison, Mismatch, compare};
pub use opa::{Answer, Opa, OpaError};
pub use packs::{Pack, PackError, shipped};

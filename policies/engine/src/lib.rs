//! The policy language: parse, compile to safe Rego, evaluate on the RVM.
//!
//! Pure: no files, clock, network or randomness; texts and `now` are arguments.
//! Invariant: only Rego that this crate emitted and its linter accepted is ever evaluated.

mod calendar;
mod canonical;
pub mod cases;
pub mod document;
mod evaluation;
pub mod lint;
mod lower;
mod rego;
mod snapshot;
mod source;

pub use evaluation::{EngineError, PolicyInput, PolicyOutcome, ToolInfo};
pub use snapshot::{BundleFile, CompileContext, Snapshot};
pub use source::PolicySet;

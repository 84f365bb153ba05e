//! The policy engine: compile to safe Rego, evaluate on the RVM.
//!
//! Pure: no files, clock, network or randomness; the set and `now` are arguments.
//! Invariant: only Rego that this crate emitted and its linter accepted is ever evaluated.

pub mod activation;
mod bundle;
pub mod cases;
mod degraded;
mod evaluation;
pub mod explain;
mod hostile;
mod lower;
pub mod opa_tests;
mod projection;
mod rego;
pub mod replay;
mod snapshot;
mod wording;

pub use bundle::{
    Archive, BUNDLE_BYTES_MAX, Bundle, BundleError, BundleFile, Manifest, SIGNATURE_BYTES_MAX,
    SIGNATURE_TYPE, SignatureError,
};
pub use evaluation::{EngineError, PolicyInput, PolicyOutcome, ToolInfo};
pub use hostile::Hostile;
pub use projection::{Projection, Reads};
pub use rego::{Interpreter, LoadError, RawDecision, prepare};
pub use snapshot::{CompileContext, Snapshot, SourceError};

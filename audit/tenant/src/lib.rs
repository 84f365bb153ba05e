//! One tenant's records out of a log of many tenants, and the proof that they are all of them.
//!
//! Pure: files come through `LogSource`. Not here: the whole log's verification (`audit/verify`), one record's proof
//! (`audit/proof`). Invariant: a package shows nothing of another tenant's calls, and passes only with every record that the
//! registry signs for as this tenant's.

mod check;
mod make;
mod package;
mod report;
mod text;

pub use check::check;
pub use make::{MakeError, make};
pub use package::{Package, RegistryPart, Standing, StreamPart};
pub use report::{Finding, Flaw, Gap, Report, StreamReport};
pub use text::TextError;

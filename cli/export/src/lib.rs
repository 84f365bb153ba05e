//! The audit log as tables: Parquet, CSV and JSON lines, partitioned for analysts.
//!
//! Not here: reading the log and believing it (`cli/evidence`). Invariant: a row says what its record says and where that stands,
//! so whoever doubts a row can have the record proven; no file is written over.

mod partition;
mod row;
mod table;

pub use partition::{ExportError, Exporter, Format, Summary};
pub use row::{COLUMNS, Cell, Column, Kind, Row};

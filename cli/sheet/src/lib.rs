//! What a command has to show: rows with named columns, and a bar for people who wait.
//!
//! Not here: what is shown, and where it is written (`cli`). Invariant: a table and its JSON are made from the same cells, and a
//! bar reaches stderr only.

mod progress;
mod sheet;

pub use progress::Progress;
pub use sheet::{Mood, Sheet};

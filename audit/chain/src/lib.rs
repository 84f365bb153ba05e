//! The audit record, its hash chain and Merkle tree, and signed heads.
//!
//! Pure: times, random salts and files are brought by callers. Not here: judging a whole log (`audit/verify`). Invariant: whatever is
//! hashed, signed or verified is the exact stored bytes, never something written anew from them.

pub mod cosignature;
mod cursor;
pub mod disclosure;
pub mod frame;
mod head;
pub mod layout;
pub mod link;
pub mod note;
mod origin;
pub mod record;
pub mod retention;
pub mod roster;
pub mod segment;
pub mod source;
pub mod submission;
pub mod walk;

pub use aegis_audit_tree::{self as tree, Hash};
pub use cursor::{Cursor, CursorError, StoredRecord};
pub use head::{Head, birth_note, birth_text, born_stream};
pub use origin::{Origin, OriginError};

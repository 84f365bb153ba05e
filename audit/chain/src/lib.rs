//! The audit record, its hash chain and Merkle tree, heads, and the verifier.
//!
//! Pure: bytes in, verdicts out; times, random salts and files are brought by callers. Invariant: whatever is
//! hashed, signed or verified is the exact stored bytes, never something written anew from them.

mod cursor;
pub mod disclosure;
pub mod frame;
mod hash;
mod head;
pub mod layout;
pub mod link;
pub mod note;
mod origin;
pub mod record;
pub mod registry;
pub mod segment;
pub mod tree;
pub mod trust;
pub mod verify;
pub mod walk;

pub use cursor::{Cursor, CursorError, StoredRecord};
pub use hash::Hash;
pub use head::{Head, birth_note, birth_text};
pub use origin::{Origin, OriginError};

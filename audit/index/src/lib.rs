//! Where a record stands among many, and the hashes beside it: the index of a shipped segment, and the roots of blocks of a
//! growing tree.
//!
//! Pure: bytes and hashes come from callers. Not here: objects (`audit/ship`), the proof as a file (`audit/proof`). Invariant:
//! an index is believed only as far as the root that is signed for agrees with what it says.

mod blocks;
mod index;

pub use blocks::Blocks;
pub use index::{Index, IndexError, Place, path};

/// Records of a group, which is an entry bundle of C2SP tiles: a member of the stored object holds no more.
pub const GROUP: u64 = 256;

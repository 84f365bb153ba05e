//! A shipped segment as it is stored, and its index: where a record stands in it, and the hashes beside it.
//!
//! Pure: bytes come from callers. Not here: objects (`audit/ship`), the proof as a file (`audit/proof`). Invariant:
//! an index is believed only as far as the root that is signed for agrees with what it says.

mod index;
mod packed;

pub use index::{Index, IndexError, Place, path};
pub use packed::{Groups, OBJECT_BYTES_MAX, unpack, unpack_member};

/// Records of a group, which is an entry bundle of C2SP tiles: a member of the stored object holds no more.
pub const GROUP: u64 = 256;

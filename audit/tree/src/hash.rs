//! The 32-byte hashes that chain, tree and heads are made of.
//!
//! Not here: which hashes go where (`audit/chain`). Invariant: chain and tree use the same leaf hash, so a
//! record that one of them covers is covered by the other.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// A SHA-256 value; in records it stands as 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

/// Length of a hash in base64url without padding.
pub const TEXT_BYTES: usize = 43;

impl Hash {
    /// Stands where there is nothing to link to.
    pub const ZERO: Hash = Hash([0; 32]);

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Plain SHA-256.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// SHA-256 over a salt and a value: what a record says of a `jti` or a path, which could be guessed.
    pub fn salted(salt: &[u8; 32], value: &[u8]) -> Self {
        Self(Sha256::new().chain_update(salt).chain_update(value).finalize().into())
    }

    /// The leaf hash of a record (RFC 6962 §2.1).
    pub fn leaf(record: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(record).finalize().into())
    }

    /// The hash of an inner node (RFC 6962 §2.1).
    pub fn node(left: Hash, right: Hash) -> Self {
        let mut block = [1; 65];
        let (_, children) = block.split_at_mut(1);
        let (slot_left, slot_right) = children.split_at_mut(32);
        slot_left.copy_from_slice(&left.0);
        slot_right.copy_from_slice(&right.0);
        Self::of(&block)
    }

    /// The root of a tree without leaves.
    pub fn empty_root() -> Self {
        Self::of(b"")
    }

    /// 43 characters of base64url, as records carry it.
    pub fn text(&self) -> [u8; TEXT_BYTES] {
        let mut out = [0; TEXT_BYTES];
        // 32 bytes always fill 43 characters, so the length it returns says nothing new.
        let _written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut out).unwrap_or(0);
        out
    }

    /// Reads canonical base64url without padding.
    pub fn parse(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        let whole = text.len() == TEXT_BYTES;
        // The engine wants room for whole quanta of four characters.
        let mut room = [0; 33];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut room).ok()?;
        out.copy_from_slice(room.get(..length).filter(|bytes| whole && bytes.len() == 32)?);
        Some(Self(out))
    }

    /// Reads canonical base64 with padding, as checkpoints carry it.
    pub fn parse_standard(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Base64 with padding, as checkpoints carry it.
    pub fn standard(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_6962() {
        // RFC 6962 test vectors of certificate-transparency: empty root, leaf of "", node over two leaves.
        let hex = |hash: Hash| hash.0.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert!(hex(Hash::empty_root()).starts_with("e3b0c44298fc1c149afbf4c8996fb924"));
        assert!(hex(Hash::leaf(b"")).starts_with("6e340b9cffb37a989ca544e6bb780a2c"));
        let pair = Hash::node(Hash::leaf(b""), Hash::leaf(b"\0"));
        assert!(hex(pair).starts_with("fac54203e7cc696cf0dfcb42c92a1d9d"));
    }

    #[test]
    fn only_canonical_text_is_a_hash() {
        let hash = Hash::leaf(b"x");
        assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        let mut loose = hash.to_string();
        loose.pop();
        loose.push('9'); // 43 characters hold 258 bits; the last two must be zero.
        assert_eq!(Hash::parse(&loose), None);
        assert_eq!(Hash::parse_standard(&hash.standard()), Some(hash));
    }
}

//! Every reader of bytes that a stranger can write, attacked: it must not panic, must hold memory in proportion to what it
//! reads, and what it accepts must have one spelling.
//!
//! Not here: what the accepted means (each crate's own tests). Invariant: each attack begins with what the reader accepts.
//! `make fuzz` goes on with them for as long as it is told.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and it reads the published files"
)]

mod ledger;
mod notes;
mod proofs;
mod records;
mod segments;

use std::fs;
use std::path::PathBuf;

use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::{Hash, Origin};

fn published_bytes(name: &str) -> Vec<u8> {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/audit");
    fs::read(vectors.join(name)).unwrap()
}

fn published(name: &str) -> String {
    String::from_utf8(published_bytes(name)).unwrap()
}

/// The key that the published region is signed with.
fn region() -> Signer {
    Signer::new("aegis.example/eu-west-1/registry/1", SecretKey::from_seed(&[1; 32]))
}

fn stream() -> Origin {
    Origin::parse("aegis.example/eu-west-1/gw-1/1").unwrap()
}

/// The key that the published stream is signed with.
fn stream_key() -> Signer {
    Signer::new(stream().as_str(), SecretKey::from_seed(&[2; 32]))
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| Hash::leaf(&n.to_be_bytes())).collect()
}

fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

fn bytes<T: Into<Vec<u8>>, const N: usize>(texts: [T; N]) -> Vec<Vec<u8>> {
    texts.into_iter().map(Into::into).collect()
}

//! A segment and its index against each other: each record where the index says, with the hash it says.
//!
//! Not here: the index's form (`audit/index`), reading one record by it (`one`). Invariant: records are handed out only as the
//! segment's manifest has them, whatever the index says.

use std::io::Read as _;

use aegis_audit_chain::Hash;
use aegis_audit_chain::segment::{Digest, Entries, Manifest};
use aegis_audit_index::Index;
use flate2::bufread::GzDecoder;

use super::OBJECT_BYTES_MAX;

/// Whether a whole log's indexes are held against its records, which nobody needs who only reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexes {
    Checked,
    Unread,
}

/// The segment's bundles, read by an index that is theirs; `None` where it is not.
pub(super) fn unpack(manifest: &Manifest, stored: &[u8], index: &[u8]) -> Option<Vec<u8>> {
    let index = opened(manifest, index)?;
    let length = u64::try_from(stored.len()).ok()?;
    let (mut bundles, mut leaves) = (Vec::new(), index.leaves.iter());
    for nth in 0..index.members.len() {
        let begin = *index.members.get(nth)?;
        let end = index.members.get(nth.checked_add(1)?).copied().unwrap_or(length);
        let records =
            member(stored.get(usize::try_from(begin).ok()?..usize::try_from(end).ok()?)?)?;
        let mut count = 0_u64;
        for record in Entries(&records) {
            count = count.checked_add(1)?;
            if leaves.next() != Some(&Hash::leaf(record.ok()?)) {
                return None;
            }
        }
        if count != index.records_in(nth) {
            return None;
        }
        bundles.extend_from_slice(&records);
    }
    leaves.next().is_none().then_some(bundles)
}

/// An index that the manifest was signed for, and that leads to the manifest's root.
pub(super) fn opened(manifest: &Manifest, bytes: &[u8]) -> Option<Index> {
    let index = Index::parse(bytes).ok().filter(|_| Digest::of(bytes) == manifest.index)?;
    let fits = (index.first(), index.size(), index.root())
        == (manifest.first, manifest.size, manifest.root);
    fits.then_some(index)
}

/// Decompresses one member of a stored object, which must be all of these bytes.
pub(super) fn member(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = GzDecoder::new(bytes);
    let mut records = Vec::new();
    decoder.by_ref().take(OBJECT_BYTES_MAX).read_to_end(&mut records).ok()?;
    decoder.into_inner().is_empty().then_some(records)
}

//! The stored object of a segment: its bundles, each a gzip member of its own, so that one can be read without the others.
//!
//! Not here: the index's form (`index`), the way to and from a bucket (`audit/ship`). Invariant: records are handed out only as
//! the segment's manifest has them, whatever the index says; no object makes more bytes than a segment may have.

use std::io::{self, Read, Write as _};

use aegis_audit_chain::Hash;
use aegis_audit_chain::segment::{Digest, Entries, Manifest, push_entry};
use flate2::Compression;
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::write::GzEncoder;

use crate::{GROUP, Index};

/// No object is longer, compressed or not.
pub const OBJECT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The records of a segment, as they gather.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    bundles: Vec<u8>,
    /// Where each group begins.
    begins: Vec<usize>,
}

impl Groups {
    /// Appends the record of that number.
    pub fn push(&mut self, seq: u64, record: &[u8]) {
        if self.begins.is_empty() || seq.is_multiple_of(GROUP) {
            self.begins.push(self.bundles.len());
        }
        push_entry(&mut self.bundles, record);
    }

    pub fn bundles(&self) -> &[u8] {
        &self.bundles
    }

    /// The stored object, and where each member begins in it.
    pub fn pack(&self) -> io::Result<(Vec<u8>, Vec<u64>)> {
        let (mut stored, mut members) = (Vec::new(), Vec::new());
        let ends = self.begins.iter().skip(1).copied().chain([self.bundles.len()]);
        for (begin, end) in self.begins.iter().copied().zip(ends) {
            members.push(u64::try_from(stored.len()).unwrap_or(u64::MAX));
            let mut encoder = GzEncoder::new(stored, Compression::default());
            encoder.write_all(self.bundles.get(begin..end).unwrap_or_default())?;
            stored = encoder.finish()?;
        }
        Ok((stored, members))
    }
}

/// The bundles of a stored object, without its index.
pub fn unpack(stored: &[u8]) -> Option<Vec<u8>> {
    read(&mut MultiGzDecoder::new(stored))
}

/// The bundles of one member, which must be all of these bytes.
pub fn unpack_member(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = GzDecoder::new(bytes);
    let records = read(&mut decoder)?;
    decoder.into_inner().is_empty().then_some(records)
}

fn read(decoder: &mut impl Read) -> Option<Vec<u8>> {
    let mut bundles = Vec::new();
    decoder.take(OBJECT_BYTES_MAX.saturating_add(1)).read_to_end(&mut bundles).ok()?;
    let length = u64::try_from(bundles.len()).unwrap_or(u64::MAX);
    (length <= OBJECT_BYTES_MAX).then_some(bundles)
}

impl Index {
    /// An index that the manifest was signed for, and that leads to the manifest's root.
    pub fn of(manifest: &Manifest, bytes: &[u8]) -> Option<Self> {
        let index = Self::parse(bytes).ok().filter(|_| Digest::of(bytes) == manifest.index)?;
        let fits = (index.first(), index.size(), index.root())
            == (manifest.first, manifest.size, manifest.root);
        fits.then_some(index)
    }

    /// The bundles of the stored object it is of; `None` where a record is not where it says, or has another hash.
    pub fn unpack(&self, stored: &[u8]) -> Option<Vec<u8>> {
        let length = u64::try_from(stored.len()).ok()?;
        let (mut bundles, mut leaves) = (Vec::new(), self.leaves.iter());
        for nth in 0..self.members.len() {
            let begin = *self.members.get(nth)?;
            let end = self.members.get(nth.checked_add(1)?).copied().unwrap_or(length);
            let member = usize::try_from(begin).ok()?..usize::try_from(end).ok()?;
            let (records, mut count) = (unpack_member(stored.get(member)?)?, 0_u64);
            for record in Entries(&records) {
                count = count.checked_add(1)?;
                if leaves.next() != Some(&Hash::leaf(record.ok()?)) {
                    return None;
                }
            }
            if count != self.records_in(nth) {
                return None;
            }
            bundles.extend_from_slice(&records);
        }
        leaves.next().is_none().then_some(bundles)
    }
}

#[cfg(test)]
mod tests {
    use aegis_audit_chain::tree::Frontier;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_object_is_read_whole_by_its_members_and_not_by_another_index(
            first in 0_u64..600, count in 1_u64..700, at in any::<prop::sample::Index>(), by in 1_u64..9,
        ) {
            let (mut before, mut groups, mut leaves) = (Frontier::new(), Groups::default(), Vec::new());
            (0..first).for_each(|n| before.push(Hash::leaf(&n.to_be_bytes())));
            for seq in first..first + count {
                groups.push(seq, &seq.to_be_bytes());
                leaves.push(Hash::leaf(&seq.to_be_bytes()));
            }
            let (stored, members) = groups.pack().unwrap();
            let index = Index { before, members, leaves };
            prop_assert_eq!(unpack(&stored), Some(groups.bundles().to_vec()));
            prop_assert_eq!(index.unpack(&stored), Some(groups.bundles().to_vec()));
            for seq in [first, first + count / 2, first + count - 1] {
                let place = index.place(seq, stored.len() as u64).unwrap();
                let member = &stored[place.bytes.start as usize..place.bytes.end as usize];
                let records = unpack_member(member).unwrap();
                let record = Entries(&records).nth(place.nth as usize).unwrap().unwrap();
                prop_assert_eq!(record.to_vec(), seq.to_be_bytes().to_vec());
            }
            let (mut moved, mut other) = (index.clone(), index);
            *at.get_mut(&mut moved.members) += by;
            prop_assert_eq!(moved.unpack(&stored), None);
            *at.get_mut(&mut other.leaves) = Hash::leaf(b"another");
            prop_assert_eq!(other.unpack(&stored), None);
        }
    }
}

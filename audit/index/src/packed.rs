//! The stored object of a segment: its bundles, each a gzip member of its own, so that one can be read without the others.
//!
//! Not here: the index's form (`index`), the way to and from a bucket (`audit/ship`). Invariant: records are handed out only as
//! the segment's manifest has them, whatever the index says; no object makes more bytes than its manifest was signed for.

use std::io::{self, Read, Write as _};

use aegis_audit_chain::Hash;
use aegis_audit_chain::record::Head;
use aegis_audit_chain::segment::{Digest, Entries, Manifest, push_entry};
use flate2::Compression;
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::write::GzEncoder;

use crate::{GROUP, Index};

/// No object is longer, compressed or not.
pub const OBJECT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// No member unpacks to more: a group of the longest records, each behind its length in two bytes.
const MEMBER_BYTES_MAX: u64 = GROUP * 16_386;

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

/// The bundles of a stored object, without its index: as many bytes as the manifest says that there are.
pub fn unpack(stored: &[u8], bytes: u64) -> Option<Vec<u8>> {
    let mut bundles = room(stored, bytes);
    read(&mut MultiGzDecoder::new(stored), bytes, &mut bundles)?;
    (wide(bundles.len()) == bytes).then_some(bundles)
}

/// The bundles of one member, which must be all of these bytes, and no more than the manifest says of the whole segment.
pub fn unpack_member(member: &[u8], bytes_max: u64) -> Option<Vec<u8>> {
    let mut bundles = Vec::new();
    append_member(member, bytes_max, &mut bundles)?;
    Some(bundles)
}

fn append_member(member: &[u8], bytes_max: u64, bundles: &mut Vec<u8>) -> Option<()> {
    let mut decoder = GzDecoder::new(member);
    read(&mut decoder, bytes_max.min(MEMBER_BYTES_MAX), bundles)?;
    decoder.into_inner().is_empty().then_some(())
}

/// Appends all that a decoder has. One byte more than was allowed ends it, so what is packed tighter than it says takes no memory.
fn read(decoder: &mut impl Read, bytes_max: u64, bundles: &mut Vec<u8>) -> Option<()> {
    let allowed = bytes_max.min(OBJECT_BYTES_MAX);
    let read = decoder.take(allowed.saturating_add(1)).read_to_end(bundles).ok()?;
    (wide(read) <= allowed).then_some(())
}

/// So that what is unpacked need not move while it grows. Records pack to a fifth or so; what is said to unpack to far more than
/// that is not believed beforehand.
fn room(stored: &[u8], bytes: u64) -> Vec<u8> {
    Vec::with_capacity(usize::try_from(bytes).unwrap_or(0).min(stored.len().saturating_mul(8)))
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Index {
    /// An index that the manifest was signed for, and that leads to the manifest's root.
    pub fn of(manifest: &Manifest, bytes: &[u8]) -> Option<Self> {
        let index = Self::parse(bytes).ok().filter(|_| Digest::of(bytes) == manifest.index)?;
        let fits = (index.first(), index.size(), index.root())
            == (manifest.first, manifest.size, manifest.root);
        fits.then_some(index)
    }

    /// The bundles of the stored object it is of, which are that many bytes; `None` where a record is not where it says, or has
    /// another hash.
    ///
    /// A record's hash is taken from the link of the record behind it, and only the last one is hashed: whoever follows the links
    /// of these records hashes them all, and says so where one does not hold.
    pub fn unpack(&self, stored: &[u8], bytes: u64) -> Option<Vec<u8>> {
        let length = wide(stored.len());
        let (mut bundles, mut leaves) = (room(stored, bytes), self.leaves.iter());
        let (mut before, mut last) = (None, 0..0);
        for nth in 0..self.members.len() {
            let begin = *self.members.get(nth)?;
            let end = self.members.get(nth.checked_add(1)?).copied().unwrap_or(length);
            let member = usize::try_from(begin).ok()?..usize::try_from(end).ok()?;
            let (begins, mut count) = (bundles.len(), 0_u64);
            let left = bytes.checked_sub(wide(begins))?;
            append_member(stored.get(member)?, left, &mut bundles)?;
            let mut entries = Entries(bundles.get(begins..)?);
            while let Some(record) = entries.next() {
                let record = record.ok()?;
                let leaf = leaves.next()?;
                let links = |before| Head::link(record) == Some(before);
                if !before.replace(*leaf).is_none_or(links) {
                    return None;
                }
                count = count.checked_add(1)?;
                let ends = bundles.len().checked_sub(entries.0.len())?;
                last = ends.checked_sub(record.len())?..ends;
            }
            if count != self.records_in(nth) {
                return None;
            }
        }
        let is_last = before == bundles.get(last).map(Hash::leaf);
        (is_last && leaves.next().is_none() && wide(bundles.len()) == bytes).then_some(bundles)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use aegis_audit_chain::Origin;
    use aegis_audit_chain::link::{Reading, Sequencer};
    use aegis_audit_chain::record::ClockEntry;
    use aegis_audit_chain::tree::Frontier;
    use aegis_domain::Timestamp;
    use proptest::prelude::*;

    use super::*;

    /// Records of one stream, and their hashes.
    static RECORDS: LazyLock<Vec<(Vec<u8>, Hash)>> = LazyLock::new(|| {
        let origin = Origin::parse("d/r/gw-1/3").unwrap();
        let mut sequencer = Sequencer::new(origin);
        let place = |n: u64| {
            let now = Reading { wall: Timestamp::from_unix_ns(n), mono_ns: n };
            let placed = sequencer.place(ClockEntry { step_ns: 1 }.draft().unwrap(), now);
            (placed.bytes, placed.leaf)
        };
        (0..1_300).map(place).collect()
    });

    fn record(seq: u64) -> &'static (Vec<u8>, Hash) {
        &RECORDS[usize::try_from(seq).unwrap()]
    }

    proptest! {
        #[test]
        fn an_object_is_read_whole_by_its_members_and_not_by_another_index(
            first in 0_u64..600, count in 1_u64..700, at in any::<prop::sample::Index>(), by in 1_u64..9,
        ) {
            let (mut before, mut groups, mut leaves) = (Frontier::new(), Groups::default(), Vec::new());
            (0..first).for_each(|n| before.push(record(n).1));
            for seq in first..first + count {
                groups.push(seq, &record(seq).0);
                leaves.push(record(seq).1);
            }
            let (stored, members) = groups.pack().unwrap();
            let index = Index { before, members, leaves };
            let bytes = groups.bundles().len() as u64;
            let all = Some(groups.bundles().to_vec());
            prop_assert_eq!((unpack(&stored, bytes), index.unpack(&stored, bytes)), (all.clone(), all));
            for other in [bytes - 1, bytes + 1] {
                prop_assert_eq!((unpack(&stored, other), index.unpack(&stored, other)), (None, None));
            }
            for seq in [first, first + count / 2, first + count - 1] {
                let place = index.place(seq, stored.len() as u64).unwrap();
                let member = &stored[place.bytes.start as usize..place.bytes.end as usize];
                let records = unpack_member(member, bytes).unwrap();
                let found = Entries(&records).nth(place.nth as usize).unwrap().unwrap();
                prop_assert_eq!(found, record(seq).0.as_slice());
            }
            let (mut moved, mut other) = (index.clone(), index);
            *at.get_mut(&mut moved.members) += by;
            prop_assert_eq!(moved.unpack(&stored, bytes), None);
            *at.get_mut(&mut other.leaves) = Hash::leaf(b"another");
            prop_assert_eq!(other.unpack(&stored, bytes), None);
        }
    }
}

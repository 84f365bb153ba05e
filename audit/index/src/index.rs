//! The index of one segment: where each group of records begins in the stored object, and the leaf hashes of all of them.
//!
//! Not here: the segment and its manifest (`audit/chain`). Invariant: an index has one form, whose length follows from its
//! first record and how many there are.

use std::ops::Range;

use aegis_audit_chain::Hash;
use aegis_audit_chain::tree::{Blocks, Frontier};

use crate::GROUP;

const MAGIC: &[u8; 8] = b"AEGISIDX";
const VERSION: u32 = 1;
/// As many records as a segment can hold (`audit/chain`).
const RECORDS_MAX: u64 = 65_536;

/// Why bytes are no index, or not that of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    #[error("the bytes are no index of this version")]
    Malformed,
    #[error("it is of other records than the segment's")]
    Other,
}

/// What an index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The tree over all records before the segment.
    pub before: Frontier,
    /// Where each group's member begins in the stored object.
    pub members: Vec<u64>,
    /// The leaf hash of each record.
    pub leaves: Vec<Hash>,
}

/// Where a record is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The member's bytes in the stored object.
    pub bytes: Range<u64>,
    /// The record's place among the member's.
    pub nth: u64,
}

impl Index {
    /// Number of the segment's first record.
    pub fn first(&self) -> u64 {
        self.before.size()
    }

    /// Records of the stream up to the segment's end.
    pub fn size(&self) -> u64 {
        self.first().saturating_add(wide(self.leaves.len()))
    }

    /// How many records the member of that place holds.
    pub fn records_in(&self, member: usize) -> u64 {
        let group = (self.first() / GROUP).saturating_add(wide(member));
        let begin = group.saturating_mul(GROUP).max(self.first());
        let end = group.saturating_add(1).saturating_mul(GROUP).min(self.size());
        end.saturating_sub(begin)
    }

    /// Where record `seq` lies in an object of that length.
    pub fn place(&self, seq: u64, stored_bytes: u64) -> Option<Place> {
        if !(self.first()..self.size()).contains(&seq) {
            return None;
        }
        let member = usize::try_from((seq / GROUP).checked_sub(self.first() / GROUP)?).ok()?;
        let begin = *self.members.get(member)?;
        let end = self.members.get(member.checked_add(1)?).copied().unwrap_or(stored_bytes);
        let first = seq.saturating_sub(seq % GROUP).max(self.first());
        Some(Place { bytes: begin..end, nth: seq.saturating_sub(first) })
    }

    /// The leaf hash of record `seq`.
    pub fn leaf(&self, seq: u64) -> Option<&Hash> {
        self.leaves.get(usize::try_from(seq.checked_sub(self.first())?).ok()?)
    }

    /// The root over all records up to the segment's end.
    pub fn root(&self) -> Hash {
        let mut tree = self.before.clone();
        self.leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.first().to_be_bytes());
        out.extend_from_slice(&wide(self.leaves.len()).to_be_bytes());
        self.before.peaks().iter().for_each(|peak| out.extend_from_slice(peak.as_bytes()));
        self.members.iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes()));
        self.leaves.iter().for_each(|leaf| out.extend_from_slice(leaf.as_bytes()));
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        Self::read(&mut Bytes(bytes)).ok_or(IndexError::Malformed)
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let begins = bytes.take::<8>()? == MAGIC && *bytes.take()? == VERSION.to_be_bytes();
        let (first, records) = (bytes.number()?, bytes.number()?);
        if !begins || !(1..=RECORDS_MAX).contains(&records) {
            return None;
        }
        let last = first.checked_add(records)?.checked_sub(1)?;
        let groups = (last / GROUP).checked_sub(first / GROUP)?.checked_add(1)?;
        let peaks = (0..first.count_ones()).map(|_| bytes.hash()).collect::<Option<_>>()?;
        let members = (0..groups).map(|_| bytes.number()).collect::<Option<Vec<_>>>()?;
        let leaves = (0..records).map(|_| bytes.hash()).collect::<Option<_>>()?;
        let rises = members.first() == Some(&0) && members.is_sorted_by(|a, b| a < b);
        let before = Frontier::of(first, peaks)?;
        (rises && bytes.0.is_empty()).then_some(Self { before, members, leaves })
    }
}

/// The path of record `seq` in the tree of `size`, from the index of its segment and those that follow up to there.
pub fn path(indexes: &[&Index], (seq, size): (u64, u64)) -> Option<Vec<Hash>> {
    let first = indexes.first()?.first();
    let mut blocks = Blocks::after(indexes.first()?.before.clone());
    for index in indexes {
        if index.first() != blocks.size() {
            return None;
        }
        index.leaves.iter().for_each(|leaf| blocks.push(*leaf));
    }
    let all: Vec<Hash> = indexes.iter().flat_map(|index| &index.leaves).copied().collect();
    let needed = blocks.needed(seq, size).into_iter().flat_map(|(begin, end)| begin..end);
    let of = |at: u64| Some((at, *all.get(usize::try_from(at.checked_sub(first)?).ok()?)?));
    blocks.path(seq, size, &needed.filter_map(of).collect())
}

/// Bytes that are still to be read.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take<const N: usize>(&mut self) -> Option<&'b [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn hash(&mut self) -> Option<Hash> {
        self.take().map(|bytes| Hash::from_bytes(*bytes))
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use aegis_audit_chain::tree::{includes, root};
    use proptest::prelude::*;

    use super::*;

    fn leaf(n: u64) -> Hash {
        Hash::leaf(&n.to_be_bytes())
    }

    /// The index of records `first` to `end`, whose members have ten bytes a record.
    fn index(first: u64, end: u64) -> Index {
        let mut before = Frontier::new();
        (0..first).for_each(|n| before.push(leaf(n)));
        let begins = |n: &u64| *n == first || n.is_multiple_of(GROUP);
        let members = (first..end).filter(begins).map(|n| (n - first) * 10).collect();
        Index { before, members, leaves: (first..end).map(leaf).collect() }
    }

    #[test]
    fn the_form_is_the_one_that_is_written_down() {
        let index = index(3, 5);
        let bytes = index.encode();
        let mut expected = b"AEGISIDX\0\0\0\x01".to_vec();
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2]);
        // The tree over three leaves has two perfect subtrees; one group begins at the object's first byte.
        for hash in [Hash::node(leaf(0), leaf(1)), leaf(2)] {
            expected.extend_from_slice(hash.as_bytes());
        }
        expected.extend_from_slice(&[0; 8]);
        for hash in [leaf(3), leaf(4)] {
            expected.extend_from_slice(hash.as_bytes());
        }
        assert_eq!(bytes, expected);
        assert_eq!(Index::parse(&bytes), Ok(index));
        for bad in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[], b"AEGISIDX"] {
            assert_eq!(Index::parse(bad), Err(IndexError::Malformed));
        }
    }

    #[test]
    fn a_record_lies_in_the_member_of_its_group() {
        let index = index(250, 600);
        assert_eq!(index.members, [0, 60, 2_620]);
        assert_eq!((0..3).map(|nth| index.records_in(nth)).collect::<Vec<_>>(), [6, 256, 88]);
        let place = |seq| index.place(seq, 3_500).map(|it| (it.bytes, it.nth));
        assert_eq!(place(250), Some((0..60, 0)));
        assert_eq!(place(256), Some((60..2_620, 0)));
        assert_eq!(place(599), Some((2_620..3_500, 87)));
        assert_eq!((place(249), place(600)), (None, None));
    }

    proptest! {
        #[test]
        fn indexes_prove_each_record_under_every_later_size(
            first in 0_u64..700, counts in proptest::collection::vec(1_u64..400, 1..4), at in 0_u64..400, more in 0_u64..1_200,
        ) {
            let (mut begin, mut indexes) = (first, Vec::new());
            for count in counts {
                indexes.push(index(begin, begin + count));
                begin += count;
            }
            let seq = first + at % indexes[0].leaves.len() as u64;
            let size = seq + 1 + more % (begin - seq);
            let all: Vec<Hash> = (0..size).map(leaf).collect();
            let indexes: Vec<&Index> = indexes.iter().collect();
            let found = path(&indexes, (seq, size)).unwrap();
            prop_assert!(includes(size, root(&all), (seq, leaf(seq)), &found));
            prop_assert_eq!(indexes[0].root(), root(&(0..indexes[0].size()).map(leaf).collect::<Vec<_>>()));
            prop_assert_eq!(path(&indexes, (seq, begin + 1)), None);
            let parsed = Index::parse(&indexes[0].encode()).unwrap();
            prop_assert_eq!(&parsed, indexes[0]);
        }

        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut begun = b"AEGISIDX\0\0\0\x01".to_vec();
            begun.extend_from_slice(&bytes);
            prop_assert!(Index::parse(&bytes).is_err());
            if let Ok(index) = Index::parse(&begun) {
                prop_assert_eq!(index.encode(), begun);
            }
        }
    }
}

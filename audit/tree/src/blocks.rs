//! Roots of the blocks of a growing tree: with the leaves of three blocks they make the path of any leaf.
//!
//! Not here: where leaves are read from. Invariant: 32 bytes are kept for every 4,096 leaves, and a path takes no more than the
//! leaves of the blocks that `Blocks::needed` names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::{Frontier, Hash, root};

/// Leaves of a block; a power of two.
const BLOCK: u64 = 4_096;

/// The tree from some leaf on.
#[derive(Clone, Debug)]
pub struct Blocks {
    block: u64,
    /// What stands before the first leaf that was pushed.
    before: Frontier,
    size: u64,
    /// The block under way, if all of it was pushed so far.
    open: Frontier,
    /// Of the whole blocks that were pushed.
    roots: Vec<Hash>,
}

impl Blocks {
    /// Begins behind these leaves.
    pub fn after(before: Frontier) -> Self {
        Self::of(before, BLOCK)
    }

    fn of(before: Frontier, block: u64) -> Self {
        let size = before.size();
        Self { block, before, size, open: Frontier::new(), roots: Vec::new() }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        if self.size >= self.first_whole() {
            self.open.push(leaf);
        }
        if self.open.size() == self.block {
            self.roots.push(self.open.root());
            self.open = Frontier::new();
        }
        self.size = self.size.saturating_add(1);
    }

    /// Where the first whole block begins that was pushed.
    fn first_whole(&self) -> u64 {
        self.before.size().next_multiple_of(self.block)
    }

    /// The leaves that must be read for the path of leaf `index` in the tree of `size`.
    pub fn needed(&self, index: u64, size: u64) -> BTreeSet<(u64, u64)> {
        let begins = self.before.size();
        let block = |leaf: u64| {
            let start = leaf.saturating_sub(leaf % self.block);
            (start.max(begins), start.saturating_add(self.block).min(size))
        };
        let ranges = [block(index), block(begins), block(size)];
        ranges.into_iter().filter(|(start, end)| start < end).collect()
    }

    /// The path of leaf `index` in the tree of `size`; `None` without the leaves it needs, by their numbers.
    pub fn path(&self, index: u64, size: u64, leaves: &BTreeMap<u64, Hash>) -> Option<Vec<Hash>> {
        if index >= size || size > self.size || index < self.before.size() {
            return None;
        }
        let (mut rest, mut path) = (0..size, Vec::new());
        while length(&rest) > 1 {
            let (left, right) = split(&rest);
            let (inside, beside) =
                if left.contains(&index) { (left, right) } else { (right, left) };
            path.push(self.root(beside, leaves)?);
            rest = inside;
        }
        path.reverse();
        Some(path)
    }

    fn root(&self, range: Range<u64>, leaves: &BTreeMap<u64, Hash>) -> Option<Hash> {
        let begins = self.before.size();
        if range.end <= begins {
            return self.peak(&range);
        }
        if range.start >= begins
            && length(&range) == self.block
            && range.start.is_multiple_of(self.block)
        {
            let nth = range.start.checked_sub(self.first_whole())? / self.block;
            return self.roots.get(usize::try_from(nth).ok()?).copied();
        }
        if range.start >= begins && length(&range) < self.block {
            let wanted = length(&range);
            let found: Vec<Hash> = leaves.range(range).map(|(_, leaf)| *leaf).collect();
            return (u64::try_from(found.len()) == Ok(wanted)).then(|| root(&found));
        }
        let (left, right) = split(&range);
        Some(Hash::node(self.root(left, leaves)?, self.root(right, leaves)?))
    }

    /// The root of one of the perfect subtrees before the first leaf.
    fn peak(&self, range: &Range<u64>) -> Option<Hash> {
        let (mut start, mut left) = (0_u64, self.before.size());
        for peak in self.before.peaks() {
            let end = start.checked_add(1_u64.checked_shl(left.checked_ilog2()?)?)?;
            if *range == (start..end) {
                return Some(*peak);
            }
            left = left.saturating_sub(end.saturating_sub(start));
            start = end;
        }
        None
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Where RFC 6962 parts a tree: the largest power of two below its size.
fn split(range: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let middle = range.start.saturating_add(length(range).div_ceil(2).next_power_of_two());
    (range.start..middle, middle..range.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inclusion_proof;

    #[test]
    fn a_path_from_blocks_is_that_of_all_leaves_wherever_the_log_begins() {
        let leaves: Vec<Hash> = (0..45_u32).map(|n| Hash::leaf(&n.to_be_bytes())).collect();
        for begins in 0..22 {
            let mut before = Frontier::new();
            leaves[..begins].iter().for_each(|leaf| before.push(*leaf));
            let mut blocks = Blocks::of(before, 8);
            leaves[begins..].iter().for_each(|leaf| blocks.push(*leaf));
            for size in begins + 1..=leaves.len() {
                for index in begins..size {
                    let needed = blocks.needed(index as u64, size as u64);
                    assert!(needed.len() <= 3);
                    let read = needed.into_iter().flat_map(|(start, end)| start..end);
                    let read = read.map(|at| (at, leaves[at as usize])).collect();
                    let path = blocks.path(index as u64, size as u64, &read);
                    assert_eq!(
                        path,
                        inclusion_proof(&leaves[..size], index),
                        "{begins} {index} {size}"
                    );
                }
            }
            assert_eq!(blocks.path(begins as u64, 46, &BTreeMap::new()), None);
        }
    }
}

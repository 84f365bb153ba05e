//! The RFC 6962 Merkle tree: roots of a growing log, inclusion and consistency proofs.
//!
//! Not here: what the leaves are (`record`) or who signs the root (`head`). Invariant: a tree of `n` leaves has
//! one root, whichever way it was computed.

mod blocks;

pub use blocks::Blocks;

use crate::Hash;

/// The right edge of a growing tree: enough to append and to tell the root, at most 64 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees, largest first: one for each bit set in `size`.
    peaks: Vec<Hash>,
}

impl Frontier {
    pub fn new() -> Self {
        Self { size: 0, peaks: Vec::with_capacity(64) }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree of that size with these peaks, if it has so many.
    pub fn of(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let is_whole = u32::try_from(peaks.len()) == Ok(size.count_ones());
        is_whole.then_some(Self { size, peaks })
    }

    /// Roots of its perfect subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    pub fn push(&mut self, leaf: Hash) {
        let mut peak = leaf;
        for _ in 0..self.size.trailing_ones() {
            peak = self.peaks.pop().map_or(peak, |left| Hash::node(left, peak));
        }
        self.peaks.push(peak);
        self.size = self.size.saturating_add(1);
    }

    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(smallest) = peaks.next() else { return Hash::empty_root() };
        peaks.fold(smallest, |right, left| Hash::node(left, right))
    }
}

/// The root over `leaves`.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// The path that proves leaf `index` under `root(leaves)` (RFC 6962 §2.1.1); `None` when there is no such leaf.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut rest, mut index, mut path) = (leaves, index, Vec::new());
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split_point(rest.len()));
        if index < left.len() {
            path.push(root(right));
            rest = left;
        } else {
            path.push(root(left));
            index -= left.len();
            rest = right;
        }
    }
    path.reverse();
    Some(path)
}

/// The hashes that prove `root(leaves)` extends the root of the first `old` (RFC 6962 §2.1.2); `None` when
/// `old` is zero or too large.
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let (mut rest, mut old, mut whole, mut path) = (leaves, old, true, Vec::new());
    while old < rest.len() {
        let (left, right) = rest.split_at(split_point(rest.len()));
        if old <= left.len() {
            path.push(root(right));
            rest = left;
        } else {
            path.push(root(left));
            old -= left.len();
            rest = right;
            whole = false;
        }
    }
    if !whole {
        path.push(root(rest));
    }
    path.reverse();
    Some(path)
}

/// The largest power of two below `len`, for `len` of at least two.
fn split_point(len: usize) -> usize {
    len.div_ceil(2).next_power_of_two()
}

/// Whether `proof` shows `leaf` at `index` in the tree (`size`, `root`); RFC 9162 §2.1.3.2.
pub fn includes(size: u64, root: Hash, (index, leaf): (u64, Hash), proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = Hash::node(*sibling, hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::node(hash, *sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether `proof` shows that the tree `new` extends the tree `old`, both (size, root); RFC 9162 §2.1.4.2.
pub fn extends(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == new_size {
        return old_root == new_root && proof.is_empty();
    }
    if old_size == 0 || old_size > new_size {
        return false;
    }
    let mut hashes = proof.iter().copied();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    let shift = at.trailing_ones();
    (at, last) = (at >> shift, last >> shift);
    let (mut seen_old, mut seen_new) = (first, first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            seen_old = Hash::node(hash, seen_old);
            seen_new = Hash::node(hash, seen_new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            seen_new = Hash::node(seen_new, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && seen_old == old_root && seen_new == new_root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MTH as RFC 6962 §2.1 writes it.
    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::empty_root(),
            [one] => *one,
            _ => {
                let mut k = 1;
                while k * 2 < leaves.len() {
                    k *= 2;
                }
                Hash::node(naive(&leaves[..k]), naive(&leaves[k..]))
            }
        }
    }

    /// PATH as RFC 6962 §2.1.1 writes it.
    fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        let (mut path, sibling) = if m < k {
            (naive_path(m, &leaves[..k]), naive(&leaves[k..]))
        } else {
            (naive_path(m - k, &leaves[k..]), naive(&leaves[..k]))
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF as RFC 6962 §2.1.2 writes it.
    fn naive_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![naive(leaves)] };
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        let (mut path, sibling) = if m <= k {
            (naive_subproof(m, &leaves[..k], whole), naive(&leaves[k..]))
        } else {
            (naive_subproof(m - k, &leaves[k..], false), naive(&leaves[..k]))
        };
        path.push(sibling);
        path
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|i| Hash::leaf(&i.to_be_bytes())).collect()
    }

    #[test]
    fn roots_and_proofs_are_those_of_the_rfc_for_every_size_to_300() {
        let all = leaves(300);
        for size in 0..=all.len() {
            let log = &all[..size];
            let head = (size as u64, naive(log));
            assert_eq!(root(log), head.1, "root of {size}");
            // Every 37th index, and the edges, for every size.
            for index in (0..size).filter(|i| i % 37 == 0 || i + 2 > size || *i < 2) {
                let proof = inclusion_proof(log, index).unwrap();
                assert_eq!(proof, naive_path(index, log), "inclusion {index}/{size}");
                assert!(includes(head.0, head.1, (index as u64, log[index]), &proof));
            }
            for old in (1..=size).filter(|i| i % 37 == 0 || i + 2 > size || *i < 3) {
                let proof = consistency_proof(log, old).unwrap();
                assert_eq!(proof, naive_subproof(old, log, true), "consistency {old}/{size}");
                assert!(extends((old as u64, naive(&all[..old])), head, &proof));
            }
            assert_eq!(inclusion_proof(log, size), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_proof_of_anything_else_is_refused(
            size in 2usize..300, at in 0usize..300, old in 1usize..300, pick in 0usize..16, bit in 0usize..256,
        ) {
            let log = leaves(size);
            let (index, old) = (at % size, 1 + old % (size - 1));
            let head = (size as u64, root(&log));
            let flip = |hash: Hash| {
                let mut bytes = *hash.as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                Hash::from_bytes(bytes)
            };

            let good = inclusion_proof(&log, index).unwrap();
            let leaf = (index as u64, log[index]);
            assert!(includes(head.0, head.1, leaf, &good));
            assert!(!includes(head.0, head.1, (leaf.0, flip(leaf.1)), &good));
            assert!(!includes(head.0, head.1, (((index + 1) % size) as u64, leaf.1), &good));
            assert!(!includes(head.0, flip(head.1), leaf, &good));
            let mut bad = good.clone();
            let n = pick % bad.len();
            bad[n] = flip(bad[n]);
            assert!(!includes(head.0, head.1, leaf, &bad));
            assert!(!includes(head.0, head.1, leaf, &good[1..]));

            let good = consistency_proof(&log, old).unwrap();
            let before = (old as u64, root(&log[..old]));
            assert!(extends(before, head, &good));
            assert!(!extends((before.0, flip(before.1)), head, &good));
            assert!(!extends(before, (head.0, flip(head.1)), &good));
            let mut longer = good.clone();
            longer.push(head.1);
            assert!(!extends(before, head, &longer));
        }
    }
}

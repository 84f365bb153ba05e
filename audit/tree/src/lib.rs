//! The RFC 6962 Merkle tree: its hashes, roots of a growing log, inclusion and consistency proofs.
//!
//! Pure. Not here: what the leaves are and who signs the root (`audit/chain`). Invariant: a tree of `n` leaves has
//! one root, whichever way it was computed.

mod blocks;
mod hash;

pub use blocks::Blocks;
pub use hash::{Hash, TEXT_BYTES};

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

    /// Takes leaves that go on where this tree ends; false, and nothing done, where they do not.
    pub fn extend(&mut self, stretch: &Stretch) -> bool {
        let goes_on = stretch.first == self.size;
        let mut roots = stretch.roots.iter();
        while goes_on && self.size < stretch.end {
            let (height, Some(root)) = (height(self.size, stretch.end), roots.next()) else {
                break;
            };
            let mut peak = *root;
            for _ in 0..(self.size >> height).trailing_ones() {
                peak = self.peaks.pop().map_or(peak, |left| Hash::node(left, peak));
            }
            self.peaks.push(peak);
            self.size = self.size.saturating_add(1 << height);
        }
        goes_on
    }

    pub fn root(&self) -> Hash {
        bag(&self.peaks)
    }
}

/// Leaves from the middle of a log, which go into the tree once all before them are there: `Frontier::extend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    first: u64,
    end: u64,
    /// Of the largest subtrees of the whole tree that lie within, from left to right.
    roots: Vec<Hash>,
}

impl Stretch {
    /// Begins behind that many leaves.
    pub fn after(first: u64) -> Self {
        Self { first, end: first, roots: Vec::new() }
    }

    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn push(&mut self, leaf: Hash) {
        let (index, next) = (self.end, self.end.saturating_add(1));
        // A left sibling of height h is here whole if 2^(h+1) leaves are, this one being the last of them.
        let whole = next.saturating_sub(self.first).checked_ilog2().unwrap_or(0);
        let mut root = leaf;
        for _ in 0..index.trailing_ones().min(whole) {
            root = self.roots.pop().map_or(root, |left| Hash::node(left, root));
        }
        self.roots.push(root);
        self.end = next;
    }
}

/// How high the largest subtree is that begins at leaf `at` and ends at or before `end`, which is behind it.
fn height(at: u64, end: u64) -> u32 {
    let fits = end.saturating_sub(at).checked_ilog2().unwrap_or(0);
    at.trailing_zeros().min(fits)
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

/// The hashes that, with the leaves at `wanted`, lead to `root(leaves)`: one for each largest subtree that holds none of
/// them, from left to right. `None` unless `wanted` rises and stays within the leaves.
pub fn subset_proof(leaves: &[Hash], wanted: &[usize]) -> Option<Vec<Hash>> {
    let rises =
        wanted.is_sorted_by(|a, b| a < b) && wanted.last().is_none_or(|at| *at < leaves.len());
    let mut proof = Vec::new();
    if rises && !leaves.is_empty() {
        prune(leaves, (0, wanted), &mut proof);
    }
    rises.then_some(proof)
}

fn prune(leaves: &[Hash], (first, wanted): (usize, &[usize]), proof: &mut Vec<Hash>) {
    if wanted.is_empty() {
        proof.push(root(leaves));
    } else if leaves.len() > 1 {
        let (left, right) = leaves.split_at(split_point(leaves.len()));
        let middle = first.saturating_add(left.len());
        let (here, there) = wanted.split_at(wanted.partition_point(|at| *at < middle));
        prune(left, (first, here), proof);
        prune(right, (middle, there), proof);
    }
}

/// The root of a tree of `size` leaves, of which these are known, by the hashes of `subset_proof`. `None` unless the leaves
/// rise and every hash is needed.
pub fn subset_root(size: u64, leaves: &[(u64, Hash)], proof: &[Hash]) -> Option<Hash> {
    let rises = leaves.is_sorted_by(|a, b| a.0 < b.0);
    if size == 0 || !rises || leaves.last().is_some_and(|last| last.0 >= size) {
        return None;
    }
    let mut proof = proof.iter().copied();
    let root = graft((0, size), leaves, &mut proof)?;
    proof.next().is_none().then_some(root)
}

/// As deep as the tree is high: at most 64.
fn graft(
    (first, size): (u64, u64),
    leaves: &[(u64, Hash)],
    proof: &mut impl Iterator<Item = Hash>,
) -> Option<Hash> {
    match leaves {
        [] => proof.next(),
        [(_, leaf)] if size == 1 => Some(*leaf),
        _ => {
            let left = 1_u64 << (size - 1).ilog2();
            let middle = first + left;
            let (here, there) = leaves.split_at(leaves.partition_point(|leaf| leaf.0 < middle));
            let left_root = graft((first, left), here, proof)?;
            let right_root = graft((middle, size - left), there, proof)?;
            Some(Hash::node(left_root, right_root))
        }
    }
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

/// The same from the old tree's right edge and the leaves after it, for whoever did not keep all leaves. `None` when the old
/// tree is empty.
pub fn growth_proof(old: &Frontier, newer: &[Hash]) -> Option<Vec<Hash>> {
    let (mut peaks, mut rest, mut path) = (old.peaks.as_slice(), newer, Vec::new());
    let mut left = usize::try_from(old.size).ok().filter(|left| *left > 0)?;
    let mut whole = true;
    while !rest.is_empty() {
        let split = split_point(left.checked_add(rest.len())?);
        match split.checked_sub(left) {
            // The old leaves are all in the left half.
            Some(more) => {
                let (inner, right) = rest.split_at_checked(more)?;
                path.push(root(right));
                rest = inner;
            }
            None => {
                let (first, others) = peaks.split_first()?;
                path.push(*first);
                (peaks, whole) = (others, false);
                left = left.checked_sub(split)?;
            }
        }
    }
    if !whole {
        path.push(bag(peaks));
    }
    path.reverse();
    Some(path)
}

/// The root over perfect subtrees, largest first.
fn bag(peaks: &[Hash]) -> Hash {
    let mut peaks = peaks.iter().rev().copied();
    let Some(smallest) = peaks.next() else { return Hash::empty_root() };
    peaks.fold(smallest, |right, left| Hash::node(left, right))
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
    if old.0 == new.0 {
        return old.1 == new.1 && proof.is_empty();
    }
    led_to(old, new.0, proof) == Some((old.1, new.1))
}

/// Whether `proof` shows that the tree `new` does *not* extend the tree `old`: it leads to the new root, and so tells what the first
/// records of that tree are, and they are others. A proof that leads elsewhere shows nothing. Nor does any where the old size is a
/// power of two, for then it leaves the old root to be filled in by whoever reads it.
pub fn contradicts(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    led_to(old, new.0, proof).is_some_and(|(seen, leads)| leads == new.1 && seen != old.1)
}

/// The roots of the smaller tree and of the larger that a proof leads to; RFC 9162 §2.1.4.2.
fn led_to(old: (u64, Hash), new_size: u64, proof: &[Hash]) -> Option<(Hash, Hash)> {
    let (old_size, old_root) = old;
    if old_size == 0 || old_size >= new_size {
        return None;
    }
    let mut hashes = proof.iter().copied();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let first = first?;
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    let shift = at.trailing_ones();
    (at, last) = (at >> shift, last >> shift);
    let (mut seen_old, mut seen_new) = (first, first);
    for hash in hashes {
        if last == 0 {
            return None;
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
    (last == 0).then_some((seen_old, seen_new))
}

#[cfg(test)]
mod tests;

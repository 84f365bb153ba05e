//! Our tree held against two that others wrote: `ct-merkle` and Cloudflare's `tlog_tiles`.
//!
//! Not here: notes and whole proofs as files (`audit/chain/tests/others.rs`). Invariant: a proof is believed by all three or by none,
//! whoever made it and whatever was changed in it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, also in what it is built from"
)]

use aegis_audit_tree::{Hash, consistency_proof, extends, includes, inclusion_proof, root};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;
use tlog_tiles::{check_record, check_tree};

const LEAVES_MAX: usize = 3_000;
/// Sizes at which the shape of a tree changes.
const EDGES: [usize; 11] = [1, 2, 3, 4, 7, 8, 9, 255, 256, 257, LEAVES_MAX];

type Theirs = MemoryBackedTree<Sha256, [u8; 8]>;

fn log(size: usize) -> (Vec<Hash>, Theirs) {
    let (mut ours, mut theirs) = (Vec::new(), Theirs::new());
    for n in 0..size {
        ours.push(Hash::leaf(&n.to_be_bytes()));
        theirs.push(n.to_be_bytes());
    }
    (ours, theirs)
}

fn tiles(hash: Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.as_bytes())
}

fn head(size: u64, root: Hash) -> RootHash<Sha256> {
    RootHash::new((*root.as_bytes()).into(), size)
}

fn concat(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    let (chunks, rest) = bytes.as_chunks::<32>();
    assert!(rest.is_empty());
    chunks.iter().map(|chunk| Hash::from_bytes(*chunk)).collect()
}

/// That a leaf, whose content is its number, is in a tree.
struct Inclusion {
    index: u64,
    size: u64,
    root: Hash,
}

/// That a tree extends another.
struct Consistency {
    old: (u64, Hash),
    new: (u64, Hash),
}

/// What can be proved by some hashes.
trait Claim {
    /// Whether ours, `tlog_tiles` and `ct-merkle` believe it.
    fn believed(&self, proof: &[Hash]) -> [bool; 3];
}

impl Claim for Inclusion {
    fn believed(&self, proof: &[Hash]) -> [bool; 3] {
        let Self { index, size, root } = *self;
        let leaf = Hash::leaf(&index.to_be_bytes());
        let path = proof.iter().map(|hash| tiles(*hash)).collect();
        let bytes = InclusionProof::try_from_bytes(concat(proof)).unwrap();
        [
            includes(size, root, (index, leaf), proof),
            check_record(&path, size, tiles(root), index, tiles(leaf)).is_ok(),
            head(size, root).verify_inclusion(&index.to_be_bytes(), index, &bytes).is_ok(),
        ]
    }
}

impl Claim for Consistency {
    fn believed(&self, proof: &[Hash]) -> [bool; 3] {
        let (old, new) = (self.old, self.new);
        let path = proof.iter().map(|hash| tiles(*hash)).collect();
        let bytes = ConsistencyProof::try_from_bytes(concat(proof)).unwrap();
        [
            extends(old, new, proof),
            check_tree(&path, new.0, tiles(new.1), old.0, tiles(old.1)).is_ok(),
            head(new.0, new.1).verify_consistency(&head(old.0, old.1), &bytes).is_ok(),
        ]
    }
}

const ALL: [bool; 3] = [true; 3];
const NONE: [bool; 3] = [false; 3];

fn flipped(hash: Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Hash::from_bytes(bytes)
}

/// Every proof that differs in one bit, or by one node dropped, repeated or swapped with the next.
fn tampered(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    let mut change = |change: &dyn Fn(&mut Vec<Hash>)| {
        let mut bad = proof.to_vec();
        change(&mut bad);
        all.push(bad);
    };
    for at in 0..proof.len() {
        (0..256).for_each(|bit| change(&|bad| bad[at] = flipped(bad[at], bit)));
        change(&|bad| bad.truncate(at));
        change(&|bad| bad.retain(|hash| *hash != proof[at]));
        change(&|bad| bad.insert(at, bad[at]));
        change(&|bad| bad.insert(at, Hash::ZERO));
        if at + 1 < proof.len() {
            change(&|bad| bad.swap(at, at + 1));
        }
    }
    change(&|bad| bad.push(Hash::empty_root()));
    all
}

/// A claim holds by its proof, and by nothing close to it.
fn holds_by_this_alone(claim: &dyn Claim, proof: &[Hash], what: &str) {
    assert_eq!(claim.believed(proof), ALL, "{what}");
    for bad in tampered(proof) {
        assert_eq!(claim.believed(&bad), NONE, "{what}: {bad:?}");
    }
}

fn check_proofs(size: usize, at: usize, old: usize) {
    let (log, theirs) = log(size);
    let (wide, top) = (size as u64, root(&log));

    let path = inclusion_proof(&log, at).unwrap();
    assert_eq!(hashes(theirs.prove_inclusion(at).as_bytes()), path);
    let inclusion = Inclusion { index: at as u64, size: wide, root: top };
    holds_by_this_alone(&inclusion, &path, &format!("leaf {at} of {size}"));

    let growth = consistency_proof(&log, old).unwrap();
    assert_eq!(hashes(theirs.prove_consistency(size - old).as_bytes()), growth);
    let consistency = Consistency { old: (old as u64, root(&log[..old])), new: (wide, top) };
    holds_by_this_alone(&consistency, &growth, &format!("{size} extends {old}"));
}

#[test]
fn every_root_up_to_three_thousand_leaves_is_theirs() {
    let (mut ours, mut theirs) = (aegis_audit_tree::Frontier::new(), Theirs::new());
    for n in 0..=LEAVES_MAX {
        let root = theirs.root();
        assert_eq!((ours.size(), ours.root()), (root.num_leaves(), hashes(root.as_bytes())[0]));
        ours.push(Hash::leaf(&n.to_be_bytes()));
        theirs.push(n.to_be_bytes());
    }
}

#[test]
fn at_the_edges_of_a_tree_a_proof_holds_in_all_three_and_no_change_of_it_does_in_any() {
    for size in EDGES {
        for at in [0, size / 2, size - 1] {
            check_proofs(size, at, at + 1);
        }
    }
}

/// The root that a path leads to in a tree of any size, as RFC 6962 §2.1.1 puts it; `None` for one of another length.
fn led_to((index, size): (u64, u64), leaf: Hash, path: &[Hash]) -> Option<Hash> {
    let Some((sibling, below)) = path.split_last() else { return (size == 1).then_some(leaf) };
    let left = 1_u64 << size.checked_sub(1)?.checked_ilog2()?;
    if index < left {
        led_to((index, left), leaf, below).map(|root| Hash::node(root, *sibling))
    } else {
        let inner = led_to((index - left, size - left), leaf, below)?;
        Some(Hash::node(*sibling, inner))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_proof_holds_in_all_three_and_no_change_of_it_does_in_any(
        size in 1..=LEAVES_MAX, at in 0..LEAVES_MAX, old in 0..LEAVES_MAX,
    ) {
        check_proofs(size, at % size, 1 + old % size);
    }
}

proptest! {
    #[test]
    fn claims_of_another_place_size_or_root_are_answered_alike(
        size in 1_u64..400, index in 0_u64..400, old in 0_u64..400, claimed in 0_u64..402, bit in 0_usize..256,
    ) {
        let (log, _) = log(usize::try_from(size).unwrap());
        let (index, old) = (index % size, 1 + old % size);
        let top = root(&log);
        let path = inclusion_proof(&log, usize::try_from(index).unwrap()).unwrap();
        // One path can stand for several sizes (`ct-merkle` says so too); all must agree which.
        for (index, size, root) in
            [(claimed, size, top), (index, claimed, top), (index, size, flipped(top, bit))]
        {
            let [ours, tiles, theirs] = Inclusion { index, size, root }.believed(&path);
            prop_assert_eq!((ours, ours), (tiles, theirs), "leaf {} of {}", index, size);
        }
        let before = root(&log[..usize::try_from(old).unwrap()]);
        let growth = consistency_proof(&log, usize::try_from(old).unwrap()).unwrap();
        for (old, new) in [
            ((claimed, before), (size, top)),
            ((old, before), (claimed, top)),
            ((old, flipped(before, bit)), (size, top)),
            ((old, before), (size, flipped(top, bit))),
        ] {
            let [ours, tiles, theirs] = Consistency { old, new }.believed(&growth);
            prop_assert_eq!((ours, ours), (tiles, theirs), "{:?} from {:?}", new, old);
        }
    }

    #[test]
    fn trees_that_nobody_can_hold_are_judged_by_the_same_rule(
        size in prop_oneof![1_u64..=1 << 62, (0_u32..62).prop_map(|power| (1 << power) + 1)],
        index in any::<u64>(), length in 0_usize..70, seed in any::<u64>(),
    ) {
        let index = index % size;
        let node = |n: usize| Hash::leaf(format!("{seed} {n}").as_bytes());
        let long: Vec<Hash> = (0..64).map(node).collect();
        let leaf = Hash::leaf(&index.to_be_bytes());
        let right = (0..=64).find_map(|n| Some((n, led_to((index, size), leaf, &long[..n])?)));
        let (count, root) = right.unwrap();
        let claim = Inclusion { index, size, root };
        prop_assert_eq!(claim.believed(&long[..count]), ALL);
        let other: Vec<Hash> = (0..length).map(node).collect();
        prop_assert_eq!(claim.believed(&other)[0], length == count);
    }
}

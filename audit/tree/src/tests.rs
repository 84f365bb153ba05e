//! The tree against the definition of RFC 6962, written down as it stands there, and against proofs that were changed.
//!
//! Not here: records (`audit/chain`). Invariant: what is expected is computed another way than what is tested.

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
            let mut edge = Frontier::new();
            log[..old].iter().for_each(|leaf| edge.push(*leaf));
            assert_eq!(growth_proof(&edge, &log[old..]), Some(proof.clone()), "{old}/{size}");
            assert!(extends((old as u64, naive(&all[..old])), head, &proof));
        }
        assert_eq!(inclusion_proof(log, size), None);
    }
}

proptest::proptest! {
    #[test]
    fn a_tree_grows_by_stretches_as_it_does_by_leaves(
        cuts in proptest::collection::vec(0usize..90, 0..8),
    ) {
        let (mut by_leaf, mut by_stretch) = (Frontier::new(), Frontier::new());
        let all = leaves(cuts.iter().sum());
        for cut in cuts {
            let at = usize::try_from(by_leaf.size()).unwrap();
            let mut stretch = Stretch::after(by_leaf.size());
            for leaf in &all[at..at + cut] {
                stretch.push(*leaf);
                by_leaf.push(*leaf);
            }
            assert!(by_stretch.extend(&stretch));
            assert_eq!(by_stretch, by_leaf);
            let elsewhere = Stretch::after(by_leaf.size() + 1);
            assert!(!by_stretch.extend(&elsewhere));
        }
    }

    #[test]
    fn any_leaves_lead_to_the_root_and_no_others_do(
        size in 1usize..200, picks in proptest::collection::btree_set(0usize..200, 0..40), bit in 0usize..256,
    ) {
        let log = leaves(size);
        let wanted: Vec<usize> = picks.into_iter().filter(|at| *at < size).collect();
        let proof = subset_proof(&log, &wanted).unwrap();
        let known: Vec<(u64, Hash)> = wanted.iter().map(|at| (*at as u64, log[*at])).collect();
        let size = size as u64;
        assert_eq!(subset_root(size, &known, &proof), Some(root(&log)));
        if wanted.len() == 1 {
            let mut path = inclusion_proof(&log, wanted[0]).unwrap();
            path.sort_unstable();
            let mut same = proof.clone();
            same.sort_unstable();
            assert_eq!(same, path);
        }

        assert_eq!(subset_root(size, &known, &[proof.clone(), vec![log[0]]].concat()), None);
        if let Some((last, rest)) = known.split_last() {
            assert_ne!(subset_root(size, rest, &proof), Some(root(&log)));
            let mut bytes = *last.1.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let other = [rest, &[(last.0, Hash::from_bytes(bytes))]].concat();
            assert_ne!(subset_root(size, &other, &proof), Some(root(&log)));
            assert_eq!(subset_root(last.0, &known, &proof), None);
            assert_eq!(subset_root(size, &[known.clone(), vec![*last]].concat(), &proof), None);
        }
    }

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
        assert!(!contradicts(before, head, &good));
        // Of another history it tells so, except where the proof leaves the old root out.
        let tells = !old.is_power_of_two() && old < size;
        assert_eq!(contradicts((before.0, flip(before.1)), head, &good), tells);
        assert!(!contradicts((before.0, flip(before.1)), (head.0, flip(head.1)), &good));
        let mut longer = good.clone();
        longer.push(head.1);
        assert!(!extends(before, head, &longer));
    }
}

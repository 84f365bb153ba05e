//! Cloudflare's `signed_note` and `tlog_tiles`, unmodified, over the published log and over roots and proofs of our trees;
//! twelve changes that fail in ours and in theirs.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and it reads the published files"
)]

use std::fs;
use std::path::PathBuf;

use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::{Hash, Head, tree};
use aegis_audit_proof::Proof;
use aegis_audit_trust::Trust;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint, check_record, check_tree, record_hash};

fn published(name: &str) -> String {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/audit");
    fs::read_to_string(vectors.join(name)).unwrap()
}

/// Their answer to a note: its text, if the key signed it.
fn theirs(vkey: &str, note: &str) -> Option<String> {
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).ok()?)]);
    let note = Note::from_bytes(note.as_bytes()).ok()?;
    note.verify(&known).ok()?;
    String::from_utf8(note.text().to_vec()).ok()
}

/// The key that the published birth note names.
fn stream_key(proof: &Proof) -> String {
    proof.birth.lines().nth(2).unwrap().to_owned()
}

/// The whole of a proof's check, with their code only.
fn they_believe(text: &str, trust: &str) -> bool {
    let Ok(proof) = Proof::parse(text) else { return false };
    let region = trust.split_whitespace().nth(1).unwrap();
    let Some(birth) = theirs(region, &proof.birth) else { return false };
    let key = stream_key(&proof);
    let Some(checkpoint) = theirs(&key, &proof.checkpoint).filter(|_| birth.contains(&key)) else {
        return false;
    };
    let Ok(checkpoint) = Checkpoint::from_bytes(checkpoint.as_bytes()) else { return false };
    let path = proof.path.iter().map(theirs_hash).collect();
    let leaf = record_hash(&proof.record);
    check_record(&path, checkpoint.size(), *checkpoint.hash(), proof.index, leaf).is_ok()
}

fn theirs_hash(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.as_bytes())
}

#[test]
fn their_verifier_opens_every_published_note_and_believes_the_published_proof() {
    let trust = published("trust.policy");
    let region = trust.split_whitespace().nth(1).unwrap();
    let proof = Proof::parse(&published("decision-2.tlog-proof")).unwrap();
    let stream = stream_key(&proof);
    let head =
        published("region/streams/gw-1/00000000000000000001/heads/00000000000000000008.note");
    let registry = published("region/registry/1/heads/00000000000000000006.note");
    for (key, note, size) in [(stream.as_str(), head, 8), (region, registry, 6)] {
        let text = theirs(key, &note).unwrap();
        assert_eq!(Checkpoint::from_bytes(text.as_bytes()).unwrap().size(), size);
    }
    for birth in ["registry/1", "streams/gw-1/00000000000000000001"] {
        assert!(theirs(region, &published(&format!("region/{birth}/genesis.note"))).is_some());
    }
    assert!(they_believe(&proof.to_text(), &trust));
}

#[test]
fn twelve_changes_to_a_proof_fail_in_both() {
    let trust_text = published("trust.policy");
    let trust = Trust::parse(&trust_text).unwrap();
    let text = published("decision-2.tlog-proof");
    let good = Proof::parse(&text).unwrap();
    let with = |change: &dyn Fn(&mut Proof)| {
        let mut proof = good.clone();
        change(&mut proof);
        proof.to_text()
    };
    let (root, zero) = (good.checkpoint.lines().nth(2).unwrap(), Hash::ZERO.standard());
    let changes = [
        ("a bit of the record", with(&|proof| proof.record.reverse())),
        ("two hashes swapped", with(&|proof| proof.path.swap(0, 1))),
        ("a hash dropped", with(&|proof| proof.path.truncate(2))),
        ("a hash more", with(&|proof| proof.path.push(Hash::ZERO))),
        ("another index", with(&|proof| proof.index = 3)),
        ("an index beyond the tree", with(&|proof| proof.index = 8)),
        ("an extra byte", with(&|proof| proof.record.push(b' '))),
        (
            "another size",
            with(&|proof| proof.checkpoint = proof.checkpoint.replace("\n8\n", "\n9\n")),
        ),
        (
            "another origin",
            with(&|proof| proof.checkpoint = proof.checkpoint.replace("gw-1/1\n", "gw-1/2\n")),
        ),
        (
            "another key's birth note",
            with(&|proof| proof.birth = proof.birth.replace("+AYE5", "+AYE6")),
        ),
        ("another root", with(&|proof| proof.checkpoint = proof.checkpoint.replace(root, &zero))),
        ("base64 without its padding", text.replace("=\n\n\u{2014}", "\n\n\u{2014}")),
    ];
    for (name, text) in &changes {
        assert_ne!(*text, good.to_text(), "{name}");
        let ours = Proof::parse(text).is_ok_and(|proof| proof.check(&trust).is_ok());
        let theirs = they_believe(text, &trust_text);
        assert_eq!((ours, theirs), (false, false), "{name}");
    }
}

#[test]
fn our_keys_are_their_keys_and_our_proofs_are_believed_for_every_small_size() {
    let trust = published("trust.policy");
    let vkey = trust.split_whitespace().nth(1).unwrap();
    assert_eq!(Verifier::parse(vkey).unwrap().to_string(), vkey);
    assert!(StandardVerifier::new(vkey).is_ok());
    let leaves: Vec<Hash> = (0..64_u64).map(|n| Hash::leaf(&n.to_be_bytes())).collect();
    for size in 1..=leaves.len() {
        let log = leaves.get(..size).unwrap();
        let (wide, root) = (size as u64, theirs_hash(&tree::root(log)));
        for index in 0..size {
            let path = tree::inclusion_proof(log, index).unwrap();
            let path = path.iter().map(theirs_hash).collect();
            let leaf = theirs_hash(log.get(index).unwrap());
            assert!(check_record(&path, wide, root, index as u64, leaf).is_ok(), "{index}/{size}");
            let old = index + 1;
            let path = tree::consistency_proof(log, old).unwrap();
            let path = path.iter().map(theirs_hash).collect();
            let before = theirs_hash(&tree::root(log.get(..old).unwrap()));
            assert!(check_tree(&path, wide, root, old as u64, before).is_ok(), "{old}/{size}");
        }
    }
    let origin = "aegis.example/eu-west-1/gw-1/1";
    let text = format!("{origin}\n7\n{}\n", Hash::ZERO.standard());
    assert!(Head::parse(&text).is_some() && Checkpoint::from_bytes(text.as_bytes()).is_ok());
}

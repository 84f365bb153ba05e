//! Signed notes, keys, checkpoints, cosignatures, submissions to a witness, and trust files.
//!
//! Not here: manifests (`segments`), proofs (`proofs`). Invariant: no key but the given one makes a text count.

use aegis_audit_chain::cosignature::{Cosigner, Witness};
use aegis_audit_chain::note::{SecretKey, Verifier, split};
use aegis_audit_chain::submission::Submission;
use aegis_audit_chain::{Head, Origin, birth_note, birth_text, born_stream, tree};
use aegis_audit_trust::Trust;
use aegis_domain::Timestamp;
use aegis_hostile::attack;

use super::{bytes, leaves, published, region, stream, stream_key, text};

fn head(size: u64) -> Head {
    Head { origin: stream(), size, root: tree::root(&leaves(size)) }
}

fn cosigner(name: &str, seed: u8) -> Cosigner {
    Cosigner::new(name, SecretKey::from_seed(&[seed; 32])).unwrap()
}

#[test]
fn a_note_counts_for_the_texts_that_were_signed_and_no_others() {
    let key = stream_key();
    let heads = [head(0), head(7), head(4_000)];
    let signed = heads.clone().map(|head| head.checkpoint());
    let witness = cosigner("w.example/1", 3);
    let cosigned = heads[1].note(&key) + &witness.line(&signed[1], Timestamp::from_unix_s(9));
    let [none, few, many] = heads.map(|head| head.note(&key));
    attack(&bytes([none, few, many, cosigned]), |input| {
        let Some(note) = text(input) else { return };
        if let Ok(opened) = key.verifier().open(note) {
            assert!(signed.iter().any(|text| *text == opened), "{opened}");
            assert!(Head::open(note, key.verifier()).is_ok());
        }
        if let Ok((text, lines)) = split(note) {
            assert_eq!(format!("{text}\n{lines}"), note);
        }
    });
}

#[test]
fn a_checkpoint_has_one_spelling() {
    let texts = [head(0), head(7), Head { size: u64::MAX, ..head(9) }];
    attack(&bytes(texts.map(|head| head.checkpoint())), |input| {
        if let Some((text, head)) = text(input).and_then(|text| Some((text, Head::parse(text)?))) {
            assert_eq!(head.checkpoint(), text);
        }
    });
}

#[test]
fn an_origin_is_safe_in_a_path() {
    let names = ["aegis.example/eu-west-1/gw-1/7", "a/b/registry.gw-1/18446744073709551615"];
    attack(&bytes(names), |input| {
        if let Some(Ok(origin)) = text(input).map(Origin::parse) {
            assert_eq!(origin.as_str().as_bytes(), input);
            assert!(input.len() <= Origin::MAX_BYTES);
            let parts: Vec<&str> = origin.as_str().split('/').collect();
            assert_eq!(parts.len(), 4);
            assert!(parts.iter().all(|part| !part.is_empty() && *part != "." && *part != ".."));
            assert_eq!(parts[3], origin.incarnation().to_string());
        }
    });
}

#[test]
fn a_key_has_one_spelling() {
    let (log, witness) = (region().verifier().to_string(), cosigner("w.example/1", 3));
    attack(&bytes([log, witness.witness().to_string()]), |input| {
        let Some(text) = text(input) else { return };
        if let Ok(key) = Verifier::parse(text) {
            assert_eq!(key.to_string(), text);
        }
        if let Ok(witness) = Witness::parse(text) {
            assert_eq!(witness.to_string(), text);
        }
    });
}

#[test]
fn a_birth_note_has_one_text_for_one_key() {
    let key = stream_key();
    let born = birth_text(key.verifier());
    attack(&bytes([born.clone(), birth_note(key.verifier(), &region())]), |input| {
        let Some(text) = text(input) else { return };
        if let Some(stream) = born_stream(text) {
            assert_eq!(birth_text(&stream), text);
        }
        if let Ok(opened) = region().verifier().open(text) {
            assert_eq!(opened, born);
        }
    });
}

#[test]
fn a_cosignature_says_when_it_was_made_and_nothing_else() {
    let (one, two) = (cosigner("w.example/1", 3), cosigner("w.example/2", 4));
    let (head, times) = (head(7).checkpoint(), [5, 1 << 33].map(Timestamp::from_unix_s));
    let lines = one.line(&head, times[0]) + &two.line(&head, times[1]);
    let twice = lines.clone() + &one.line(&head, times[1]);
    attack(&bytes([lines, twice]), |input| {
        let Some(lines) = text(input) else { return };
        for witness in [one.witness(), two.witness()] {
            if let Ok(Some(at)) = witness.cosigned_at(&head, lines) {
                assert!(times.contains(&at));
            }
        }
    });
}

#[test]
fn a_submission_has_one_spelling_and_a_proof_that_a_tree_can_have() {
    let (log, key) = (leaves(4_000), stream_key());
    let body = |old: usize| {
        let proof = tree::consistency_proof(&log, old).unwrap_or_default();
        let note = head(4_000).note(&key);
        Submission { old: old as u64, proof, note: &note }.to_string()
    };
    attack(&bytes([body(0), body(1), body(3_333)]), |input| {
        let Some(body) = text(input) else { return };
        if let Some(read) = Submission::parse(body) {
            assert_eq!(read.to_string(), body);
            assert!(read.proof.len() <= 63);
        }
    });
}

#[test]
fn a_trust_file_says_the_same_when_it_is_written_anew() {
    let mut groups = published("trust.policy").replace("quorum none\n", "");
    for (n, name) in ["one", "two", "three"].iter().enumerate() {
        let witness = cosigner(&format!("w.example/{name}"), 3 + n as u8);
        groups += &format!("witness {name} {} https://w.example/{name}\n", witness.witness());
    }
    let all = format!("{groups}group most 2 one two three\nquorum most\n");
    let nested = format!("{groups}group x any one two\ngroup y all x three\nquorum y\n");
    attack(&bytes([published("trust.policy"), all, nested]), |input| {
        if let Some(Ok(trust)) = text(input).map(Trust::parse) {
            let written = trust.to_string();
            assert_eq!(Trust::parse(&written), Ok(trust), "{written:?}");
        }
    });
}

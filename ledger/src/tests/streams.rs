//! Audit streams and their heads.
//!
//! Not here: records. Invariant: heads are signed by real keys over real trees.

use super::*;

const ORIGIN: &str = "aegis.example/eu-west-1/gw-1/1";

fn signer(seed: u8) -> Signer {
    Signer::new(ORIGIN, SecretKey::from_seed(&[seed; 32]))
}

fn leaves(count: usize, last: &[u8]) -> Vec<Hash> {
    let mut leaves: Vec<_> = (0..count).map(|number| Hash::leaf(&number.to_be_bytes())).collect();
    if let Some(leaf) = leaves.last_mut().filter(|_| !last.is_empty()) {
        *leaf = Hash::leaf(last);
    }
    leaves
}

fn anchor(signer: &Signer, leaves: &[Hash], from: usize) -> Action {
    let origin = Origin::parse(ORIGIN).unwrap();
    let size = leaves.len().try_into().unwrap();
    let head = Head { origin, size, root: tree::root(leaves) };
    let proof = tree::consistency_proof(leaves, from).unwrap_or_default();
    let note = head.note(signer).into();
    Action::Stream(StreamAct::Anchor { note, origin: ORIGIN.into(), proof })
}

fn begun() -> Desk {
    begun_in(Desk::default())
}

fn begun_in(mut desk: Desk) -> Desk {
    let key = signer(1).verifier().to_string().into();
    desk.act(Action::Stream(StreamAct::Begin { key }), at(0)).unwrap();
    desk
}

fn stream(desk: &Desk) -> &Stream {
    desk.ledger.streams().get(&Origin::parse(ORIGIN).unwrap()).unwrap()
}

fn note(action: &Action) -> &str {
    let Action::Stream(StreamAct::Anchor { note, .. }) = action else { unreachable!() };
    note
}

/// The same records but for one.
fn forked(count: usize, at: usize) -> Vec<Hash> {
    let mut other = leaves(count, b"");
    other[at] = Hash::leaf(b"changed");
    other
}

fn refused(refusal: StreamRefusal) -> Answer {
    Err(Refusal::Stream(refusal))
}

#[test]
fn a_head_is_anchored_if_it_is_signed_and_extends_the_one_before() {
    let mut desk = begun();
    assert_eq!(
        desk.act(anchor(&signer(2), &leaves(3, b""), 0), at(1)),
        refused(StreamRefusal::Unsigned)
    );
    desk.act(anchor(&signer(1), &leaves(3, b""), 0), at(1)).unwrap();
    desk.act(anchor(&signer(1), &leaves(7, b""), 3), at(2)).unwrap();
    desk.act(anchor(&signer(1), &leaves(7, b""), 3), at(3)).unwrap();
    let stream =
        |desk: &Desk| desk.ledger.streams().get(&Origin::parse(ORIGIN).unwrap()).unwrap().clone();
    assert_eq!(stream(&desk).size(), 7);
    // Another history of more records: no proof can show that it extends this one.
    let mut other = leaves(9, b"");
    other[2] = Hash::leaf(b"changed");
    assert_eq!(desk.act(anchor(&signer(1), &other, 7), at(4)), refused(StreamRefusal::NotProven));
    assert_eq!(
        desk.act(anchor(&signer(1), &leaves(5, b""), 3), at(5)),
        refused(StreamRefusal::NotAhead)
    );
    assert!(stream(&desk).evidence().is_empty());
    desk.act(Action::Stream(StreamAct::End { origin: ORIGIN.into() }), at(6)).unwrap();
    assert_eq!(
        desk.act(anchor(&signer(1), &leaves(9, b""), 7), at(7)),
        refused(StreamRefusal::Ended)
    );
}

#[test]
fn two_heads_of_one_size_are_kept_as_evidence_also_when_the_stream_has_moved_on() {
    let mut desk = begun();
    desk.act(anchor(&signer(1), &leaves(3, b""), 0), at(1)).unwrap();
    desk.act(anchor(&signer(1), &leaves(7, b""), 3), at(2)).unwrap();
    let other = leaves(3, b"another record");
    let head = Head { origin: Origin::parse(ORIGIN).unwrap(), size: 3, root: tree::root(&other) };
    let is_news =
        |desk: &Desk| desk.ledger.streams().get(&head.origin).unwrap().is_news_against(&head, &[]);
    assert!(is_news(&desk));
    let lie = anchor(&signer(1), &other, 0);
    assert_eq!(desk.act(lie.clone(), at(3)), refused(StreamRefusal::Conflict));
    assert!(!is_news(&desk), "it is kept already");
    let stream = desk.ledger.streams().get(&Origin::parse(ORIGIN).unwrap()).unwrap();
    let [evidence] = stream.evidence() else { panic!("{:?}", stream.evidence()) };
    let Action::Stream(StreamAct::Anchor { note, .. }) = lie else { unreachable!() };
    assert_eq!(evidence.conflicting, note);
    assert_ne!(evidence.anchored, note);
    assert_eq!(stream.size(), 7, "the stream itself goes on");
}

#[test]
fn a_stream_begins_once_under_a_key_of_its_own_name() {
    let mut desk = begun();
    let begin = |key: String| Action::Stream(StreamAct::Begin { key: key.into() });
    let again = signer(2).verifier().to_string();
    assert_eq!(desk.act(begin(again), at(1)), refused(StreamRefusal::Exists));
    let nameless = SecretKey::from_seed(&[3; 32]).verifier("not-an-origin").to_string();
    assert_eq!(desk.act(begin(nameless), at(1)), refused(StreamRefusal::Key));
    let unknown = Action::Stream(StreamAct::End { origin: "a/b/c/1".into() });
    assert_eq!(desk.act(unknown, at(1)), refused(StreamRefusal::Unknown));
}

#[test]
fn two_heads_of_different_sizes_are_evidence_where_a_proof_shows_that_they_contradict_each_other() {
    let mut desk = begun_in(founded());
    desk.act(anchor(&signer(1), &leaves(7, b""), 0), at(1)).unwrap();
    desk.act(anchor(&signer(1), &leaves(13, b""), 7), at(2)).unwrap();
    let conflict = refused(StreamRefusal::Conflict);
    // Larger than the newest, and larger than one that is remembered, and smaller than the newest.
    let larger = anchor(&signer(1), &forked(20, 2), 13);
    let between = anchor(&signer(1), &forked(11, 2), 7);
    let head =
        Head { origin: Origin::parse(ORIGIN).unwrap(), size: 5, root: tree::root(&forked(5, 2)) };
    let proof = tree::consistency_proof(&leaves(13, b""), 5).unwrap();
    assert!(stream(&desk).is_news_against(&head, &proof));
    assert!(!stream(&desk).is_news_against(&head, &[]), "by itself it shows nothing");
    let smaller = StreamAct::Anchor {
        note: head.note(&signer(1)).into(),
        origin: ORIGIN.into(),
        proof: proof.clone(),
    };
    let smaller = Action::Stream(smaller);
    for (number, lie) in [&larger, &between, &smaller].into_iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(desk.act(lie.clone(), at(3)), conflict);
        }
        assert_eq!(stream(&desk).evidence().len(), number + 1, "said again, kept once");
        assert_eq!(*stream(&desk).evidence()[number].conflicting, *note(lie));
    }
    assert!(!stream(&desk).is_news_against(&head, &proof));
    // Whoever has the key can check it: the larger head's root is what the proof leads to, and not from the smaller one's.
    for kept in stream(&desk).evidence() {
        let open = |note: &str| Head::open(note, signer(1).verifier()).unwrap();
        let mut heads =
            [open(&kept.anchored), open(&kept.conflicting)].map(|it| (it.size, it.root));
        heads.sort_by_key(|(size, _)| *size);
        assert!(tree::contradicts(heads[0], heads[1], &kept.proof), "{kept:?}");
    }
    assert!(stream(&desk).doubts().is_empty());
    desk.act(anchor(&signer(1), &leaves(20, b""), 13), at(4)).unwrap();
    assert_eq!(stream(&desk).size(), 20, "the stream itself goes on");
    let many = (0..40).map(|number| anchor(&signer(1), &forked(30 + number, 2), 20));
    for lie in many {
        assert_eq!(desk.act(lie, at(5)), conflict);
    }
    assert_eq!(stream(&desk).evidence().len(), 16, "bounded");
    let text = serde_json::to_string(&desk.ledger).unwrap();
    assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), desk.ledger);
}

#[test]
fn a_true_head_convicts_nobody_whatever_proof_it_is_brought_with() {
    let (all, mut sizes) = (leaves(40, b""), Vec::new());
    let mut desk = begun_in(founded());
    for size in [3, 8, 13, 16, 21] {
        let from = sizes.last().copied().unwrap_or_default();
        desk.act(anchor(&signer(1), &all[..size], from), at(1)).unwrap();
        sizes.push(size);
    }
    for size in 1..=40_usize {
        for whole in 1..=40 {
            for from in 1..=whole {
                let proof = tree::consistency_proof(&all[..whole], from).unwrap_or_default();
                let head = Head {
                    origin: Origin::parse(ORIGIN).unwrap(),
                    size: size.try_into().unwrap(),
                    root: tree::root(&all[..size]),
                };
                assert!(!stream(&desk).is_news_against(&head, &proof), "{size} {whole} {from}");
            }
        }
    }
}

#[test]
fn a_signed_head_with_a_proof_that_shows_nothing_is_a_doubt_until_it_is_anchored() {
    let mut desk = begun_in(founded());
    desk.act(anchor(&signer(1), &leaves(7, b""), 0), at(1)).unwrap();
    desk.act(anchor(&signer(1), &leaves(8, b""), 7), at(1)).unwrap();
    let (origin, proof) = (ORIGIN.into(), vec![Hash::ZERO; 2]);
    let bad = |honest: &Action| {
        let (note, origin) = (note(honest).into(), Box::clone(&origin));
        Action::Stream(StreamAct::Anchor { note, origin, proof: proof.clone() })
    };
    let unproven = refused(StreamRefusal::NotProven);
    let honest = anchor(&signer(1), &leaves(10, b""), 8);
    for _ in 0..2 {
        assert_eq!(desk.act(bad(&honest), at(2)), unproven);
    }
    let [doubt] = stream(&desk).doubts() else { panic!("{:?}", stream(&desk).doubts()) };
    assert_eq!(*doubt.doubted, *note(&honest));
    // A proof from a size that is a power of two leaves the old root out, so a fork of there is no more than a doubt.
    let lie = anchor(&signer(1), &forked(11, 2), 8);
    assert_eq!(desk.act(lie, at(2)), unproven);
    // Somebody else was faster: from where it was sent its proof is good.
    desk.act(anchor(&signer(1), &leaves(9, b""), 8), at(2)).unwrap();
    assert_eq!(desk.act(anchor(&signer(1), &leaves(12, b""), 8), at(2)), unproven);
    assert_eq!(stream(&desk).doubts().len(), 2);
    desk.act(anchor(&signer(1), &leaves(10, b""), 9), at(3)).unwrap();
    assert_eq!(stream(&desk).doubts().len(), 1, "it was true");
    assert!(stream(&desk).evidence().is_empty());

    for number in 0..9 {
        assert_eq!(
            desk.act(bad(&anchor(&signer(1), &leaves(30 + number, b""), 10)), at(4)),
            unproven
        );
    }
    let first = stream(&desk).doubts()[0].clone();
    assert_eq!(stream(&desk).doubts().len(), 4, "bounded");
    let late = anchor(&signer(1), &leaves(50, b""), 10);
    assert_eq!(desk.act(bad(&late), at(86_402)), unproven);
    let doubts = stream(&desk).doubts();
    assert!(doubts.len() == 4 && !doubts.contains(&first), "what is a day old gives way");
    assert_eq!(*doubts[3].doubted, *note(&late));
}

#[test]
fn until_the_level_is_raised_nothing_is_kept_of_heads_of_different_sizes() {
    let mut desk = begun_in(founded_at(WEIGHS_PROOFS - 1));
    desk.act(anchor(&signer(1), &leaves(7, b""), 0), at(1)).unwrap();
    let lie = anchor(&signer(1), &forked(9, 2), 7);
    assert_eq!(desk.act(lie, at(2)), refused(StreamRefusal::NotProven));
    assert!(stream(&desk).evidence().is_empty() && stream(&desk).doubts().is_empty());
    let text = serde_json::to_string(stream(&desk)).unwrap();
    assert!(!text.contains("doubts"), "voters of before cannot read it: {text}");
}

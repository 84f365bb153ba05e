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
    let mut desk = Desk::default();
    let key = signer(1).verifier().to_string().into();
    desk.act(Action::Stream(StreamAct::Begin { key }), at(0)).unwrap();
    desk
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
        |desk: &Desk| desk.ledger.streams().get(&head.origin).unwrap().is_news_against(&head);
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

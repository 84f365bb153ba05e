//! Proofs of a stream whose key was revoked: under the head that stands, and under no other.

use std::thread;
use std::time::Duration;

use aegis_audit_chain::Head;
use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_chain::source::LogSource;
use aegis_audit_proof::{ProofError, prove, prove_at};
use aegis_audit_ship::{Bucket, BucketLog, Indexes};
use aegis_audit_trust::Revoked;

use crate::support::{DirSource, Place, origin, trust, wals, write_calls};

/// A stream with an anchor amid it, one behind that, and one over all; shipped.
fn place() -> Place {
    let place = Place::new();
    let journal = place.open();
    for _ in 0..2 {
        write_calls(&journal, 5);
        thread::sleep(Duration::from_millis(1_500));
    }
    write_calls(&journal, 5);
    journal.close().unwrap();
    place.live(1);
    place
}

/// What its registry says of the stream's heads.
fn anchors(place: &Place) -> Vec<Head> {
    let mut heads = Vec::new();
    for wal in wals(place.dir.path(), "registry.gw-1/1") {
        let bytes = std::fs::read(wal).unwrap();
        let (_, frames) = aegis_audit_chain::frame::Frames::open(&bytes).unwrap();
        for frame in frames.map_while(Result::ok) {
            if let Ok(Record { entry: Entry::Anchor(anchor), .. }) = Record::parse(frame.record)
                && anchor.origin == origin()
            {
                let (size, root) = (anchor.size, anchor.root);
                heads.push(Head { origin: anchor.origin, size, root });
            }
        }
    }
    heads
}

fn proofs_go_under_what_stands(source: &dyn LogSource, heads: &[Head]) {
    let [first, second, .., last] = heads else { unreachable!("{heads:?}") };
    let revoking = |head: &Head| trust().revoke(Revoked::new(head.clone())).unwrap();
    let early = prove_at(source, &trust(), (&origin(), 1)).unwrap().unwrap();
    assert_eq!(early.check(&trust()).unwrap().head, *first);
    // Whoever has the key signs a head of so few records over others just as well.
    let refused = early.check(&revoking(second));
    assert!(matches!(refused, Err(ProofError::Revoked { size }) if size == second.size));
    for stands in [first, second, last] {
        let trust = revoking(stands);
        let proof = prove_at(source, &trust, (&origin(), 1)).unwrap().unwrap();
        assert_eq!(proof.check(&trust).unwrap().head, *stands);
        let is_it = &mut |of: &_, record: &Record| *of == origin() && record.head.seq == 1;
        assert_eq!(prove(source, &trust, is_it).unwrap(), [proof]);
    }
    let behind = prove_at(source, &revoking(first), (&origin(), first.size));
    assert!(matches!(behind, Err(ProofError::Revoked { .. })), "{behind:?}");
}

#[test]
fn a_proof_of_a_revoked_stream_is_made_and_believed_under_the_head_that_stands() {
    let place = place();
    let heads = anchors(&place);
    proofs_go_under_what_stands(&DirSource(place.dir.path().to_path_buf()), &heads);
    let bucket = Bucket::open(&place.address()).unwrap();
    let log = BucketLog::open(&bucket, &trust(), Indexes::Unread).unwrap();
    proofs_go_under_what_stands(&log, &heads);
}

//! The index of each segment: where its records lie, and what a wrong one leads to.

use std::fs;

use aegis_audit_chain::Origin;
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::record::{DecisionEntry, Entry, OutcomeDue, Record};
use aegis_audit_chain::segment::{Digest, Manifest, SegmentError};
use aegis_audit_chain::source::LogSource as _;
use aegis_audit_index::{GROUP, Index};
use aegis_audit_proof::{Search, prove, prove_at, prove_call};
use aegis_audit_ship::{Bucket, BucketLog, Indexes};
use aegis_audit_verify::{Flaw, Verdict};
use aegis_buckets::{Moto, Proxy};
use aegis_domain::DecisionId;

use crate::address;
use crate::s3::live;
use crate::support::{
    Place, REGISTRY, SHIPPED, decision, origin, outcome, region_key, trust, write_calls,
};

pub(crate) type Change = fn(&mut Index);

/// What the holder of the region's key can write into an index, and sign for.
pub(crate) const CHANGES: [Change; 4] = [
    |index| index.leaves.swap(3, 4),
    |index| index.leaves.truncate(605),
    |index| index.members[1] += 1,
    |index| index.members.truncate(2),
];

/// A stream of three groups in a journal that was not shipped yet.
fn unshipped() -> Place {
    let place = Place::new();
    let journal = place.open();
    write_calls(&journal, 300);
    journal.close().unwrap();
    place
}

/// The same, shipped in one segment.
fn segment() -> Place {
    let place = unshipped();
    place.live(1);
    place
}

/// The same with another index, and a manifest that is signed for it.
pub(crate) fn changed(change: Change) -> Place {
    let place = segment();
    let (path, note) = largest(&place);
    let mut index = Index::parse(&fs::read(&path).unwrap()).unwrap();
    change(&mut index);
    let bytes = index.encode();
    let region = Signer::new(REGISTRY, region_key());
    let text = fs::read_to_string(&note).unwrap();
    let (manifest, _) = Manifest::open(&text, region.verifier()).unwrap();
    let manifest = Manifest { index: Digest::of(&bytes), ..manifest };
    fs::write(&path, bytes).unwrap();
    fs::write(&note, manifest.note(&region)).unwrap();
    place
}

/// The last index, and its manifest: nothing follows it that would name the manifest.
fn largest(place: &Place) -> (std::path::PathBuf, std::path::PathBuf) {
    (place.objects(".idx").pop().unwrap(), place.objects(".man").pop().unwrap())
}

#[test]
fn a_segment_has_an_index_of_its_groups_and_leaves() {
    let place = segment();
    assert_eq!(place.verify().verdict(), Verdict::Pass);
    let mut size = 0;
    for (path, records) in place.objects(".idx").iter().zip(place.objects(".rec.gz")) {
        let index = Index::parse(&fs::read(path).unwrap()).unwrap();
        assert_eq!(index.first(), size);
        size = index.size();
        let stored = fs::read(records).unwrap();
        for begin in &index.members {
            // Each member begins as RFC 1952 says, so it can be read without those before it.
            assert_eq!(stored[*begin as usize..][..3], [0x1f, 0x8b, 8]);
        }
        let groups = (size - 1) / GROUP - index.first() / GROUP + 1;
        assert_eq!(index.members.len() as u64, groups);
    }
    assert_eq!(size, 2 + 2 * 300 + 4);
}

#[test]
fn a_wrong_index_is_a_finding_and_the_records_are_judged_without_it() {
    for (nth, change) in CHANGES.into_iter().enumerate() {
        let place = changed(change);
        let report = place.verify();
        assert_eq!(report.verdict(), Verdict::Fail, "{nth}");
        let found: Vec<_> = report.findings.iter().map(|it| &it.flaw).collect();
        assert_eq!(found, [&Flaw::Segment(SegmentError::Index)], "{nth}: {report:#?}");
        let file = report.findings[0].place.file.as_deref().unwrap();
        assert!(file.starts_with(SHIPPED) && file.ends_with(".idx"), "{file}");
        assert_eq!(report.streams[0].records, 2 + 2 * 300 + 4);
    }
}

#[test]
fn an_index_that_was_edited_or_is_gone_is_named() {
    let place = segment();
    let path = place.objects(".idx").remove(0);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let flaw = |place: &Place| place.verify().findings[0].flaw.clone();
    assert_eq!(flaw(&place), Flaw::Segment(SegmentError::Index));
    fs::remove_file(&path).unwrap();
    assert_eq!(flaw(&place), Flaw::Segment(SegmentError::Gone));
}

#[test]
fn a_record_is_proved_with_one_range_of_its_streams_records_in_three_kilobytes() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = unshipped();
    live(&place, address::of(&moto, "audit"));
    let proxy = Proxy::before(moto.own_port(), "GET", &[]);
    let bucket = Bucket::open(&address::of_port(proxy.port(), "audit")).unwrap();
    let log = BucketLog::open(&bucket, &trust(), Indexes::Unread).unwrap();
    for seq in [0, 255, 256, 400, 600] {
        proxy.heard();
        let proof = prove_at(&log, &trust(), (&origin(), seq)).unwrap().unwrap();
        let heard = proxy.heard();
        let ours = format!("{SHIPPED}/seg/");
        let ranges = heard.iter().filter(|it| it.contains(&ours) && it.contains(".rec.gz"));
        let ranges: Vec<&String> = ranges.collect();
        assert_eq!(ranges.len(), 1, "{heard:#?}");
        assert!(ranges[0].contains("\r\nrange: bytes="), "{}", ranges[0]);
        assert!(proof.to_text().len() <= 3 * 1_024, "{}", proof.to_text().len());
        assert_eq!(proof.check(&trust()).unwrap().record.head.seq, seq);
        let walked =
            prove(&log, &trust(), &mut |of, record| *of == origin() && record.head.seq == seq);
        assert_eq!(walked.unwrap(), [proof], "the same that is made from all records");
    }
    assert!(prove_at(&log, &trust(), (&origin(), 9_999)).unwrap().is_none());
}

/// Many lives in one bucket, each shipped by the next; the ids of the calls between, which name their times.
fn lives(place: &Place, moto: &Moto) -> Vec<DecisionId> {
    let mut ids = Vec::new();
    for _ in 0..8 {
        let journal = place.open();
        for n in 0..10 {
            let now = (place.journal().clock)().unix_ns() / 1_000_000;
            let decision = DecisionEntry { id: DecisionId::new(now, [n; 10]), ..decision(0) };
            let sealed = journal.append_blocking(decision.draft().unwrap()).unwrap();
            let seq = sealed.durable_blocking().unwrap().position().seq;
            journal.append_blocking(outcome(seq, &decision).draft().unwrap()).unwrap();
            ids.push(decision.id);
        }
        journal.close().unwrap();
        assert_eq!(live(place, address::of(moto, "audit")).trouble, None);
    }
    ids
}

/// Of everything in the bucket, what a proof reads does not grow with the log.
#[test]
#[expect(clippy::print_stderr, reason = "the counts are part of the evidence")]
fn a_decision_is_found_by_its_time_in_a_few_objects_of_many() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = Place::new();
    let ids = lives(&place, &moto);
    let proxy = Proxy::before(moto.own_port(), "GET", &[]);
    let bucket = Bucket::open(&address::of_port(proxy.port(), "audit")).unwrap();
    let log = BucketLog::open(&bucket, &trust(), Indexes::Unread).unwrap();
    let gets = |heard: &[String], kind: &str| heard.iter().filter(|it| it.contains(kind)).count();
    for id in [ids[0], ids[ids.len() / 2], ids[ids.len() - 1]] {
        proxy.heard();
        let proofs = prove_call(&log, &trust(), (id, Search::AboutItsTime)).unwrap();
        let heard = proxy.heard();
        assert_eq!(proofs.len(), 2, "a decision and its outcome");
        for proof in &proofs {
            proof.check(&trust()).unwrap();
        }
        let is_of = |record: &Record| match &record.entry {
            Entry::Decision(decision) => decision.id == id,
            Entry::Outcome(outcome) => outcome.of.id == id,
            _ => false,
        };
        proxy.heard();
        assert_eq!(prove(&log, &trust(), &mut |_, record| is_of(record)).unwrap(), proofs);
        let walked = proxy.heard();
        eprintln!("{} objects by its time, {} by walking", heard.len(), walked.len());
        assert!(gets(&heard, ".rec.gz") <= 6, "{heard:#?}");
        assert!(gets(&heard, ".idx") <= 4, "{heard:#?}");
        assert!(heard.len() < walked.len() / 2, "{} of {}", heard.len(), walked.len());
    }
}

/// Nobody makes the log be read by asking for what is not in it: neither in the time it covers, nor before or behind.
#[test]
#[expect(clippy::print_stderr, reason = "the counts are part of the evidence")]
fn what_is_not_in_the_log_is_not_looked_for_in_all_of_it() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = Place::new();
    let ids = lives(&place, &moto);
    let proxy = Proxy::before(moto.own_port(), "GET", &[]);
    let bucket = Bucket::open(&address::of_port(proxy.port(), "audit")).unwrap();
    let log = BucketLog::open(&bucket, &trust(), Indexes::Unread).unwrap();
    let proved = |id, search| {
        proxy.heard();
        let found = prove_call(&log, &trust(), (id, search)).unwrap();
        (found.len(), proxy.heard().len())
    };
    let here = ids[ids.len() / 2].unix_ms();
    let an_hour_ms = 3_600_000;
    let everywhere = proved(DecisionId::new(here, [99; 10]), Search::Everywhere);
    for time in [here - an_hour_ms, here + an_hour_ms] {
        let (found, asked) = proved(DecisionId::new(time, [99; 10]), Search::AboutItsTime);
        eprintln!("{asked} objects about its time, {} in all", everywhere.1);
        assert_eq!(found, 0);
        assert!(asked <= 20 && asked < everywhere.1 / 4, "{asked} of {}", everywhere.1);
    }
    // All of this log was written within five minutes, so all of it is about that time.
    let (found, asked) = proved(DecisionId::new(here, [99; 10]), Search::AboutItsTime);
    eprintln!("{asked} objects about a time of this log, {} in all", everywhere.1);
    assert!(found == 0 && asked < everywhere.1, "{asked} of {}", everywhere.1);

    proxy.heard();
    assert_eq!(prove_at(&log, &trust(), (&origin(), 9_999)).unwrap(), None);
    let stranger = Origin::parse("d/r/gw-1/99").unwrap();
    assert_eq!(prove_at(&log, &trust(), (&stranger, 0)).unwrap(), None);
    assert_eq!(proxy.heard(), Vec::<String>::new(), "the names say that they are not there");
}

/// A clock that was set: the decision is not where its id says, and is proved all the same when everything is read.
#[test]
fn a_decision_of_another_time_is_found_where_everything_is_read() {
    let place = Place::new();
    let journal = place.open();
    let now = (place.journal().clock)().unix_ns() / 1_000_000;
    let id = DecisionId::new(now - 3_600_000, [7; 10]);
    let entry = DecisionEntry { id, outcome: OutcomeDue::None, ..decision(0) };
    journal.append_blocking(entry.draft().unwrap()).unwrap();
    journal.close().unwrap();
    place.live(1);
    let bucket = Bucket::open(&place.address()).unwrap();
    let log = BucketLog::open(&bucket, &trust(), Indexes::Unread).unwrap();
    let found = |search| prove_call(&log, &trust(), (id, search)).unwrap().len();
    assert_eq!((found(Search::AboutItsTime), found(Search::Everywhere)), (0, 1));
}

/// Whoever follows a bucket lists what came since, and reads nothing twice.
#[test]
fn what_was_listed_is_not_listed_again_and_what_came_since_is_there() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = Place::new();
    live(&place, address::of(&moto, "audit"));
    let proxy = Proxy::before(moto.own_port(), "GET", &[]);
    let bucket = Bucket::open(&address::of_port(proxy.port(), "audit")).unwrap();
    let mut log = BucketLog::open(&bucket, &trust(), Indexes::Unread).unwrap();
    let records = |log: &BucketLog<'_>| {
        let lives = log.list("streams/gw-1").unwrap();
        let files = lives.iter().map(|life| log.list(&format!("streams/gw-1/{life}/wal")).unwrap());
        (lives.len(), files.map(|files| files.len()).sum::<usize>())
    };
    let (_, before) = records(&log);
    proxy.heard();
    log.refresh().unwrap();
    let heard = proxy.heard();
    assert_eq!(heard.len(), 2, "behind the newest segment, and behind the newest life: {heard:#?}");
    assert!(heard.iter().all(|it| it.contains("key-marker=")), "{heard:#?}");
    assert_eq!(records(&log), (1, before));

    live(&place, address::of(&moto, "audit"));
    log.refresh().unwrap();
    let (lives, after) = records(&log);
    assert!(lives == 2 && after > before, "{lives} lives, {before} to {after} segments");
    let again = BucketLog::open(&bucket, &trust(), Indexes::Unread).unwrap();
    assert_eq!(records(&log), records(&again));
    assert_eq!(log.found(), Vec::new());
    let first = log.read("streams/gw-1/00000000000000000002/wal/00000000000000000000.wal").unwrap();
    assert!(first.is_some());
}

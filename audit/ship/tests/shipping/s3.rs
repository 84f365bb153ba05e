//! The same over S3: conditional puts, versions, delete markers, retention, and a network that fails at each step.

use std::time::Duration;

use aegis_audit_chain::segment::SegmentError;
use aegis_audit_ship::{
    Address, Bucket, BucketError, LockMode, Retention, ShipConfig, ShipError, Standing, start,
};
use aegis_audit_verify::{Flaw, Report, Verdict};
use aegis_buckets::{Fault, Moto, Proxy, put_other};

use crate::address;
use crate::faults::Store;
use crate::support::{Place, SHIPPED, verify, wait_for, write_calls};

pub(crate) const ASKED: Retention = Retention { mode: LockMode::Compliance, days: 30 };

/// One life that ships to an address.
pub(crate) fn live(place: &Place, address: Address) -> Standing {
    live_as(place, ShipConfig { address, retention: Some(ASKED), ..place.shipping() })
}

/// The same to a store that cannot say how long it keeps what it is given.
pub(crate) fn live_without(place: &Place, address: Address) -> Standing {
    live_as(place, ShipConfig { address, ..place.shipping() })
}

pub(crate) fn live_as(place: &Place, shipping: ShipConfig) -> Standing {
    let journal = place.open();
    let shipper = start(shipping, &journal).unwrap();
    write_calls(&journal, 20);
    wait_for(&shipper, |standing| standing.segments >= 2 || standing.is_stopped);
    journal.close().unwrap();
    shipper.stop(Duration::from_secs(60))
}

pub(crate) fn flaws(report: &Report) -> Vec<(String, Flaw)> {
    let pair = |one: &aegis_audit_verify::Finding| {
        (one.place.file.clone().unwrap_or_default(), one.flaw.clone())
    };
    report.findings.iter().map(pair).collect()
}

#[test]
fn a_locked_bucket_holds_the_log_and_says_until_when() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = Place::new();
    let standing = live(&place, address::of(&moto, "audit"));
    assert_eq!(standing.trouble, None);
    let report = verify(&address::of(&moto, "audit"));
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");

    let receipts = place.dir.path().join("ship/gw-1/00000000000000000001/receipts.jsonl");
    let receipts = std::fs::read_to_string(receipts).unwrap();
    assert!(receipts.lines().count() >= 3);
    for line in receipts.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["version"].as_str().is_some_and(|version| version != "null"), "{line}");
        let kept = line["kept_until"].as_str().unwrap();
        assert!(kept.starts_with("COMPLIANCE 20"), "{line}");
    }
}

#[test]
fn a_bucket_that_promises_less_than_was_asked_for_is_refused() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("short", "COMPLIANCE", 29);
    moto.locked_bucket("soft", "GOVERNANCE", 30);
    assert_eq!(moto.ask(("PUT", "/none"), &[], ""), 200);
    let place = Place::new();
    let journal = place.open();
    for (bucket, found) in [
        ("short", "COMPLIANCE for 29 days"),
        ("soft", "GOVERNANCE for 30 days"),
        ("none", "nothing"),
    ] {
        let address = address::of(&moto, bucket);
        let shipping = ShipConfig { address, retention: Some(ASKED), ..place.shipping() };
        match start(shipping, &journal).err() {
            Some(ShipError::Bucket(BucketError::Retention { found: said, .. })) => {
                assert_eq!(said, found, "{bucket}");
            }
            other => panic!("{bucket}: {other:?}"),
        }
    }
}

#[test]
fn whatever_fails_on_the_way_each_object_is_written_once() {
    let Some(moto) = Moto::start() else { return };
    let store = Store {
        ports: (moto.port(), moto.own_port()),
        make: &|name| moto.locked_bucket(name, "COMPLIANCE", 30),
        address: address::of_port,
        asked: Some(ASKED),
        condition: "if-none-match: *",
    };
    store.holds_each_object_once();
}

#[test]
fn an_object_hidden_by_a_delete_marker_or_a_shadow_is_read_in_its_first_version_and_named() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = Place::new();
    live(&place, address::of(&moto, "audit"));
    let bucket = Bucket::open(&address::of(&moto, "audit")).unwrap();
    let note = format!("{SHIPPED}/genesis.note");
    assert!(bucket.read(&note).unwrap().is_some());

    let path = format!("/audit/gw-1/{note}");
    assert_eq!(moto.ask(("DELETE", &path), &[], ""), 204);
    assert!(bucket.read(&note).unwrap().is_some(), "the marker deceives plain reads only");
    let report = verify(&address::of(&moto, "audit"));
    assert_eq!(report.verdict(), Verdict::Suspect);
    let marker = (note.clone(), Flaw::Segment(SegmentError::DeleteMarker));
    assert_eq!(flaws(&report), [marker]);

    let cp = format!("{SHIPPED}/cp/{:020}.note", report.streams[0].records);
    assert_eq!(put_other(moto.own_port(), &format!("/audit/gw-1/{cp}")), 200);
    let report = verify(&address::of(&moto, "audit"));
    assert_eq!(report.verdict(), Verdict::Suspect);
    let shadowed = (cp, Flaw::Segment(SegmentError::Versions(2)));
    assert!(flaws(&report).contains(&shadowed), "{report:#?}");
}

#[test]
fn another_object_under_our_name_stops_the_shipper() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = Place::new();
    let registry = "/audit/gw-1/v1/eu-west-1/registry.gw-1/00000000000000000001/seg/";
    // Where the registry's first segment will end is not known, so every name is taken.
    for last in 3..40 {
        let name = format!("{registry}{:020}-{last:020}.rec.gz", 0);
        assert_eq!(put_other(moto.own_port(), &name), 200);
    }
    let standing = live(&place, address::of(&moto, "audit"));
    assert!(standing.is_stopped, "{standing:?}");
    let trouble = standing.trouble.unwrap();
    assert!(trouble.contains("is there already and is another object"), "{trouble}");
}

/// Two gateways of one name write under one key, where the store takes whatever comes as a newer version.
pub(crate) fn the_oldest_version_counts(first: &Address, second: &Address) {
    let [first, second] = [first, second].map(|address| Bucket::open(address).unwrap());
    let written = first.create("v1/taken", b"one".to_vec()).unwrap();
    assert!(written.version.is_some() && written.kept_until.is_some(), "{written:?}");

    let other = second.create("v1/taken", b"two".to_vec());
    assert!(
        matches!(&other, Err(BucketError::Fork { key }) if key == "v1/taken"),
        "the second one reads what counts, which is not its own: {other:?}"
    );
    let same = second.create("v1/taken", b"one".to_vec()).unwrap();
    assert_eq!(same, written, "the same bytes are no fork, and their receipt names what counts");
    assert_eq!(first.read("v1/taken").unwrap().as_deref(), Some(&b"one"[..]));
}

#[test]
fn of_two_that_write_under_one_name_the_second_is_told_though_the_store_takes_both() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let proxy = Proxy::before(moto.own_port(), "PUT", &[Fault::Unconditional; 3]);
    let behind = address::of_port(proxy.port(), "audit");
    the_oldest_version_counts(&behind, &behind);
    assert_eq!(proxy.left(), 0);
}

#[test]
fn a_store_that_writes_over_what_is_there_and_keeps_no_versions_is_refused() {
    let Some(moto) = Moto::start() else { return };
    assert_eq!(moto.ask(("PUT", "/audit"), &[], ""), 200);
    let place = Place::new();
    let proxy = Proxy::before(moto.own_port(), "PUT", &[Fault::Unconditional; 2]);
    let standing = live_without(&place, address::of_port(proxy.port(), "audit"));
    assert!(standing.is_stopped, "{standing:?}");
    let trouble = standing.trouble.unwrap();
    assert!(trouble.contains("wrote over") && trouble.contains("create it only"), "{trouble}");
    assert_eq!(standing.segments, 0, "no record was sent there");
}

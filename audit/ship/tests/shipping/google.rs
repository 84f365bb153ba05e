//! The same over Google's objects: conditional puts, retention policies, and a network that fails at each step.

use aegis_audit_ship::{BucketError, ShipConfig, ShipError, start};
use aegis_audit_verify::Verdict;
use aegis_buckets::{Fault, Google, Proxy};

use crate::address;
use crate::faults::Store;
use crate::s3::{ASKED, live, live_without};
use crate::support::{Place, SHIPPED, verify, wait_for};

const DAY_S: u64 = 24 * 60 * 60;
/// What `ASKED` asks for.
const ENOUGH: Option<(u64, bool)> = Some((30 * DAY_S, true));

#[test]
fn a_bucket_under_a_locked_policy_holds_the_log() {
    let google = Google::start();
    google.bucket("audit", ENOUGH);
    let place = Place::new();
    let standing = live(&place, address::of_google(google.port(), "audit"));
    assert_eq!(standing.trouble, None);
    let again = live(&place, address::of_google(google.port(), "audit"));
    assert_eq!(again.trouble, None, "what is there already is no fault");
    let report = verify(&address::of_google(google.port(), "audit"));
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");

    let note = format!("audit/gw-1/{SHIPPED}/genesis.note");
    assert_eq!((google.ask("PUT", &note, "another"), google.ask("DELETE", &note, "")), (403, 403));
}

#[test]
fn a_bucket_whose_policy_is_less_than_was_asked_for_is_refused() {
    let google = Google::start();
    let place = Place::new();
    let journal = place.open();
    for (bucket, policy, said) in [
        ("short", Some((30 * DAY_S - 1, true)), "COMPLIANCE for 29 days"),
        ("soft", Some((30 * DAY_S, false)), "GOVERNANCE for 30 days"),
        ("none", None, "nothing"),
    ] {
        google.bucket(bucket, policy);
        let address = address::of_google(google.port(), bucket);
        let shipping = ShipConfig { address, retention: Some(ASKED), ..place.shipping() };
        match start(shipping, &journal).err() {
            Some(ShipError::Bucket(BucketError::Retention { found, .. })) => {
                assert_eq!(found, said, "{bucket}");
            }
            other => panic!("{bucket}: {other:?}"),
        }
    }
}

#[test]
fn nothing_is_sent_to_a_bucket_that_cannot_be_asked() {
    let google = Google::start();
    google.bucket("audit", ENOUGH);
    let place = Place::new();
    let proxy = Proxy::before(google.port(), "GET", &[Fault::Refused(403); 50]);
    let address = address::of_google(proxy.port(), "audit");
    let shipping = ShipConfig { address, retention: Some(ASKED), ..place.shipping() };
    let shipper = start(shipping, &place.open()).unwrap();
    let standing = wait_for(&shipper, |standing| standing.trouble.is_some());
    let trouble = standing.trouble.unwrap();
    assert!(trouble.contains("about its retention policy with status 403"), "{trouble}");
    assert!(proxy.heard().iter().all(|head| head.starts_with("get /storage/v1/b/audit?")));
}

#[test]
fn whatever_fails_on_the_way_each_object_is_written_once() {
    let google = Google::start();
    let store = Store {
        ports: (google.port(), google.port()),
        make: &|name| google.bucket(name, ENOUGH),
        address: address::of_google,
        asked: Some(ASKED),
        condition: "x-goog-if-generation-match: 0",
    };
    store.holds_each_object_once();
}

#[test]
fn a_store_that_writes_over_what_is_there_is_refused() {
    let google = Google::start();
    google.bucket("audit", None);
    let place = Place::new();
    let proxy = Proxy::before(google.port(), "PUT", &[Fault::Unconditional; 2]);
    let standing = live_without(&place, address::of_google(proxy.port(), "audit"));
    assert!(standing.is_stopped, "{standing:?}");
    assert!(standing.trouble.unwrap().contains("wrote over"));
    assert_eq!(standing.segments, 0, "no record was sent there");
}

/// Without a policy, what was written over is gone, and seen.
#[test]
fn an_object_that_somebody_wrote_over_or_deleted_fails() {
    let google = Google::start();
    google.bucket("audit", None);
    let place = Place::new();
    live_without(&place, address::of_google(google.port(), "audit"));
    let note = format!("audit/gw-1/{SHIPPED}/genesis.note");
    for (method, status) in [("PUT", 200), ("DELETE", 204)] {
        assert_eq!(google.ask(method, &note, "another"), status);
        let report = verify(&address::of_google(google.port(), "audit"));
        assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
    }
}

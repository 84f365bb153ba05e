//! The same over Azure's blobs: conditional puts, a network that fails at each step, and what whoever has the account's key can do.

use aegis_audit_ship::{BucketError, ShipConfig, ShipError, start};
use aegis_audit_verify::Verdict;
use aegis_buckets::{Azurite, Fault, Proxy};

use crate::address;
use crate::faults::Store;
use crate::s3::{ASKED, live, live_without};
use crate::support::{Place, SHIPPED, verify, wait_for};

#[test]
fn a_container_holds_the_log() {
    let Some(azurite) = Azurite::start() else { return };
    azurite.container("audit");
    let place = Place::new();
    let standing = live_without(&place, address::of_azure(azurite.port(), "audit"));
    assert_eq!(standing.trouble, None);
    let again = live_without(&place, address::of_azure(azurite.port(), "audit"));
    assert_eq!(again.trouble, None, "what is there already is no fault");
    let report = verify(&address::of_azure(azurite.port(), "audit"));
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[test]
fn a_container_without_a_policy_is_refused_when_a_retention_is_asked_for() {
    let Some(azurite) = Azurite::start() else { return };
    azurite.container("audit");
    let place = Place::new();
    let address = address::of_azure(azurite.port(), "audit");
    let shipping = ShipConfig { address, retention: Some(ASKED), ..place.shipping() };
    match start(shipping, &place.open()).err() {
        Some(ShipError::Bucket(BucketError::Retention { found, .. })) => {
            assert_eq!(found, "nothing");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_container_with_a_policy_is_shipped_to() {
    let Some(azurite) = Azurite::start() else { return };
    azurite.container("audit");
    let place = Place::new();
    let proxy = Proxy::before(azurite.port(), "GET", &[Fault::Immutable]);
    let standing = live(&place, address::of_azure(proxy.port(), "audit"));
    assert_eq!((standing.trouble, standing.is_stopped, proxy.left()), (None, false, 0));
    assert!(proxy.heard()[0].starts_with("get /aegis/audit?restype=container"));
    let report = verify(&address::of_azure(azurite.port(), "audit"));
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[test]
fn nothing_is_sent_to_a_container_that_cannot_be_asked() {
    let Some(azurite) = Azurite::start() else { return };
    azurite.container("audit");
    let place = Place::new();
    let proxy = Proxy::before(azurite.port(), "GET", &[Fault::Refused(503); 50]);
    let address = address::of_azure(proxy.port(), "audit");
    let shipping = ShipConfig { address, retention: Some(ASKED), ..place.shipping() };
    let shipper = start(shipping, &place.open()).unwrap();
    wait_for(&shipper, |standing| standing.trouble.is_some());
    assert!(proxy.heard().iter().all(|head| head.contains("?restype=container")));
}

#[test]
fn whatever_fails_on_the_way_each_blob_is_written_once() {
    let Some(azurite) = Azurite::start() else { return };
    let store = Store {
        ports: (azurite.port(), azurite.port()),
        make: &|name| azurite.container(name),
        address: address::of_azure,
        asked: None,
        condition: "if-none-match: *",
    };
    store.holds_each_object_once();
}

/// Azure keeps a name, not a version: without a policy on the container, what was written over is gone, and seen.
#[test]
fn a_blob_that_somebody_wrote_over_or_deleted_fails() {
    let Some(azurite) = Azurite::start() else { return };
    azurite.container("audit");
    let place = Place::new();
    live_without(&place, address::of_azure(azurite.port(), "audit"));
    let note = format!("audit/gw-1/{SHIPPED}/genesis.note");
    assert_eq!(azurite.ask("PUT", &note, "another"), 201);
    let report = verify(&address::of_azure(azurite.port(), "audit"));
    assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
    assert_eq!(azurite.ask("DELETE", &note, ""), 202);
    let report = verify(&address::of_azure(azurite.port(), "audit"));
    assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
}

//! The same over Azure's blobs: conditional puts, a network that fails at each step, and what whoever has the account's key can do.

use aegis_audit_ship::{BucketError, ShipConfig, ShipError, start};
use aegis_audit_verify::Verdict;
use aegis_buckets::{Azurite, Fault, Proxy};

use crate::address;
use crate::s3::{ASKED, live_without};
use crate::support::{Place, SHIPPED, verify};

#[test]
fn a_container_holds_the_log_and_does_not_say_for_how_long() {
    let Some(azurite) = Azurite::start() else { return };
    azurite.container("audit");
    let place = Place::new();
    let standing = live_without(&place, address::of_azure(azurite.port(), "audit"));
    assert_eq!(standing.trouble, None);
    let again = live_without(&place, address::of_azure(azurite.port(), "audit"));
    assert_eq!(again.trouble, None, "what is there already is no fault");
    let report = verify(&address::of_azure(azurite.port(), "audit"));
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");

    let address = address::of_azure(azurite.port(), "audit");
    let shipping = ShipConfig { address, retention: Some(ASKED), ..place.shipping() };
    let refused = start(shipping, &place.open()).err();
    assert!(matches!(refused, Some(ShipError::Bucket(BucketError::Unproven))), "{refused:?}");
}

#[test]
fn whatever_fails_on_the_way_each_blob_is_written_once() {
    let Some(azurite) = Azurite::start() else { return };
    let faults = [
        Fault::ReplyLost,
        Fault::DoneButRefused(500),
        Fault::Refused(409),
        Fault::Refused(503),
        Fault::RequestCut,
        Fault::ReplyCut,
        Fault::Slow,
    ];
    std::thread::scope(|scope| {
        for (method, fault) in ["PUT", "GET"].iter().flat_map(|m| faults.map(|fault| (*m, fault))) {
            let azurite = &azurite;
            scope.spawn(move || fails_on_the_way(azurite, method, fault));
        }
    });
}

fn fails_on_the_way(azurite: &Azurite, method: &'static str, fault: Fault) {
    let name = format!("{method}-{fault:?}").to_ascii_lowercase();
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    azurite.container(&name);
    let place = Place::new();
    let proxy = Proxy::before(azurite.port(), method, &[fault; 3]);
    let standing = live_without(&place, address::of_azure(proxy.port(), &name));
    assert_eq!((proxy.left(), standing.is_stopped), (0, false), "{name} {standing:?}");
    for head in proxy.heard().iter().filter(|head| head.starts_with("put ")) {
        assert!(head.contains("\r\nif-none-match: *\r\n"), "{head}");
    }
    if standing.trouble.is_some() {
        live_without(&place, address::of_azure(azurite.port(), &name));
    }
    let report = verify(&address::of_azure(azurite.port(), &name));
    assert_eq!(report.verdict(), Verdict::Pass, "{name}: {report:#?}");
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

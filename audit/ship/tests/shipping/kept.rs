//! How long a bucket keeps what the verifier reads: each object's lock is read back, and one that is less than was asked for is named.
//!
//! Not here: what the shipper asks when it writes (`retention`, `s3`), and what a lock holds (`worm`).

use std::time::SystemTime;

use aegis_audit_chain::segment::SegmentError;
use aegis_audit_ship::{Address, Bucket, BucketLog, Indexes, LockMode, Retention};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{
    Depth, Flaw, Gap, KeptReport, Options, Report, Verdict, check_kept, verify_region,
};
use aegis_buckets::{Azurite, Fault, Google, Moto, Proxy};

use crate::address;
use crate::s3::{ASKED, live, live_without};
use crate::support::{Place, trust};
use crate::worm::Ceph;

const DAY_S: u64 = 24 * 60 * 60;
const SOFT: Retention = Retention { mode: LockMode::Governance, days: 30 };

fn verify_kept(address: &Address, asked: Retention) -> Report {
    verify_kept_under(address, &trust(), asked)
}

fn verify_kept_under(address: &Address, trust: &Trust, asked: Retention) -> Report {
    let bucket = Bucket::open(address).unwrap();
    let log = BucketLog::open(&bucket, trust, Indexes::Checked).unwrap();
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
    let mut report = verify_region(&log, trust, &options, &mut |_| {});
    check_kept(asked, &log, &mut report);
    report
}

/// The objects that are kept for less, each with what keeps it.
fn weaker(report: &Report) -> Vec<(String, String)> {
    let weak = report.findings.iter().filter_map(|one| match &one.flaw {
        Flaw::Kept { found, .. } => Some((one.place.file.clone()?, found.clone())),
        _ => None,
    });
    weak.collect()
}

fn kept(report: &Report) -> KeptReport {
    report.kept.unwrap()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// The birth note of a life.
fn birth(life: u64) -> String {
    format!("v1/eu-west-1/gw-1/{life:020}/genesis.note")
}

/// A log of four lives, whose bucket was told each time to keep objects in another way.
pub(crate) fn the_verifier_names_what_is_kept_for_less(ceph: &Ceph) {
    ceph.ask("held", &["make", "COMPLIANCE", "30"]);
    let (place, address) = (Place::new(), address::of_port(ceph.port, "held"));
    assert_eq!(live(&place, address.clone()).trouble, None);
    let first = all_is_kept_as_asked(&address);
    what_is_softer_is_named(ceph, (&place, &address), first);
    what_was_shortened_is_named(ceph, (&place, &address));
    what_has_no_lock_is_named_whatever_covers_it(ceph, (&place, &address));
}

fn all_is_kept_as_asked(address: &Address) -> u64 {
    let report = verify_kept(address, ASKED);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let KeptReport { objects, weaker: less, unknown, earliest_s, .. } = kept(&report);
    // Two birth notes, two segments of three objects each, and the final head at least.
    assert!(objects >= 9 && (less, unknown) == (0, 0), "{report:#?}");
    let left_s = earliest_s.unwrap() - now_s();
    assert!((29 * DAY_S..=30 * DAY_S).contains(&left_s), "{left_s}");
    let longer = Retention { days: 32, ..ASKED };
    let report = verify_kept(address, longer);
    assert_eq!((report.verdict(), kept(&report).weaker), (Verdict::Fail, objects));
    assert_eq!(u64::try_from(weaker(&report).len()).unwrap(), objects);
    objects
}

/// GOVERNANCE in place of COMPLIANCE.
fn what_is_softer_is_named(ceph: &Ceph, (place, address): (&Place, &Address), first: u64) {
    ceph.ask("held", &["lock", "GOVERNANCE", "30"]);
    assert_eq!(live_without(place, address.clone()).trouble, None);
    assert_eq!(verify_kept(address, SOFT).verdict(), Verdict::Pass);
    let report = verify_kept(address, ASKED);
    let named = weaker(&report);
    assert_eq!((report.verdict(), report.findings.len()), (Verdict::Fail, named.len()));
    assert!(named.iter().all(|(_, found)| found.starts_with("GOVERNANCE 20")), "{named:#?}");
    assert!(named.iter().any(|(key, _)| *key == birth(2)), "{named:#?}");
    assert!(named.iter().all(|(key, _)| *key != birth(1)), "{named:#?}");
    assert_eq!(kept(&report).as_asked(), first);
}

/// Who has the right shortens what is under GOVERNANCE.
fn what_was_shortened_is_named(ceph: &Ceph, (_, address): (&Place, &Address)) {
    let said = ceph.ask("held", &["shorten", &format!("gw-1/{}", birth(2))]);
    assert_eq!(said, "200 shorten\n");
    let report = verify_kept(address, SOFT);
    let named = weaker(&report);
    assert_eq!((report.verdict(), named.len()), (Verdict::Fail, 1), "{report:#?}");
    assert!(named[0].0 == birth(2) && named[0].1.starts_with("GOVERNANCE 20"), "{named:#?}");
    assert!(kept(&report).earliest_s.unwrap() < now_s() + 3 * DAY_S);
}

/// Nothing, a legal hold alone, and a newer version under the best of locks.
fn what_has_no_lock_is_named_whatever_covers_it(ceph: &Ceph, (place, address): (&Place, &Address)) {
    ceph.ask("held", &["lock", "none", "0"]);
    assert_eq!(live_without(place, address.clone()).trouble, None);
    let lock_of_birth = || {
        let report = verify_kept(address, SOFT);
        assert_eq!(report.verdict(), Verdict::Fail);
        let found = weaker(&report).into_iter().find(|(key, _)| *key == birth(3));
        (report, found.map(|(_, found)| found))
    };
    assert_eq!(lock_of_birth().1.as_deref(), Some("nothing"));
    let name = format!("gw-1/{}", birth(3));
    assert_eq!(ceph.ask("held", &["hold", &name]), "200 hold\n");
    assert_eq!(lock_of_birth().1.as_deref(), Some("nothing but a legal hold"));
    assert_eq!(ceph.ask("held", &["relock", &name]), "200 write over\n");
    let (report, found) = lock_of_birth();
    assert_eq!(found.as_deref(), Some("nothing but a legal hold"));
    let is_covered = |flaw: &Flaw| *flaw == Flaw::Segment(SegmentError::Versions(2));
    assert!(report.findings.iter().any(|one| is_covered(&one.flaw)), "{report:#?}");
    assert_eq!(ceph.ask("held", &["lengthen", &name]), "200 lengthen\n");
    assert_eq!(lock_of_birth().1, None);
}

#[test]
fn what_a_store_does_not_say_leaves_the_answer_open() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = Place::new();
    assert_eq!(live(&place, address::of(&moto, "audit")).trouble, None);
    let whole = verify_kept(&address::of(&moto, "audit"), ASKED);
    assert_eq!((whole.verdict(), kept(&whole).unknown), (Verdict::Pass, 0), "{whole:#?}");

    let denied = Proxy::before(moto.own_port(), "HEAD", &[Fault::Refused(403); 3]);
    let report = verify_kept(&address::of_port(denied.port(), "audit"), ASKED);
    assert_eq!((report.verdict(), denied.left()), (Verdict::Incomplete, 0), "{report:#?}");
    assert_eq!((kept(&report).unknown, kept(&report).weaker), (3, 0));
    let [Gap::Kept { objects: 3, first, why }] = report.gaps.as_slice() else {
        panic!("{report:#?}");
    };
    assert!(first.starts_with("v1/") && why.ends_with("retention with status 403"), "{why}");
    assert_eq!(report.to_json()["retention"]["as_asked"], kept(&whole).objects - 3);

    // What passes is asked again.
    let busy = Proxy::before(moto.own_port(), "HEAD", &[Fault::Refused(503), Fault::RequestCut]);
    let report = verify_kept(&address::of_port(busy.port(), "audit"), ASKED);
    assert_eq!((report.verdict(), busy.left()), (Verdict::Pass, 0), "{report:#?}");
}

#[test]
fn a_bucket_without_versions_keeps_nothing() {
    let Some(moto) = Moto::start() else { return };
    assert_eq!(moto.ask(("PUT", "/audit"), &[], ""), 200);
    let place = Place::new();
    assert_eq!(live_without(&place, address::of(&moto, "audit")).trouble, None);
    let report = verify_kept(&address::of(&moto, "audit"), SOFT);
    assert_eq!(report.verdict(), Verdict::Fail);
    assert_eq!((kept(&report).as_asked(), kept(&report).unknown), (0, 0), "{report:#?}");
    assert!(weaker(&report).iter().all(|(_, found)| found == "nothing"), "{report:#?}");
}

#[test]
fn google_answers_for_the_whole_bucket() {
    let google = Google::start();
    google.bucket("audit", Some((30 * DAY_S, true)));
    let place = Place::new();
    assert_eq!(live(&place, address::of_google(google.port(), "audit")).trouble, None);
    let report = verify_kept(&address::of_google(google.port(), "audit"), ASKED);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert!(kept(&report).as_asked() >= 9 && kept(&report).earliest_s.is_some(), "{report:#?}");
    let longer = Retention { days: 31, ..ASKED };
    let report = verify_kept(&address::of_google(google.port(), "audit"), longer);
    let found = ("the bucket".to_owned(), "COMPLIANCE for 30 days".to_owned());
    assert_eq!((report.verdict(), weaker(&report)), (Verdict::Fail, vec![found]));
    assert_eq!((kept(&report).as_asked(), kept(&report).unknown), (0, 0));

    let denied = Proxy::before(google.port(), "GET /storage/v1/b/", &[Fault::Refused(403)]);
    let report = verify_kept(&address::of_google(denied.port(), "audit"), ASKED);
    assert_eq!((report.verdict(), kept(&report).as_asked()), (Verdict::Incomplete, 0));
}

#[test]
fn azure_does_not_say_how_long_and_a_folder_cannot() {
    let place = Place::new();
    place.live(3);
    let report = verify_kept(&place.address(), SOFT);
    assert_eq!((report.verdict(), kept(&report).as_asked()), (Verdict::Incomplete, 0));

    let Some(azurite) = Azurite::start() else { return };
    azurite.container("audit");
    let place = Place::new();
    let address = address::of_azure(azurite.port(), "audit");
    assert_eq!(live_without(&place, address.clone()).trouble, None);
    let bare = verify_kept(&address, SOFT);
    assert_eq!((bare.verdict(), kept(&bare).as_asked()), (Verdict::Fail, 0), "{bare:#?}");
    let policy = "GET /aegis/audit?restype=container HTTP";
    let held = Proxy::before(azurite.port(), policy, &[Fault::Immutable]);
    let report = verify_kept(&address::of_azure(held.port(), "audit"), SOFT);
    assert_eq!((report.verdict(), held.left()), (Verdict::Incomplete, 0), "{report:#?}");
    let open = report
        .gaps
        .iter()
        .any(|gap| matches!(gap, Gap::Kept { why, .. } if why.contains("management plane")));
    assert!(open, "{report:#?}");
}

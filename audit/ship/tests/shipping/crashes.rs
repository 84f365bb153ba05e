//! A shipper that is killed when something goes wrong at the store: each fault, at each object, at each moment; and what the
//! next life, and the verifier, make of it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use aegis_audit_chain::segment::SegmentError;
use aegis_audit_ship::{Journal, ShipConfig, start};
use aegis_audit_verify::{Flaw, Verdict};
use aegis_buckets::{Crash, Fault, Moto, Proxy};

use crate::address;
use crate::s3::{ASKED, flaws, live};
use crate::support::{Place, config, verify, wait_for, write_calls};

const DIR: &str = "AEGIS_TEST_CRASHES_DIR";
const STORE: &str = "AEGIS_TEST_CRASHES_STORE";
/// Set to take all the cases: minutes.
const ALL: &str = "AEGIS_CRASHES";
/// The first round of a life puts two birth notes, a segment of the stream and one of the registry: two objects each.
const PUTS: usize = 6;

/// Not a test of its own: the process that the test below kills. It ships its birth and three calls, and goes on.
#[test]
fn child_that_ships_to_s3_until_it_is_killed() {
    let (Ok(dir), Ok(store)) = (env::var(DIR), env::var(STORE)) else { return };
    let (port, bucket) = store.split_once('/').unwrap();
    let journal_config = config(&PathBuf::from(dir));
    let (journal, _) = Journal::open(journal_config.clone()).unwrap();
    write_calls(&journal, 3);
    let address = address::of_port(port.parse().unwrap(), bucket);
    let shipping = ShipConfig::new(&journal_config, address).unwrap();
    let every = Duration::from_millis(1);
    let shipper =
        start(ShipConfig { every, retention: Some(ASKED), ..shipping }, &journal).unwrap();
    // Whoever is not killed in time must not wait for ever.
    for _ in 0..60 {
        std::thread::sleep(Duration::from_secs(1));
        assert!(!shipper.standing().is_stopped, "{:?}", shipper.standing());
    }
}

/// One life that is killed.
#[derive(Clone, Copy, Debug)]
struct Case {
    method: &'static str,
    /// Which request of that method meets the fault, from 0.
    nth: usize,
    fault: Fault,
    crash: Crash,
}

fn cases() -> Vec<Case> {
    use Crash::{Behind, Within};
    let put = [
        (Fault::ReplyLost, Within),
        (Fault::Refused(500), Within),
        (Fault::RequestCut, Within),
        (Fault::Hidden, Within),
        (Fault::Shadowed, Within),
        (Fault::ReplyLost, Behind),
        (Fault::DoneButRefused(500), Behind),
        (Fault::Refused(409), Behind),
        (Fault::Refused(500), Behind),
        (Fault::RequestCut, Behind),
        (Fault::ReplyCut, Behind),
        (Fault::Slow, Behind),
        (Fault::Hidden, Behind),
        (Fault::Shadowed, Behind),
    ];
    // Reading back and asking for versions: the store is not changed, so its faults are fewer.
    let get = [
        (Fault::ReplyLost, Within),
        (Fault::ReplyCut, Behind),
        (Fault::Refused(500), Behind),
        (Fault::Slow, Behind),
    ];
    let case = |method, nth, (fault, crash)| Case { method, nth, fault, crash };
    let puts = (0..PUTS).flat_map(|nth| put.map(|one| case("PUT", nth, one)));
    // The first question is for the bucket's retention.
    let gets = (1..=PUTS).flat_map(|nth| get.map(|one| case("GET", nth, one)));
    let all = puts.chain(gets);
    // Every fifth, so that each fault is met, and each object, but not each by each.
    let picked = |(n, _): &(usize, Case)| {
        env::var_os(ALL).is_some() || (n + n / put.len()).is_multiple_of(5)
    };
    all.enumerate().filter(picked).map(|(_, case)| case).collect()
}

#[test]
fn a_shipper_killed_at_any_fault_leaves_each_object_once_and_what_was_done_to_it_is_named() {
    let Some(moto) = Moto::start() else { return };
    // They wait more than they work.
    for cases in cases().chunks(6) {
        std::thread::scope(|scope| {
            for case in cases {
                scope.spawn(|| killed(&moto, *case));
            }
        });
    }
}

fn killed(moto: &Moto, case: Case) {
    let bucket = format!("{case:?}").to_ascii_lowercase();
    let bucket: String = bucket.chars().filter(char::is_ascii_alphanumeric).collect();
    moto.locked_bucket(&bucket, "COMPLIANCE", 30);
    let place = Place::new();
    let proxy = Proxy::at(moto.own_port(), (case.method, case.nth), (case.fault, Some(case.crash)));
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crashes::child_that_ships_to_s3_until_it_is_killed", "--nocapture"])
        .env(DIR, place.dir.path())
        .env(STORE, format!("{}/{bucket}", proxy.port()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let struck = proxy.moment();
    child.kill().unwrap();
    child.wait().unwrap();

    let standing = live(&place, address::of(moto, &bucket));
    assert_eq!((&standing.trouble, standing.is_stopped), (&None, false), "{case:?}: {struck}");
    let report = verify(&address::of(moto, &bucket));
    // A second version, or a marker, that nobody is known to have made would be a finding as well.
    let key = struck.strip_prefix(&format!("/{bucket}/gw-1/")).unwrap_or_default().to_owned();
    let expected = match case.fault {
        Fault::Hidden => vec![(key, Flaw::Segment(SegmentError::DeleteMarker))],
        Fault::Shadowed => vec![(key, Flaw::Segment(SegmentError::Versions(2)))],
        _ => Vec::new(),
    };
    let verdict = if expected.is_empty() { Verdict::Pass } else { Verdict::Suspect };
    assert_eq!((report.verdict(), flaws(&report)), (verdict, expected), "{case:?}: {report:#?}");
    assert_eq!(report.streams.len(), 2, "{case:?}");
}

#[test]
fn half_an_object_that_the_store_takes_for_the_whole_stops_the_shipper_and_is_named() {
    let Some(moto) = Moto::start() else { return };
    // S3 would refuse it by the checksum; moto does not, as no store must be trusted to.
    for (nth, ending) in [(2, ".rec.gz"), (3, ".idx"), (4, ".man")] {
        let bucket = format!("half-{nth}");
        moto.locked_bucket(&bucket, "COMPLIANCE", 30);
        let place = Place::new();
        let proxy = Proxy::at(moto.own_port(), ("PUT", nth), (Fault::StoredCut, None));
        // Also in the next life: what stands there is not what is in the spool.
        for address in [address::of_port(proxy.port(), &bucket), address::of(&moto, &bucket)] {
            let journal = place.open();
            let shipper = start(ShipConfig { address, ..place.shipping() }, &journal).unwrap();
            let trouble = wait_for(&shipper, |standing| standing.is_stopped).trouble.unwrap();
            assert!(trouble.contains(ending) && trouble.contains("is another object"), "{trouble}");
        }
        assert_eq!(proxy.left(), 0);
    }
}

//! The log in Ceph, whose Object Lock holds what it promises: what is shipped cannot be deleted, and what can be done is named.
//!
//! Ceph is unpacked from Debian's packages by `make ceph`, not installed, and runs for this test alone.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use aegis_audit_chain::segment::SegmentError;
use aegis_audit_ship::{BucketError, LockMode, Retention, ShipConfig, ShipError, start};
use aegis_audit_verify::{Flaw, Verdict};
use aegis_buckets::packages;

use crate::address;
use crate::s3::{ASKED, flaws, live, the_oldest_version_counts};
use crate::support::{Place, SHIPPED, verify, write_calls};

const STARTS_MAX: u32 = 3;

pub(crate) struct Ceph {
    child: Child,
    pub(crate) port: u16,
    /// It runs until this is closed.
    stdin: Option<ChildStdin>,
    boto: PathBuf,
    _dir: tempfile::TempDir,
}

impl Ceph {
    /// Starts it, or says that it is absent; where `CI` is set, absence is a failure.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub(crate) fn start() -> Option<Self> {
        let (Some(root), Some(boto)) = (unpacked(), packages()) else {
            assert!(std::env::var_os("CI").is_none(), "Ceph or boto3 is not there");
            eprintln!("skipped: Ceph is not there (`make ceph buckets` unpacks it)");
            return None;
        };
        // A port that was free a moment ago may be somebody else's by now.
        let mut said = String::new();
        for _ in 0..STARTS_MAX {
            match Self::on_free_ports(&root, &boto) {
                Ok(ceph) => return Some(ceph),
                Err(last) => said = last,
            }
        }
        unreachable!("Ceph ended while it started: {said}")
    }

    /// Starts it, or hands out what it said.
    fn on_free_ports(root: &Path, boto: &Path) -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [free(), free()].map(|socket| socket.local_addr().unwrap().port());
        let said = dir.path().join("said");
        let mut child = Command::new("bash")
            .arg(here("ceph.sh"))
            .args([root, dir.path()])
            .args(ports.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_up = lines.map_while(Result::ok).any(|line| line == "ready");
        let stdin = child.stdin.take();
        let ceph = Self { child, port: ports[1], stdin, boto: boto.to_owned(), _dir: dir };
        if is_up { Ok(ceph) } else { Err(fs::read_to_string(said).unwrap()) }
    }

    /// Asks by boto3, and hands out a status a line.
    pub(crate) fn ask(&self, bucket: &str, words: &[&str]) -> String {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &self.boto).arg(here("s3.py")).args([&endpoint, bucket]);
        let output = python.args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shipping/worm").join(name)
}

/// Where `make ceph` unpacks it.
fn unpacked() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let places = test.ancestors().map(|folder| folder.join("rgw/root"));
    places.into_iter().find(|root: &PathBuf| root.join("usr/bin/radosgw").is_file())
}

/// One start, which takes as long as all that follows.
#[test]
fn in_ceph_what_is_shipped_cannot_be_deleted_and_what_can_be_done_is_named() {
    let Some(ceph) = Ceph::start() else { return };
    a_bucket_that_promises_less_is_refused(&ceph);
    of_two_writers_under_one_name_the_second_is_told(&ceph);
    under_compliance_nobody_deletes(&ceph);
    what_is_sent_again_is_no_second_version(&ceph);
    under_governance_whoever_has_the_right_deletes_and_it_is_missed(&ceph);
}

fn a_bucket_that_promises_less_is_refused(ceph: &Ceph) {
    let place = Place::new();
    let journal = place.open();
    for (bucket, mode, days, found) in [
        ("short", "COMPLIANCE", "29", "COMPLIANCE for 29 days"),
        ("soft", "GOVERNANCE", "30", "GOVERNANCE for 30 days"),
        ("none", "none", "0", "nothing"),
    ] {
        ceph.ask(bucket, &["make", mode, days]);
        let address = address::of_port(ceph.port, bucket);
        let shipping = ShipConfig { address, retention: Some(ASKED), ..place.shipping() };
        let refused = start(shipping, &journal).err();
        let is_weak = matches!(
            &refused,
            Some(ShipError::Bucket(BucketError::Retention { found: said, .. })) if said == found
        );
        assert!(is_weak, "{bucket}: {refused:?}");
    }
}

/// This Ceph takes every put as a newer version, whatever its condition.
fn of_two_writers_under_one_name_the_second_is_told(ceph: &Ceph) {
    ceph.ask("shared", &["make", "COMPLIANCE", "30"]);
    let address = address::of_port(ceph.port, "shared");
    the_oldest_version_counts(&address, &address);
}

/// A start sends birth notes again, and must not cover them with versions that a verifier has to name.
fn what_is_sent_again_is_no_second_version(ceph: &Ceph) {
    ceph.ask("again", &["make", "COMPLIANCE", "30"]);
    let (place, address) = (Place::new(), address::of_port(ceph.port, "again"));
    for _ in 0..2 {
        assert_eq!(live(&place, address.clone()).trouble, None);
    }
    let report = verify(&address);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

fn under_compliance_nobody_deletes(ceph: &Ceph) {
    ceph.ask("audit", &["make", "COMPLIANCE", "30"]);
    let (place, address) = (Place::new(), address::of_port(ceph.port, "audit"));
    let standing = live(&place, address.clone());
    assert_eq!(standing.trouble, None);
    let whole = verify(&address);
    assert_eq!(whole.verdict(), Verdict::Pass, "{whole:#?}");

    let ledger = place.dir.path().join("ship/gw-1/00000000000000000001/receipts.jsonl");
    let ledger = std::fs::read_to_string(ledger).unwrap();
    let receipts: Vec<serde_json::Value> =
        ledger.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(receipts.len() >= 3, "{ledger}");
    for receipt in &receipts {
        assert!(receipt["kept_until"].as_str().unwrap().starts_with("COMPLIANCE 20"), "{receipt}");
        let said =
            ceph.ask("audit", &["attack", &format!("gw-1/{}", receipt["key"].as_str().unwrap())]);
        let refused =
            said.lines().filter(|line| line.starts_with("403 ") || line.starts_with("409 "));
        assert_eq!(refused.count(), 7, "{said}");
    }
    assert_eq!(verify(&address).verdict(), Verdict::Pass);

    let (hidden, covered) =
        (receipts[0]["key"].as_str().unwrap(), receipts[1]["key"].as_str().unwrap());
    let keys = [hidden, covered].map(|key| format!("gw-1/{key}"));
    let said = ceph.ask("audit", &["cover", &keys[0], &keys[1]]);
    assert_eq!(said, "204 hide\n200 write over\n");
    let report = verify(&address);
    let expected = [
        (hidden.to_owned(), Flaw::Segment(SegmentError::DeleteMarker)),
        (covered.to_owned(), Flaw::Segment(SegmentError::Versions(2))),
    ];
    let mut found = flaws(&report);
    found.sort_by_key(|(key, _)| key == covered);
    assert_eq!((report.verdict(), found.as_slice()), (Verdict::Suspect, &expected[..]));
    assert_eq!(report.streams, whole.streams, "every record is still there");
}

fn under_governance_whoever_has_the_right_deletes_and_it_is_missed(ceph: &Ceph) {
    ceph.ask("staging", &["make", "GOVERNANCE", "1"]);
    let (place, address) = (Place::new(), address::of_port(ceph.port, "staging"));
    let journal = place.open();
    let retention = Some(Retention { mode: LockMode::Governance, days: 1 });
    let shipping = ShipConfig { address: address.clone(), retention, ..place.shipping() };
    let shipper = start(shipping, &journal).unwrap();
    write_calls(&journal, 3);
    journal.close().unwrap();
    assert_eq!(shipper.stop(Duration::from_secs(60)).trouble, None);
    assert_eq!(verify(&address).verdict(), Verdict::Pass);

    let note = format!("{SHIPPED}/genesis.note");
    let said = ceph.ask("staging", &["bypass", &format!("gw-1/{note}")]);
    assert_eq!(said, "403 delete the version\n204 delete it with bypass\n");
    let report = verify(&address);
    assert_eq!(report.verdict(), Verdict::Fail);
    assert!(flaws(&report).iter().any(|(place, _)| place.ends_with("genesis.note")), "{report:#?}");
}

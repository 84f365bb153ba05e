//! Several gateways of a region in one bucket, or in one folder: one log, one report, and what can be done to it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aegis_audit_chain::Origin;
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::BornEntry;
use aegis_audit_chain::segment::SegmentError;
use aegis_audit_registry::RegistryFlaw;
use aegis_audit_ship::{Directory, Journal, JournalConfig, JournalError, Log, ShipConfig, start};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Flaw, Options, Place as At, Report, Verdict, verify_region};

use crate::support::{address, config, copy_dir, sign_on, verify_under, wals, write_calls};

/// A gateway with a name, a directory and a registry key of its own.
struct Gateway {
    dir: tempfile::TempDir,
    name: &'static str,
    key: SecretKey,
}

impl Gateway {
    fn new(name: &'static str, seed: u8) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), name, key: SecretKey::from_seed(&[seed; 32]) }
    }

    fn journal(&self) -> JournalConfig {
        let (writer, region_key) = (self.name.to_owned(), self.key.clone());
        JournalConfig { writer, region_key, ..config(self.dir.path()) }
    }

    fn live(&self, calls: u64, bucket: &Path) {
        let journal = Journal::open(self.journal()).unwrap().0;
        let ship = ShipConfig::new(&self.journal(), address(bucket)).unwrap();
        let ship = ShipConfig { every: Duration::from_millis(20), ..ship };
        let shipper = start(ship, &journal).unwrap();
        write_calls(&journal, calls);
        journal.close().unwrap();
        assert_eq!(shipper.stop(Duration::from_secs(30)).trouble, None);
    }

    fn registry(&self) -> String {
        format!("aegis.example/eu-west-1/registry.{}/1", self.name)
    }

    /// Names a stream in the registry, as only the holder of its key can.
    fn sign_for(&self, folder: &Path, born: &BornEntry) {
        let file = wals(folder, &format!("registry.{}/1", self.name)).remove(0);
        let signer = Signer::new(&self.registry(), self.key.clone());
        sign_on(&file, &signer, vec![born.draft().unwrap()]);
    }

    fn trust(&self) -> Trust {
        Trust::of(self.key.verifier(&self.registry())).unwrap()
    }
}

struct Fleet {
    gateways: [Gateway; 2],
    bucket: tempfile::TempDir,
}

impl Fleet {
    /// Two lives of one gateway, one of the other.
    fn new() -> Self {
        let gateways = [Gateway::new("gw-1", 7), Gateway::new("gw-2", 8)];
        let bucket = tempfile::tempdir().unwrap();
        gateways[0].live(5, bucket.path());
        gateways[1].live(7, bucket.path());
        gateways[0].live(3, bucket.path());
        Self { gateways, bucket }
    }

    fn trust(&self) -> Trust {
        self.gateways[0].trust().join(self.gateways[1].trust()).unwrap()
    }

    fn verify(&self) -> Report {
        verify_under(&address(self.bucket.path()), &self.trust())
    }

    /// A folder or file of the region's in the bucket.
    fn at(&self, below: &str) -> std::path::PathBuf {
        self.bucket.path().join("v1/eu-west-1").join(below)
    }

    /// Every journal copied into one folder.
    fn folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for gateway in &self.gateways {
            copy_dir(gateway.dir.path(), folder.path());
        }
        folder
    }
}

fn verify_folder(folder: &Path, trust: &Trust) -> Report {
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
    verify_region(&Directory(folder.to_path_buf()), trust, &options, &mut |_| {})
}

fn whose(at: &At) -> &str {
    at.origin.as_ref().unwrap().as_str()
}

const STREAMS: [&str; 3] = [
    "aegis.example/eu-west-1/gw-1/1",
    "aegis.example/eu-west-1/gw-1/2",
    "aegis.example/eu-west-1/gw-2/1",
];

#[test]
fn the_log_of_two_gateways_is_verified_as_one_wherever_it_lies() {
    let fleet = Fleet::new();
    for report in [fleet.verify(), verify_folder(fleet.folder().path(), &fleet.trust())] {
        assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
        let found: Vec<&str> = report.streams.iter().map(|it| it.origin.as_str()).collect();
        assert_eq!(found, STREAMS);
        assert_eq!(report.registries.len(), 2);
        let own: u64 = report.streams.iter().map(|it| it.records).sum();
        assert!(report.records > own, "the registries' records count once each");
    }
    let log = Log::open(fleet.bucket.path().to_str().unwrap(), &[]).unwrap();
    let mut rounds = 0;
    let walked = log.each(&fleet.trust(), &mut |_, trust| {
        rounds += 1;
        Ok::<_, aegis_audit_ship::BucketError>(trust.registries().count())
    });
    assert_eq!((rounds, walked.unwrap()), (1, vec![2]), "one listing, one report");
}

#[test]
fn streams_that_no_trusted_registry_names_are_strangers_whoever_else_signed_for_them() {
    let fleet = Fleet::new();
    let alone = fleet.gateways[0].trust();
    let folder = fleet.folder();
    for report in
        [verify_under(&address(fleet.bucket.path()), &alone), verify_folder(folder.path(), &alone)]
    {
        assert_eq!(report.verdict(), Verdict::Fail);
        let found: Vec<&Flaw> = report.findings.iter().map(|it| &it.flaw).collect();
        assert_eq!(found, [&Flaw::Stranger], "{report:#?}");
        let file = report.findings[0].place.file.as_deref().unwrap();
        assert_eq!(file, "streams/gw-2/00000000000000000001");
    }
}

#[test]
fn a_gateway_whose_whole_log_is_gone_is_named_by_its_registry() {
    let fleet = Fleet::new();
    let folder = fleet.folder();
    for below in ["gw-2", "registry.gw-2"] {
        fs::remove_dir_all(fleet.at(below)).unwrap();
    }
    fs::remove_dir_all(folder.path().join("streams/gw-2")).unwrap();
    fs::remove_dir_all(folder.path().join("registry.gw-2")).unwrap();
    for report in [fleet.verify(), verify_folder(folder.path(), &fleet.trust())] {
        assert_eq!(report.verdict(), Verdict::Fail);
        let found: Vec<_> = report.findings.iter().map(|it| (whose(&it.place), &it.flaw)).collect();
        let registry = fleet.gateways[1].registry();
        assert_eq!(found, [(registry.as_str(), &Flaw::Empty)], "{report:#?}");
        assert_eq!(report.streams.len(), 2, "the other gateway's log is judged all the same");
    }
}

#[test]
fn a_stream_that_is_gone_is_named_with_its_size_beside_another_gateways() {
    let fleet = Fleet::new();
    fs::remove_dir_all(fleet.at("gw-2/00000000000000000001")).unwrap();
    let report = fleet.verify();
    let found: Vec<_> = report.findings.iter().map(|it| (whose(&it.place), &it.flaw)).collect();
    let signed = 2 + 2 * 7 + 4;
    assert_eq!(found, [(STREAMS[2], &Flaw::StreamGone { signed })], "{report:#?}");
}

#[test]
fn a_segment_of_one_gateway_in_the_place_of_anothers_is_named() {
    let fleet = Fleet::new();
    let objects = |life: &str| {
        let entries = fs::read_dir(fleet.at(life).join("seg")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let theirs = objects("gw-1/00000000000000000001");
    for (ours, theirs) in objects("gw-2/00000000000000000001").iter().zip(&theirs) {
        fs::copy(theirs, ours).unwrap();
    }
    let report = fleet.verify();
    assert_eq!(report.verdict(), Verdict::Fail);
    // The key of the other registry signed it, and that registry speaks for another writer.
    let first = &report.findings[0];
    assert!(matches!(first.flaw, Flaw::Segment(SegmentError::Note(_))), "{report:#?}");
    assert_eq!(whose(&first.place), STREAMS[2]);
}

#[test]
fn a_whole_stream_under_another_gateways_name_is_a_stranger_there() {
    let fleet = Fleet::new();
    copy_dir(&fleet.at("gw-1/00000000000000000002"), &fleet.at("gw-2/00000000000000000002"));
    let report = fleet.verify();
    assert_eq!(report.verdict(), Verdict::Fail);
    let file = report.findings[0].place.file.as_deref();
    assert_eq!(file, Some("streams/gw-2/00000000000000000002"), "{report:#?}");
}

#[test]
fn a_registry_that_names_another_writers_stream_is_not_believed() {
    let fleet = Fleet::new();
    let folder = fleet.folder();
    // The key of gw-2 was stolen, and its thief would speak for gw-1.
    let thief = &fleet.gateways[1];
    let foreign = "aegis.example/eu-west-1/gw-1/3";
    let vkey = SecretKey::from_seed(&[3; 32]).verifier(foreign).to_string();
    let foreign = Origin::parse(foreign).unwrap();
    thief.sign_for(folder.path(), &BornEntry { origin: foreign.clone(), vkey, previous: None });
    let report = verify_folder(folder.path(), &fleet.trust());
    assert_eq!(report.verdict(), Verdict::Fail);
    let first = &report.findings[0];
    let flaw = Flaw::Registry(RegistryFlaw::Foreign(foreign));
    assert_eq!((whose(&first.place), &first.flaw), (thief.registry().as_str(), &flaw));
}

#[test]
fn a_directory_goes_on_under_the_name_it_began_with_and_under_no_other() {
    let gateway = Gateway::new("gw-1", 7);
    Journal::open(gateway.journal()).unwrap().0.close().unwrap();
    let renamed = JournalConfig { writer: "gw-9".to_owned(), ..gateway.journal() };
    let refused = Journal::open(renamed).err().unwrap();
    assert!(matches!(refused, JournalError::OtherName { .. }), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("registry.gw-1") && told.contains("registry.gw-9"), "{told}");
    Journal::open(gateway.journal()).unwrap().0.close().unwrap();
}

//! A bucket between two objects: streams that are there before the registry that names them, and what must not hide behind that.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_audit_chain::Origin;
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::record::{BornEntry, ClockEntry};
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_ship::start;
use aegis_audit_verify::{Depth, Flaw, Gap, Options, Report, Verdict, verify_region};

use crate::support::{
    DirSource, Place, REGISTRY, copy_dir, decision, region_key, rewrite, sign_on, trust,
    verify_local, wait_for, wals, write_calls,
};

const REGISTRY_DIR: &str = "registry.gw-1/1";
const NEWBORN: &str = "streams/gw-1/00000000000000000002";
pub(crate) const NEWBORN_SHIPPED: &str = "v1/eu-west-1/gw-1/00000000000000000002";

fn newborn() -> Origin {
    Origin::parse("aegis.example/eu-west-1/gw-1/2").unwrap()
}

fn seg(place: &Place, dir: &str) -> PathBuf {
    place.bucket.path().join("v1/eu-west-1").join(dir).join("seg")
}

fn registry_seg(place: &Place) -> PathBuf {
    seg(place, "registry.gw-1/00000000000000000001")
}

/// One whole life in the bucket, and the streams of a second one whose registry never got there.
pub(crate) fn cut_short() -> Place {
    let place = Place::new();
    place.live(5);
    let (dir, aside) = (registry_seg(&place), place.bucket.path().join("aside"));
    fs::rename(&dir, &aside).unwrap();
    // No object can be made below a file.
    fs::write(&dir, "").unwrap();
    let journal = place.open();
    let shipper = start(place.shipping(), &journal).unwrap();
    write_calls(&journal, 4);
    journal.close().unwrap();
    wait_for(&shipper, |standing| standing.segments >= 1);
    assert!(shipper.stop(Duration::from_secs(5)).trouble.is_some());
    fs::remove_file(&dir).unwrap();
    fs::rename(&aside, &dir).unwrap();
    place
}

#[test]
fn a_stream_that_was_shipped_before_its_registry_is_incomplete_until_the_next_round() {
    let place = cut_short();
    let report = place.verify();
    assert_eq!((report.verdict(), &report.findings[..]), (Verdict::Incomplete, &[][..]));
    let Some(Gap::Unnamed { origin, records }) = report.gaps.first() else { panic!("{report:#?}") };
    assert_eq!(*origin, newborn());
    let shipped = fs::read_dir(seg(&place, "gw-1/00000000000000000002")).unwrap();
    assert!(*records >= 2 && shipped.count() >= 3, "{records}");
    assert!(report.to_json()["gaps"][0]["what"] == "unnamed");

    place.live(1);
    let report = place.verify();
    assert_eq!((report.verdict(), report.streams.len()), (Verdict::Pass, 3), "{report:#?}");
}

#[test]
fn without_a_birth_note_of_a_trusted_key_it_is_a_stranger() {
    let note = |place: &Place| place.bucket.path().join(NEWBORN_SHIPPED).join("genesis.note");
    type Change = fn(&Place, &Path);
    let changes: [(&str, Change); 4] = [
        ("none", |_, note| fs::remove_file(note).unwrap()),
        ("another stream's", |place, note| {
            fs::copy(place.object("genesis.note"), note).map(|_| ()).unwrap();
        }),
        ("unsigned", |_, note| {
            let text = fs::read_to_string(note).unwrap();
            fs::write(note, text.replace("registry.gw-1", "registry.gw-7")).unwrap();
        }),
        ("records of another life", |place, _| {
            let (ours, theirs) = ("gw-1/00000000000000000002", "gw-1/00000000000000000001");
            fs::remove_dir_all(seg(place, ours)).unwrap();
            copy_dir(&seg(place, theirs), &seg(place, ours));
        }),
    ];
    for (name, change) in changes {
        let place = cut_short();
        change(&place, &note(&place));
        let report = place.verify();
        assert_eq!(report.verdict(), Verdict::Fail, "{name}");
        assert!(strangers(&report), "{name}: {report:#?}");
    }
}

fn strangers(report: &Report) -> bool {
    let is_it = |one: &aegis_audit_verify::Finding| one.place.file.as_deref() == Some(NEWBORN);
    report.findings.iter().any(|one| is_it(one) && one.flaw == Flaw::Stranger)
}

/// A second life of several rounds, all of it in the bucket.
pub(crate) fn rounds() -> Place {
    let place = Place::new();
    place.live(5);
    let journal = place.open();
    let shipper = start(place.shipping(), &journal).unwrap();
    for segments in [2, 4, 6] {
        write_calls(&journal, 3);
        wait_for(&shipper, |standing| standing.segments >= segments);
        // A head is signed once a second.
        std::thread::sleep(Duration::from_millis(1_100));
    }
    journal.close().unwrap();
    assert_eq!(shipper.stop(Duration::from_secs(30)).trouble, None);
    assert_eq!(place.verify().verdict(), Verdict::Pass);
    place
}

#[test]
fn the_end_of_a_registry_cannot_be_deleted_behind_what_was_shipped_after_it() {
    let place = rounds();
    cut_registry(&place);
    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
    let whole = |one: &aegis_audit_verify::Finding| {
        let of = one.place.origin.as_ref().is_some_and(Origin::is_registry);
        of && matches!(one.flaw, Flaw::Truncated { found, signed } if found < signed)
    };
    assert!(report.findings.iter().any(whole), "{report:#?}");

    // With everything that came after it gone too, the bucket is what it was in the first round of that life: no more is said.
    let second = objects(&seg(&place, "gw-1/00000000000000000002"));
    let first_round = second[0].file_stem().unwrap().to_str().unwrap()[..41].to_owned();
    for later in second.iter().filter(|it| !it.to_str().unwrap().contains(&first_round)) {
        fs::remove_file(later).unwrap();
    }
    fs::remove_dir_all(place.bucket.path().join(NEWBORN_SHIPPED).join("cp")).unwrap();
    let report = place.verify();
    assert_eq!((report.verdict(), &report.findings[..]), (Verdict::Incomplete, &[][..]));
    assert!(matches!(report.gaps[..], [Gap::Unnamed { .. }]), "{report:#?}");
}

/// Leaves nothing of what the registry said of its second life.
pub(crate) fn cut_registry(place: &Place) {
    let mut all = objects(&registry_seg(place));
    let kept = all.iter().rposition(|path| ends_first_life(path)).unwrap();
    let stem = all[kept].to_str().unwrap().strip_suffix(".rec.gz").unwrap().to_owned();
    all.retain(|path| {
        path.as_path() > Path::new(&stem) && !path.to_str().unwrap().starts_with(&stem)
    });
    all.iter().for_each(|gone| fs::remove_file(gone).unwrap());
}

fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Whether a segment of the registry tells of the first life's end, and not of the life after.
fn ends_first_life(path: &Path) -> bool {
    use std::io::Read as _;
    if !path.to_str().unwrap().ends_with(".rec.gz") {
        return false;
    }
    let (packed, mut bundles) = (fs::read(path).unwrap(), Vec::new());
    flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut bundles).unwrap();
    let bundles = String::from_utf8_lossy(&bundles);
    bundles.contains("\"how\":\"closed\"") && !bundles.contains("gw-1/2\"")
}

/// A directory, as if it were being carried here.
struct OnItsWay(DirSource);

impl LogSource for OnItsWay {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        self.0.list(dir)
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        self.0.read(path)
    }

    fn carried(&self, _registry: &Origin) -> Option<u64> {
        Some(0)
    }
}

fn verify(dir: &Path) -> Report {
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
    verify_region(&OnItsWay(DirSource(dir.to_path_buf())), &trust(), &options, &mut |_| {})
}

#[test]
fn a_registry_that_goes_past_a_birth_without_it_makes_a_stranger_of_the_stream() {
    let place = Place::new();
    let dir = place.dir.path();
    place.open().close().unwrap();
    let journal = place.open();
    let sealed = journal.append_blocking(decision(1).draft().unwrap()).unwrap();
    drop(sealed.durable_blocking().unwrap());
    journal.close().unwrap();
    // The registry is cut back to the end of the first life, its notes too.
    let registry = wals(dir, REGISTRY_DIR).remove(0);
    rewrite(&registry, |records| {
        let text = |record: &Vec<u8>| String::from_utf8_lossy(record).into_owned();
        let born = records.iter().position(|it| text(it).contains("gw-1/2\"")).unwrap();
        records.truncate(born);
    });
    let cut = fs::read(&registry).unwrap();
    fs::remove_dir_all(dir.join(REGISTRY_DIR).join("heads")).unwrap();
    let report = verify(dir);
    assert_eq!(report.verdict(), Verdict::Incomplete, "{report:#?}");
    // Where one hand writes both, a registry that ends before a birth was cut.
    assert!(strangers(&verify_local(dir)), "{:#?}", verify_local(dir));

    // Its key's thief goes on with it as if that life had never been: past its birth, or with a later one.
    let other = Origin::parse("aegis.example/eu-west-1/gw-1/3").unwrap();
    for born in [None, Some(&other)] {
        fs::write(&registry, &cut).unwrap();
        let vkey = |origin: &Origin| region_key().verifier(origin.as_str()).to_string();
        let born = born.map(|it| BornEntry { origin: it.clone(), vkey: vkey(it), previous: None });
        let clock = ClockEntry { step_ns: 0 };
        let drafts =
            [born.as_ref().map(BornEntry::draft), Some(clock.draft()), Some(clock.draft())];
        let drafts = drafts.into_iter().flatten().map(Result::unwrap).collect();
        sign_on(&registry, &Signer::new(REGISTRY, region_key()), drafts);
        let report = verify(dir);
        assert!(strangers(&report), "{born:?} {report:#?}");
    }
}

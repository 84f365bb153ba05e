//! What can be done to objects, each with the verdict and the place it must lead to.

use std::fs;
use std::path::Path;

use aegis_audit_chain::segment::SegmentError;
use aegis_audit_ship::start;
use aegis_audit_verify::{Finding, Flaw, Report, Verdict};

use crate::support::{Place, SHIPPED, wait_for, write_calls};

/// A bucket with one stream in three segments and its final head.
fn bucket() -> Place {
    let place = Place::new();
    let journal = place.open();
    let shipper = start(place.shipping(), &journal).unwrap();
    wait_for(&shipper, |standing| standing.segments >= 2);
    write_calls(&journal, 20);
    wait_for(&shipper, |standing| standing.segments >= 4);
    write_calls(&journal, 20);
    journal.close().unwrap();
    let standing = shipper.stop(std::time::Duration::from_secs(30));
    assert_eq!(standing.trouble, None);
    assert!(place.objects(".man").len() >= 3);
    assert_eq!(place.verify().verdict(), Verdict::Pass);
    place
}

fn attacked(attack: impl FnOnce(&Place)) -> (Place, Report) {
    let place = bucket();
    attack(&place);
    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
    (place, report)
}

fn key(path: &Path) -> String {
    format!("{SHIPPED}/seg/{}", path.file_name().unwrap().to_str().unwrap())
}

fn file(finding: &Finding) -> &str {
    finding.place.file.as_deref().unwrap()
}

#[test]
fn an_edited_object_is_named() {
    let (place, report) = attacked(|place| {
        let path = &place.objects(".rec.gz")[1];
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    assert_eq!(report.findings[0].flaw, Flaw::Segment(SegmentError::Stored));
    assert_eq!(file(&report.findings[0]), key(&place.objects(".rec.gz")[1]));
}

#[test]
fn a_truncated_object_is_named() {
    let (place, report) = attacked(|place| {
        let path = &place.objects(".rec.gz")[2];
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 9]).unwrap();
    });
    assert_eq!(report.findings[0].flaw, Flaw::Segment(SegmentError::Stored));
    assert_eq!(file(&report.findings[0]), key(&place.objects(".rec.gz")[2]));
}

#[test]
fn an_edited_manifest_is_named() {
    let (place, report) = attacked(|place| {
        let path = &place.objects(".man")[1];
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replacen("gw-1", "gw-2", 1)).unwrap();
    });
    assert!(matches!(report.findings[0].flaw, Flaw::Segment(SegmentError::Note(_))));
    assert_eq!(file(&report.findings[0]), key(&place.objects(".man")[1]));
}

#[test]
fn a_segment_gone_from_the_middle_is_missed_where_it_stood() {
    let mut second = String::new();
    let (_, report) = attacked(|place| {
        // The manifest and the records.
        second = key(&place.objects(".rec.gz")[2]);
        fs::remove_file(&place.objects(".man")[1]).unwrap();
        fs::remove_file(&place.objects(".rec.gz")[1]).unwrap();
    });
    assert_eq!((&report.findings[0].flaw, file(&report.findings[0])), (&Flaw::Misplaced, &*second));
}

#[test]
fn records_gone_from_under_their_manifest_are_named() {
    let mut gone = String::new();
    let (_, report) = attacked(|place| {
        let path = place.objects(".rec.gz")[1].clone();
        gone = key(&path);
        fs::remove_file(path).unwrap();
    });
    assert_eq!(report.findings[0].flaw, Flaw::Segment(SegmentError::Gone));
    assert_eq!(file(&report.findings[0]), gone);
}

#[test]
fn the_last_segment_is_missed_by_what_the_registry_signed_for() {
    let (_, report) = attacked(|place| {
        fs::remove_file(place.objects(".man").last().unwrap()).unwrap();
        fs::remove_file(place.objects(".rec.gz").last().unwrap()).unwrap();
    });
    let total = 2 + 2 * 40 + 4;
    let cut = |finding: &Finding| matches!(finding.flaw, Flaw::Truncated { signed, .. } if signed == total);
    assert!(report.findings.iter().any(cut), "{report:#?}");
}

#[test]
fn a_whole_stream_that_is_gone_is_named_with_its_size() {
    let (_, report) = attacked(|place| fs::remove_dir_all(place.object("")).unwrap());
    assert_eq!(report.findings[0].flaw, Flaw::StreamGone { signed: 2 + 2 * 40 + 4 });
}

#[test]
fn segments_that_changed_places_are_named() {
    let (place, report) = attacked(|place| {
        let (notes, records) = (place.objects(".man"), place.objects(".rec.gz"));
        for paths in [&notes, &records] {
            let (one, two) = (fs::read(&paths[1]).unwrap(), fs::read(&paths[2]).unwrap());
            fs::write(&paths[1], two).unwrap();
            fs::write(&paths[2], one).unwrap();
        }
    });
    assert_eq!(report.findings[0].flaw, Flaw::Segment(SegmentError::Misplaced));
    assert_eq!(file(&report.findings[0]), key(&place.objects(".man")[1]));
}

#[test]
fn segments_of_another_life_in_place_of_these_are_named() {
    let other = bucket();
    let (_, report) = attacked(|place| {
        for (ours, theirs) in place.objects("").iter().zip(other.objects("")) {
            fs::copy(theirs, ours).unwrap();
        }
    });
    // Names that fit are signed by the same region key, but for other records.
    let place = file(&report.findings[0]);
    assert!(place.starts_with(SHIPPED), "{report:#?}");
}

#[test]
fn objects_and_streams_that_nobody_shipped_are_named() {
    let stray = |place: &Place, name: &str| {
        let path = place.object(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    };
    for name in ["notes.txt", "seg/notes.txt", "seg/00000000000000000000-00000000000000000001.man"]
    {
        let (_, report) = attacked(|place| stray(place, name));
        let found = report.findings.iter().any(|one| file(one).ends_with(name));
        assert!(found, "{name}: {report:#?}");
    }
    let (_, report) = attacked(|place| {
        stray(place, "../00000000000000000009/genesis.note");
    });
    assert_eq!(report.findings[0].flaw, Flaw::Stranger);
}

#[test]
fn an_empty_bucket_is_never_valid() {
    let place = Place::new();
    let report = place.verify();
    assert_eq!((report.verdict(), &report.findings[0].flaw), (Verdict::Fail, &Flaw::Empty));
}

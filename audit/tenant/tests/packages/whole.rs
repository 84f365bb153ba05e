//! What an honest package shows, and what it does not.

use std::time::Duration;

use aegis_audit_chain::record::{Ending, Entry, Record};
use aegis_audit_tenant::{Gap, Package, Standing, check};
use aegis_audit_verify::Verdict;

use crate::support::{calls, checked, copy_dir, log, open, package, trust};

#[test]
fn each_tenant_has_all_its_records_and_none_of_anyone_elses() {
    let dir = log();
    let mut total = 0;
    for (name, others, records) in [
        ("acme", ["globex", "initech"], [4 + 1, 0, 1 + 1]),
        ("globex", ["acme", "initech"], [2 + 1, 2 + 1, 0]),
        ("initech", ["acme", "globex"], [1 + 1, 1 + 1, 1 + 1]),
    ] {
        let package = package(dir.path(), name);
        let report = checked(&package);
        assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
        let found: Vec<u64> = report.streams.iter().map(|one| one.records).collect();
        assert_eq!(found, records, "{name}");
        assert_eq!(report.records, records.iter().sum::<u64>());
        let text = package.to_text();
        assert!(others.iter().all(|other| !text.contains(other)), "{text}");
        total += found.iter().sum::<u64>();
    }
    // Twelve calls, and a seal for each tenant of each life.
    assert_eq!(total, 12 + 3 + 2 + 2);
}

#[test]
fn the_last_record_of_a_stream_that_ended_in_order_is_the_tenants_seal() {
    let dir = log();
    let package = package(dir.path(), "acme");
    let last = package.registries[0].streams[0].records.last().unwrap();
    let Entry::TenantSeal(seal) = Record::parse(last).unwrap().entry else { panic!() };
    assert_eq!((seal.tenant.as_str(), seal.last_tseq), ("acme", 3));
}

#[test]
fn a_tenant_without_any_call_can_prove_just_that() {
    let dir = log();
    // One whose key sorts before, between or after the others', whichever it is.
    for name in ["nobody", "a", "zzz", "umbrella", "hooli", "stark"] {
        let package = package(dir.path(), name);
        let report = checked(&package);
        assert_eq!((report.verdict(), report.records), (Verdict::Pass, 0), "{report:#?}");
        let absent = |it: &Standing| matches!(it, Standing::Absent(beside) if !beside.is_empty());
        assert!(package.registries[0].streams.iter().all(|part| absent(&part.standing)));
    }
}

#[test]
fn a_stream_that_crashed_is_complete_up_to_its_last_whole_record() {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = open(dir.path());
    calls(&journal, &["acme", "globex", "acme"]);
    copy_dir(dir.path(), crashed.path());
    open(crashed.path()).close().unwrap();
    let report = checked(&package(crashed.path(), "acme"));
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!((report.streams[0].ended, report.streams[0].records), (Some(Ending::Crashed), 2));
}

#[test]
fn a_stream_that_is_being_written_is_complete_up_to_its_newest_head() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    calls(&journal, &["acme"]);
    let begun = std::time::Instant::now();
    loop {
        let report = checked(&package(dir.path(), "acme"));
        assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
        assert_eq!(report.streams[0].ended, None);
        if report.records == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{report:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    journal.close().unwrap();
}

#[test]
fn a_registry_that_the_package_does_not_bring_leaves_it_incomplete() {
    let dir = log();
    let mut package = package(dir.path(), "acme");
    package.registries.clear();
    let report = check(&package, &trust(), &[]);
    assert_eq!(report.verdict(), Verdict::Incomplete);
    assert!(matches!(report.gaps[..], [Gap::NoRegistry(_)]));
}

#[test]
fn one_package_has_one_text() {
    let dir = log();
    let package = package(dir.path(), "acme");
    let text = package.to_text();
    assert_eq!(Package::parse(&text).unwrap(), package);
    for other in [
        text.replacen("tenant acme", "tenant  acme", 1),
        text.replacen(" 5\n", " 05\n", 1),
        format!("{text}\n"),
        text.trim_end().to_owned(),
        text.replace('\n', "\r\n"),
    ] {
        assert!(Package::parse(&other).is_err());
    }
}

//! What whoever has a disk and the region's key can say of records that were anchored, and what it is worth.

use std::path::Path;
use std::time::{Duration, Instant};

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::record::{ClosedEntry, Draft, Ending, FailedEntry};
use aegis_audit_registry::RegistryFlaw;
use aegis_audit_verify::{Flaw, Verdict};

use crate::python::Python;
use crate::support::{
    Place, REGISTRY, STREAM, copy_dir, origin, region_key, rewrite, sign_on, verify_local, wals,
    write_calls,
};

const REGISTRY_DIR: &str = "registry.gw-1/1";

/// A log whose process was killed when every record of it was anchored.
fn anchored_whole() -> tempfile::TempDir {
    let place = Place::new();
    let journal = place.open();
    write_calls(&journal, 5);
    let begun = Instant::now();
    loop {
        let killed = tempfile::tempdir().unwrap();
        copy_dir(place.dir.path(), killed.path());
        let report = verify_local(killed.path());
        if report.streams.first().is_some_and(|it| it.records > 10 && it.anchored == it.records) {
            return killed;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{report:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The stream as it stands in its one file.
fn walked(dir: &Path) -> Walker {
    let mut walker = Walker::new(origin());
    rewrite(&wals(dir, STREAM)[0], |records| {
        for record in records {
            let checked = walker.check(record).unwrap();
            walker.accept(record, &checked);
        }
    });
    walker
}

/// Makes the last record another, which nothing links to.
fn change_the_last(dir: &Path) {
    rewrite(&wals(dir, STREAM)[0], |records| {
        let last = records.last_mut().unwrap();
        let text = String::from_utf8(last.clone()).unwrap();
        assert!(text.contains("41000"), "{text}");
        *last = text.replace("41000", "41001").into_bytes();
    });
}

fn ended(walker: &Walker) -> ClosedEntry {
    let (head, tenants) = (walker.head(), walker.roster_lines().roster());
    let (how, torn) = (Ending::Crashed, None);
    ClosedEntry { origin: head.origin, how, size: head.size, root: head.root, tenants, torn }
}

fn failed(walker: &Walker) -> FailedEntry {
    let head = walker.head();
    let error = "StorageFull".to_owned();
    FailedEntry { origin: head.origin, size: head.size, root: head.root, error }
}

/// Written from the specification alone; it believes as little.
fn a_second_verifier_refuses(dir: &Path) {
    let Some(python) = Python::find() else { return };
    let (passes, said) = python.run(&[dir.to_str().unwrap()]);
    assert!(!passes, "{said}");
}

fn say(dir: &Path, drafts: Vec<Draft>) {
    let registry = wals(dir, REGISTRY_DIR).remove(0);
    sign_on(&registry, &Signer::new(REGISTRY, region_key()), drafts);
}

/// How it ends, told as it is, is no flaw; so what follows fails for what is said and for nothing else.
#[test]
fn an_end_at_the_anchored_size_with_the_anchored_root_is_believed() {
    let killed = anchored_whole();
    let walker = walked(killed.path());
    say(killed.path(), vec![failed(&walker).draft().unwrap(), ended(&walker).draft().unwrap()]);
    let report = verify_local(killed.path());
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[test]
fn records_that_were_anchored_are_not_rewritten_by_an_end_that_names_another_root() {
    for is_end in [true, false] {
        let killed = anchored_whole();
        change_the_last(killed.path());
        let walker = walked(killed.path());
        let said = if is_end { ended(&walker).draft() } else { failed(&walker).draft() };
        say(killed.path(), vec![said.unwrap()]);
        let report = verify_local(killed.path());
        assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
        let Flaw::Registry(error) = &report.findings[0].flaw else { panic!("{report:#?}") };
        assert_eq!(*error, RegistryFlaw::Contradiction(origin()));
        a_second_verifier_refuses(killed.path());
    }
}

#[test]
fn an_end_with_another_roster_than_was_anchored_is_refused() {
    let killed = anchored_whole();
    let told = ClosedEntry { tenants: None, ..ended(&walked(killed.path())) };
    say(killed.path(), vec![told.draft().unwrap()]);
    let report = verify_local(killed.path());
    let Flaw::Registry(error) = &report.findings[0].flaw else { panic!("{report:#?}") };
    assert_eq!(*error, RegistryFlaw::Contradiction(origin()));
    a_second_verifier_refuses(killed.path());
}

/// A gateway that finds another history says so, and that excuses nothing.
#[test]
fn an_end_that_calls_itself_forked_leaves_what_was_anchored_in_force() {
    let killed = anchored_whole();
    change_the_last(killed.path());
    let told = ClosedEntry { how: Ending::Forked, ..ended(&walked(killed.path())) };
    say(killed.path(), vec![told.draft().unwrap()]);
    let report = verify_local(killed.path());
    let roots = report.findings.iter().filter(|it| matches!(it.flaw, Flaw::Root { .. }));
    assert_eq!((report.verdict(), roots.count()), (Verdict::Fail, 1), "{report:#?}");
    a_second_verifier_refuses(killed.path());
}

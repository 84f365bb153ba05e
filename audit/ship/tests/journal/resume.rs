//! A start goes on from a resume point of the registry as from the whole of it, and from none that is not sound.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::Ending;
use aegis_audit_chain::{Hash, layout};
use aegis_audit_registry::Resume;
use aegis_audit_ship::{Journal, JournalConfig, JournalError, resumed_tree};
use aegis_audit_verify::Verdict;

use crate::support::{config, copy_dir, decision, region_key, verify, wals, write_calls};

const NAME: &str = "aegis.example/eu-west-1/registry.gw-1/1";
const REGISTRY: &str = "registry.gw-1/1";
/// Two or three records, so that a life begins several files.
const FILE_BYTES: u64 = 2_048;

fn settings(dir: &Path) -> JournalConfig {
    JournalConfig { file_bytes: FILE_BYTES, ..config(dir) }
}

fn live(dir: &Path, calls: u64) {
    let (journal, _) = Journal::open(settings(dir)).unwrap();
    write_calls(&journal, calls);
    journal.close().unwrap();
}

/// Three lives that ended, and one that was killed with a call under way.
fn log() -> tempfile::TempDir {
    let (live_dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for _ in 0..3 {
        live(live_dir.path(), 2);
    }
    let (journal, _) = Journal::open(settings(live_dir.path())).unwrap();
    let pending = journal.append_blocking(decision(7).draft().unwrap()).unwrap();
    drop(pending.durable_blocking().unwrap());
    copy_dir(live_dir.path(), copy.path());
    copy
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    copy
}

fn notes(dir: &Path, of: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir.join(REGISTRY).join(of)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn points(dir: &Path) -> Vec<PathBuf> {
    notes(dir, "resume")
}

/// The first record of a registry file that the point speaks of.
fn size_of(point: &Path) -> u64 {
    layout::parse_head_name(point.file_name().unwrap().to_str().unwrap()).unwrap()
}

/// A byte in the first file is another one: whoever reads it sees that.
fn spoil(dir: &Path) {
    let path = wals(dir, REGISTRY).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[400] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// What a start finds, as text, and what the log then is.
fn start(dir: &Path) -> (String, Vec<(u64, Option<Ending>)>) {
    let (journal, recovered) = Journal::open(settings(dir)).unwrap();
    write_calls(&journal, 1);
    let stream = Hash::of(b"aegis.example/eu-west-1/gw-1/1");
    assert!(journal.inclusion(stream, 2).is_ok(), "a record of the first life has no proof");
    journal.close().unwrap();
    let report = verify(dir);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let streams = report.streams.iter().map(|one| (one.records, one.ended)).collect();
    (format!("{recovered:?}"), streams)
}

#[test]
fn a_start_from_any_point_is_one_from_the_whole_registry() {
    let dir = log();
    let all = points(dir.path());
    assert!(all.len() > 6, "{}", all.len());
    let whole = copy_of(dir.path());
    fs::remove_dir_all(whole.path().join(REGISTRY).join("resume")).unwrap();
    let expected = start(whole.path());
    for kept in 0..all.len() {
        let copy = copy_of(dir.path());
        for (at, point) in points(copy.path()).iter().enumerate() {
            if at != kept {
                fs::remove_file(point).unwrap();
            }
        }
        assert_eq!(start(copy.path()), expected, "from point {kept}");
    }
}

#[test]
fn a_start_reads_nothing_before_its_point() {
    let dir = log();
    spoil(dir.path());
    let (journal, _) = Journal::open(settings(dir.path())).unwrap();
    journal.close().unwrap();
    // Who verifies reads all of it.
    assert_eq!(verify(dir.path()).verdict(), Verdict::Fail);
    fs::remove_dir_all(dir.path().join(REGISTRY).join("resume")).unwrap();
    let refused = Journal::open(settings(dir.path())).err();
    assert!(matches!(refused, Some(JournalError::Registry(_))), "{refused:?}");
}

#[test]
fn a_registry_without_points_has_one_after_the_next_start() {
    let dir = log();
    fs::remove_dir_all(dir.path().join(REGISTRY).join("resume")).unwrap();
    // Files that are large enough for all that follows, so that none is begun for want of room.
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    journal.close().unwrap();
    assert_eq!(points(dir.path()).len(), 1);
    assert_eq!(verify(dir.path()).verdict(), Verdict::Pass);
    spoil(dir.path());
    assert!(Journal::open(config(dir.path())).is_ok());
}

fn open_point(path: &Path) -> Resume {
    let key = region_key().verifier(NAME);
    Resume::open(&fs::read_to_string(path).unwrap(), &key).unwrap()
}

#[test]
fn a_point_that_is_not_sound_is_passed_over() {
    let dir = log();
    let newest = points(dir.path()).pop().unwrap();
    let name = newest.file_name().unwrap().to_owned();
    let (text, point) = (fs::read_to_string(&newest).unwrap(), open_point(&newest));
    let other_key = Signer::new(NAME, SecretKey::from_seed(&[8; 32]));
    let other_name = Signer::new("aegis.example/eu-west-1/registry.gw-2/1", region_key());
    let elsewhere = tempfile::tempdir().unwrap();
    let neighbour = JournalConfig { writer: "gw-2".to_owned(), ..settings(elsewhere.path()) };
    for _ in 0..4 {
        Journal::open(neighbour.clone()).unwrap().0.close().unwrap();
    }
    let theirs = fs::read_dir(elsewhere.path().join("registry.gw-2/1/resume")).unwrap();
    let theirs = fs::read(theirs.last().unwrap().unwrap().path()).unwrap();
    let older = fs::read(&points(dir.path())[0]).unwrap();
    let mut bad: Vec<(String, Vec<u8>)> = vec![
        ("empty".to_owned(), Vec::new()),
        ("not text".to_owned(), vec![0xff; 700]),
        ("of another key".to_owned(), point.note(&other_key).into_bytes()),
        ("of another name".to_owned(), point.note(&other_name).into_bytes()),
        ("of another registry".to_owned(), theirs),
        ("an older one under its name".to_owned(), older),
        ("longer".to_owned(), format!("{text}\n").into_bytes()),
    ];
    for at in (0..text.len()).step_by(211) {
        let mut edited = text.clone().into_bytes();
        edited[at] ^= 1;
        bad.push((format!("edited at {at}"), edited));
        bad.push((format!("cut at {at}"), text.as_bytes()[..at].to_vec()));
    }
    let whole = copy_of(dir.path());
    fs::remove_dir_all(whole.path().join(REGISTRY).join("resume")).unwrap();
    let expected = start(whole.path());
    for (what, bytes) in bad {
        // Alone, so that all is read; and beside a sound one, which is used then.
        for alone in [true, false] {
            let copy = copy_of(dir.path());
            let paths = points(copy.path());
            fs::write(copy.path().join(REGISTRY).join("resume").join(&name), &bytes).unwrap();
            if alone {
                paths.iter().rev().skip(1).for_each(|path| fs::remove_file(path).unwrap());
            }
            let (journal, recovered) = Journal::open(settings(copy.path())).unwrap();
            assert_eq!(format!("{recovered:?}"), expected.0, "{what}");
            journal.close().unwrap();
            spoil(copy.path());
            let read_all = Journal::open(settings(copy.path())).is_err();
            assert!(!read_all, "{what}: the life before has left no point");
        }
    }
}

#[test]
fn a_registry_set_back_behind_its_point_is_refused() {
    let dir = log();
    let newest = points(dir.path()).pop().unwrap();
    let files = wals(dir.path(), REGISTRY);
    let behind: Vec<_> = files.iter().filter(|file| wal_first(file) >= size_of(&newest)).collect();
    for file in behind {
        fs::remove_file(file).unwrap();
    }
    let noted = copy_of(dir.path());
    // Its own head is the newest that the notes know: that one, the point alone would lead to.
    let own = dir.path().join(REGISTRY).join(format!("heads/{:020}.note", size_of(&newest) - 1));
    let newer = notes(dir.path(), "heads").into_iter().filter(|note| *note > own);
    newer.for_each(|note| fs::remove_file(note).unwrap());
    assert!(own.exists());
    let refused = Journal::open(settings(dir.path())).err();
    assert!(matches!(refused, Some(JournalError::RegistryRolledBack)), "{refused:?}");
    assert_eq!(verify(dir.path()).verdict(), Verdict::Fail);
    // Also where its points went with the files: the notes say so, as ever.
    fs::remove_file(points(noted.path()).pop().unwrap()).unwrap();
    let refused = Journal::open(settings(noted.path())).err();
    assert!(matches!(refused, Some(JournalError::RegistryRolledBack)), "{refused:?}");
}

fn wal_first(path: &Path) -> u64 {
    layout::parse_wal_name(path.file_name().unwrap().to_str().unwrap()).unwrap()
}

#[test]
fn a_point_of_another_history_of_the_same_registry_is_refused() {
    let base = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        live(base.path(), 1);
    }
    // Whether a life anchors once or twice as it ends is left to chance, and both must begin a file at the same record.
    let pair = || {
        let (dir, fork) = (copy_of(base.path()), copy_of(base.path()));
        for path in [dir.path(), fork.path()] {
            live(path, 1);
            live(path, 1);
        }
        let known: BTreeMap<u64, PathBuf> =
            points(dir.path()).into_iter().map(|path| (size_of(&path), path)).collect();
        let mut both = points(fork.path()).into_iter().filter_map(|theirs| {
            let own = known.get(&size_of(&theirs))?.clone();
            (open_point(&own).head() != open_point(&theirs).head()).then_some((own, theirs))
        });
        let both = both.next_back();
        both.map(|both| (dir, fork, both))
    };
    let (dir, _fork, (own, theirs)) = (0..50).find_map(|_| pair()).unwrap();
    assert_ne!(open_point(&own).head(), open_point(&theirs).head());
    fs::copy(theirs, &own).unwrap();
    let newer = points(dir.path()).into_iter().filter(|path| *path > own);
    newer.for_each(|path| fs::remove_file(path).unwrap());
    let refused = Journal::open(settings(dir.path())).err();
    assert!(
        matches!(refused, Some(JournalError::Registry(_) | JournalError::RegistryRolledBack)),
        "{refused:?}"
    );
    assert_eq!(verify(dir.path()).verdict(), Verdict::Fail);
}

#[test]
fn without_notes_as_new_as_a_point_the_notes_are_still_compared() {
    let dir = log();
    // All notes but the oldest go: it is older than every point, and all is read for it.
    notes(dir.path(), "heads").iter().skip(1).for_each(|path| fs::remove_file(path).unwrap());
    let copy = copy_of(dir.path());
    assert!(Journal::open(settings(copy.path())).is_ok());
    spoil(dir.path());
    assert!(Journal::open(settings(dir.path())).is_err());
}

#[test]
fn a_point_gives_the_tree_at_its_size_to_whoever_proves_growth() {
    let dir = log();
    let key = region_key().verifier(NAME);
    let paths = points(dir.path());
    let sizes: Vec<u64> = paths.iter().map(|path| size_of(path)).collect();
    for (path, size) in paths.iter().zip(&sizes) {
        let tree = resumed_tree(dir.path(), &key, *size).unwrap();
        assert_eq!((tree.size(), tree.root()), (*size, open_point(path).walker().head().root));
    }
    let before = resumed_tree(dir.path(), &key, sizes[0] - 1).unwrap();
    assert_eq!(before.size(), 0);
    let between = resumed_tree(dir.path(), &key, sizes[2] + 1).unwrap();
    assert_eq!(between.size(), sizes[2]);
}

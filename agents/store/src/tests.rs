//! The store under crashes at every byte, damage, and disks that fail.
//!
//! Not here: the registry's rules (`agents/registry`). Invariant: every directory is real and lives for one test.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use aegis_domain::{BudgetKey, MicroUsd, Overrun, TenantId};
use aegis_registry::{
    Action, Actor, BudgetTerms, ClientId, Correction, Fingerprint, Origin, Purpose, StateHash,
    Target, Why,
};

use super::*;
use crate::log::Sink;

fn closed_dir() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    home
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_s(1_800_000_000 + s)
}

/// A command that always changes something: one more tenant is revoked.
fn command(serial: u64) -> Command {
    let tenant = TenantId::parse(&format!("tenant-{serial}")).unwrap();
    let action = Action::Revoke { target: Target::Tenant(tenant), issued: None };
    let request = Fingerprint::of(&serial.to_be_bytes());
    let origin = Origin { client: ClientId::of(b"test"), serial, request };
    Command { origin, by: Actor::parse("tester").unwrap(), action }
}

fn hash(store: &Store) -> StateHash {
    store.registry().read().hash()
}

/// A store with `count` entries, and its state's hash after each.
fn filled(path: &Path, count: u64) -> (Store, Vec<StateHash>) {
    let mut store = Store::open(path).unwrap();
    let mut hashes = vec![hash(&store)];
    for serial in 1..=count {
        store.apply(&command(serial), at(serial)).unwrap();
        hashes.push(hash(&store));
    }
    (store, hashes)
}

#[test]
fn budgets_and_their_corrections_outlive_a_restart_and_a_fold() {
    let home = closed_dir();
    let mut store = Store::open(home.path()).unwrap();
    let budget = BudgetKey::parse(TenantId::parse("acme").unwrap(), "team:ops/24h").unwrap();
    let (limit, warn_at) = (MicroUsd::new(5_000_000), Some(MicroUsd::new(4_000_000)));
    let terms = BudgetTerms { limit, warn_at, overrun: Overrun::Warn };
    let set = Action::SetBudget { budget: budget.clone(), seen: None, terms: Some(terms) };
    store.apply(&Command { action: set, ..command(1) }, at(1)).unwrap();
    let (correction, reason) = (Correction::Add(limit), Why::parse("a bill").unwrap());
    let adjust =
        Action::Adjust { budget: budget.clone(), correction, purpose: Purpose::Amend, reason };
    store.apply(&Command { action: adjust, ..command(2) }, at(2)).unwrap();
    let before = hash(&store);
    drop(store);

    let mut store = Store::open(home.path()).unwrap();
    assert_eq!(hash(&store), before, "from the log");
    store.fold().unwrap();
    drop(store);
    let store = Store::open(home.path()).unwrap();
    assert_eq!(hash(&store), before, "from the snapshot");
    let registry = store.registry();
    assert_eq!(registry.read().view().budget(&budget).unwrap().terms, terms);
    assert_eq!(registry.read().adjustments(None).count(), 1);
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = closed_dir();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn what_was_answered_for_is_there_after_a_crash_at_every_byte_of_the_log() {
    let home = closed_dir();
    let (store, hashes) = filled(home.path(), 4);
    drop(store);
    let log = fs::read(home.path().join("log")).unwrap();
    let ends: Vec<_> = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').collect();
    for cut in 0..=log.len() {
        let crashed = copy(home.path());
        fs::write(crashed.path().join("log"), &log[..cut]).unwrap();
        let mut store = Store::open(crashed.path()).unwrap();
        let whole = ends.iter().filter(|(end, _)| *end < cut).count();
        assert_eq!(hash(&store), hashes[whole], "cut at {cut}");
        store.apply(&command(9), at(9)).unwrap();
        drop(store);
        let again = Store::open(crashed.path()).unwrap();
        assert_eq!(again.registry().read().view().serial(), whole as u64 + 1, "cut at {cut}");
    }
}

#[test]
fn a_torn_tail_of_any_bytes_is_cut_off() {
    let home = closed_dir();
    let (store, hashes) = filled(home.path(), 2);
    drop(store);
    let log = fs::read(home.path().join("log")).unwrap();
    for tail in [&b"\0\0\0\0"[..], b"\n", b"deadbeef {}\n", b"deadbeef {}\n\n\0\n", &log[..40]] {
        let crashed = copy(home.path());
        fs::write(crashed.path().join("log"), [&log, tail].concat()).unwrap();
        assert_eq!(hash(&Store::open(crashed.path()).unwrap()), hashes[2], "{tail:?}");
    }
}

#[test]
fn damage_in_the_middle_is_refused_with_file_and_offset_at_every_byte() {
    let home = closed_dir();
    drop(filled(home.path(), 3));
    let log = fs::read(home.path().join("log")).unwrap();
    let second = log.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let third = second + log[second..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for spot in second..third {
        let damaged = copy(home.path());
        let mut bytes = log.clone();
        bytes[spot] ^= 1;
        fs::write(damaged.path().join("log"), bytes).unwrap();
        match Store::open(damaged.path()) {
            Err(StoreError::Damaged { path, offset, .. }) => {
                assert_eq!((path.file_name().unwrap(), offset), ("log".as_ref(), second as u64));
            }
            // Hex digits have two cases; the other one reads the same.
            Ok(store) => assert_eq!(store.registry().read().view().serial(), 3, "spot {spot}"),
            Err(error) => panic!("spot {spot}: {error}"),
        }
    }
}

#[test]
fn an_entry_that_is_missing_is_refused_with_its_offset() {
    let home = closed_dir();
    drop(filled(home.path(), 3));
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    let lines: Vec<_> = log.split_inclusive('\n').collect();
    fs::write(home.path().join("log"), [lines[0], lines[2]].concat()).unwrap();
    let refused = Store::open(home.path()).unwrap_err();
    let expected = lines[0].len() as u64;
    assert!(
        matches!(refused, StoreError::Disordered { offset, .. } if offset == expected),
        "{refused}"
    );
}

#[test]
fn folding_keeps_the_state_and_survives_a_crash_at_every_step() {
    let home = closed_dir();
    let (mut store, hashes) = filled(home.path(), 3);
    let log = fs::read(home.path().join("log")).unwrap();
    store.fold().unwrap();
    drop(store);
    let snapshot = fs::read(home.path().join("snapshot")).unwrap();
    assert_eq!(fs::read(home.path().join("log")).unwrap(), b"");
    assert_eq!(hash(&Store::open(home.path()).unwrap()), hashes[3]);
    // While the snapshot is written: it stands beside, half of it.
    for cut in 0..=snapshot.len() {
        let crashed = closed_dir();
        for (name, bytes) in [("log", &log[..]), ("snapshot.new", &snapshot[..cut])] {
            fs::write(crashed.path().join(name), bytes).unwrap();
            closed(&crashed.path().join(name));
        }
        assert_eq!(hash(&Store::open(crashed.path()).unwrap()), hashes[3], "cut at {cut}");
    }
    // After it was renamed: the log holds again what the snapshot holds.
    fs::write(home.path().join("log"), &log).unwrap();
    let mut store = Store::open(home.path()).unwrap();
    assert_eq!(hash(&store), hashes[3]);
    store.apply(&command(4), at(4)).unwrap();
}

fn closed(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_snapshot_that_is_not_whole_is_refused() {
    let home = closed_dir();
    let (mut store, _) = filled(home.path(), 3);
    store.fold().unwrap();
    drop(store);
    let snapshot = fs::read(home.path().join("snapshot")).unwrap();
    for bytes in [&snapshot[..snapshot.len() - 1], &snapshot[..20], b""] {
        fs::write(home.path().join("snapshot"), bytes).unwrap();
        let refused = Store::open(home.path()).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { offset: 0, .. }), "{refused}");
    }
}

#[test]
fn a_long_log_is_folded_and_nothing_is_lost() {
    let home = closed_dir();
    let mut store = Store::open(home.path()).unwrap();
    store.log_bytes_max = 2_000;
    for serial in 1..=30 {
        store.apply(&command(serial), at(serial)).unwrap();
        assert!(store.log.len() <= 3_000);
    }
    let before = hash(&store);
    drop(store);
    assert_eq!(hash(&Store::open(home.path()).unwrap()), before);
}

#[test]
fn a_directory_has_one_process_and_is_closed_to_others() {
    let home = closed_dir();
    let path = home.path().join("registry");
    let (_store, _) = filled(&path, 1);
    assert!(matches!(Store::open(&path), Err(StoreError::Locked { .. })));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("log"))), (0o700, 0o600));
    drop(_store);
    for (name, mode) in [("log", 0o640), (".", 0o750)] {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::TooOpen { .. })), "{name}");
    }
}

#[test]
fn a_command_sent_again_after_a_restart_is_still_known() {
    let home = closed_dir();
    let (mut store, _) = filled(home.path(), 1);
    let first = store.apply(&command(2), at(2)).unwrap();
    drop(store);
    let mut store = Store::open(home.path()).unwrap();
    assert_eq!(store.apply(&command(2), at(90)).unwrap(), first);
    assert_eq!(store.registry().read().view().serial(), 2);
}

/// A disk that fails at one step.
#[derive(Debug)]
struct Failing {
    file: File,
    /// How often each act fails from now on.
    fails: BTreeMap<&'static str, u32>,
}

impl Failing {
    fn act(&mut self, act: &'static str) -> io::Result<()> {
        match self.fails.get_mut(act) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Sink for Failing {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.act("append") {
            Sink::append(&mut self.file, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        Sink::append(&mut self.file, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.act("sync")?;
        Sink::sync(&mut self.file)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.act("truncate")?;
        Sink::truncate(&mut self.file, len)
    }
}

fn failing(store: &mut Store, fails: &[(&'static str, u32)]) {
    let file = store.directory.append_to(&store.directory.log()).unwrap();
    store.log.sink = Box::new(Failing { file, fails: fails.iter().copied().collect() });
}

#[test]
fn a_full_disk_refuses_a_command_and_takes_the_next_when_there_is_room() {
    let home = closed_dir();
    let (mut store, hashes) = filled(home.path(), 1);
    failing(&mut store, &[("append", 1)]);
    assert!(matches!(store.apply(&command(2), at(2)), Err(StoreError::File { .. })));
    assert_eq!(hash(&store), hashes[1]);
    store.apply(&command(2), at(2)).unwrap();
    let after = hash(&store);
    drop(store);
    assert_eq!(hash(&Store::open(home.path()).unwrap()), after);
}

#[test]
fn after_a_failed_sync_nothing_is_accepted_any_more() {
    for fails in [&[("sync", 1)][..], &[("append", 1), ("truncate", 1)]] {
        let home = closed_dir();
        let (mut store, hashes) = filled(home.path(), 1);
        failing(&mut store, fails);
        assert!(matches!(store.apply(&command(2), at(2)), Err(StoreError::File { .. })));
        assert!(matches!(store.apply(&command(2), at(2)), Err(StoreError::Broken)));
        assert_eq!(hash(&store), hashes[1], "nothing was answered for");
    }
}

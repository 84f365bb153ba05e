//! Beside our verdict, what a plain hash chain would have said: each record names the hash of the one before, and a verifier
//! walks that, from the first record it is given to the last. The attacks are those of a log at rest, on the same log.

use std::fs;
use std::path::Path;

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::link::{Reading, Sequencer};
use aegis_audit_chain::record::Record;
use aegis_audit_chain::{Hash, Origin};
use aegis_audit_ship::Journal;
use aegis_audit_verify::{Flaw, Verdict};
use aegis_domain::Timestamp;

use crate::support::{config, copy_dir, decision, rewrite, verify, verify_with, wals, write_calls};

const STREAM: &str = "streams/gw-1/00000000000000000001";
const CALLS: u64 = 20;

/// What such a verifier says: links hold from the first record it finds. No records are valid records.
fn plain_chain_is_valid(dir: &Path) -> bool {
    let mut before: Option<Hash> = None;
    let files = if dir.join(STREAM).exists() { wals(dir, STREAM) } else { Vec::new() };
    for path in files {
        let bytes = fs::read(path).unwrap();
        for frame in Frames::open(&bytes).unwrap().1 {
            let Ok(frame) = frame else { return false };
            let Ok(record) = Record::parse(frame.record) else { return false };
            if before.is_some_and(|before| before != record.head.prev) {
                return false;
            }
            before = Some(Hash::leaf(frame.record));
        }
    }
    true
}

fn log() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    write_calls(&journal, CALLS);
    journal.close().unwrap();
    dir
}

fn wal(dir: &Path) -> std::path::PathBuf {
    wals(dir, STREAM)[0].clone()
}

/// Another history of the same stream, well linked, from nothing.
fn forged(records: u64) -> Vec<Vec<u8>> {
    let mut sequencer = Sequencer::new(Origin::parse("aegis.example/eu-west-1/gw-1/1").unwrap());
    let at = |n: u64| Reading { wall: Timestamp::from_unix_ns(n + 1), mono_ns: n };
    (0..records).map(|n| sequencer.place(decision(n).draft().unwrap(), at(n)).bytes).collect()
}

/// One attack: what it does, what a plain chain says of it, what we say and where.
struct Attack {
    name: &'static str,
    act: fn(&Path),
    is_valid_to_a_plain_chain: bool,
    finds: fn(&Flaw) -> bool,
    /// The record named, where there is one.
    seq: Option<u64>,
}

const TOTAL: u64 = 2 + 2 * CALLS + 4;

const ATTACKS: &[Attack] = &[
    Attack {
        name: "1: a record is edited",
        act: |dir| {
            rewrite(&wal(dir), |records| {
                let text = String::from_utf8(records[7].clone()).unwrap();
                records[7] = text.replace("\"status\":200", "\"status\":500").into_bytes();
            });
        },
        is_valid_to_a_plain_chain: false,
        finds: |flaw| *flaw == Flaw::Changed,
        seq: Some(7),
    },
    Attack {
        name: "1: the last record is edited",
        act: |dir| {
            rewrite(&wal(dir), |records| {
                let last = records.last_mut().unwrap();
                // A digit of its clock.
                last[190] ^= 1;
            });
        },
        is_valid_to_a_plain_chain: true,
        finds: |flaw| matches!(flaw, Flaw::Root { .. }),
        seq: Some(TOTAL - 1),
    },
    Attack {
        name: "2: a record is removed",
        act: |dir| rewrite(&wal(dir), |records| drop(records.remove(7))),
        is_valid_to_a_plain_chain: false,
        finds: |flaw| matches!(flaw, Flaw::Link(_)),
        seq: Some(7),
    },
    Attack {
        name: "2: two records are swapped",
        act: |dir| rewrite(&wal(dir), |records| records.swap(7, 8)),
        is_valid_to_a_plain_chain: false,
        finds: |flaw| matches!(flaw, Flaw::Link(_)),
        seq: Some(7),
    },
    Attack {
        name: "3: the tail is cut",
        act: |dir| rewrite(&wal(dir), |records| records.truncate(11)),
        is_valid_to_a_plain_chain: true,
        finds: |flaw| *flaw == Flaw::Truncated { found: 11, signed: TOTAL },
        seq: Some(11),
    },
    Attack {
        name: "3: the beginning is cut",
        act: |dir| rewrite(&wal(dir), |records| drop(records.drain(..3))),
        is_valid_to_a_plain_chain: true,
        finds: |flaw| matches!(flaw, Flaw::Link(_)),
        seq: Some(0),
    },
    Attack {
        name: "4: the whole stream is removed",
        act: |dir| fs::remove_dir_all(dir.join(STREAM)).unwrap(),
        is_valid_to_a_plain_chain: true,
        finds: |flaw| *flaw == Flaw::StreamGone { signed: TOTAL },
        seq: None,
    },
    Attack {
        name: "5: everything is removed, the registry too",
        act: |dir| {
            fs::remove_dir_all(dir.join("streams")).unwrap();
            fs::remove_dir_all(dir.join("registry.gw-1")).unwrap();
        },
        is_valid_to_a_plain_chain: true,
        finds: |flaw| *flaw == Flaw::Empty,
        seq: None,
    },
    Attack {
        name: "6 and 28: another history is written in its place",
        act: |dir| rewrite(&wal(dir), |records| *records = forged(TOTAL)),
        is_valid_to_a_plain_chain: true,
        finds: |flaw| *flaw == Flaw::Birth || matches!(flaw, Flaw::Root { .. }),
        seq: Some(0),
    },
    Attack {
        name: "18: records of another stream are put in",
        act: |dir| {
            let other = log();
            let theirs = fs::read(wal(other.path())).unwrap();
            fs::write(wal(dir), theirs).unwrap();
        },
        is_valid_to_a_plain_chain: true,
        finds: |flaw| *flaw == Flaw::Birth || matches!(flaw, Flaw::Root { .. }),
        seq: Some(0),
    },
    Attack {
        name: "21: a key is said twice",
        act: |dir| {
            rewrite(&wal(dir), |records| {
                let last = String::from_utf8(records[44].clone()).unwrap();
                records[44] = last.replace("\"deny\":", "\"deny\":\"0\",\"deny\":").into_bytes();
            });
        },
        is_valid_to_a_plain_chain: false,
        finds: |flaw| matches!(flaw, Flaw::Record(_)),
        seq: Some(44),
    },
];

#[test]
fn every_attack_at_rest_is_found_and_placed_also_where_a_plain_chain_says_valid() {
    let whole = log();
    assert!(plain_chain_is_valid(whole.path()));
    for Attack { name, act, is_valid_to_a_plain_chain, finds, seq } in ATTACKS {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(whole.path(), dir.path());
        act(dir.path());
        let report = verify(dir.path());
        assert_eq!(report.verdict(), Verdict::Fail, "{name}: {report:#?}");
        let first = &report.findings[0];
        assert!(finds(&first.flaw), "{name}: {first:?}");
        assert_eq!(first.place.seq, *seq, "{name}: {first:?}");
        assert_eq!(plain_chain_is_valid(dir.path()), *is_valid_to_a_plain_chain, "{name}");
    }
}

#[test]
fn a_log_set_back_is_valid_to_a_plain_chain_and_refused_by_who_remembers_its_head() {
    // Attack 7: the whole directory as it was a life ago.
    let whole = log();
    let before = tempfile::tempdir().unwrap();
    copy_dir(whole.path(), before.path());
    Journal::open(config(whole.path())).unwrap().0.close().unwrap();
    let remembered = verify(whole.path()).registries;

    assert!(plain_chain_is_valid(before.path()));
    let report = verify_with(before.path(), remembered);
    assert_eq!(report.verdict(), Verdict::Fail);
    assert!(matches!(report.findings[0].flaw, Flaw::Truncated { .. }), "{report:#?}");
}

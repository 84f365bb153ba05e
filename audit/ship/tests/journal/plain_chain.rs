//! Beside our verdict, what a plain hash chain would have said of the same attack on the same log: JSON lines, each with the
//! hash of the line before, and a verifier that walks them from the first line it is given to the last.
//!
//! Not here: attacks that leave nothing at rest to look at; they are named with the reason. Invariant: the plain verifier
//! uses no reader of ours; it parses JSON as libraries do, and hashes what they write again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use aegis_audit_chain::cosignature::Cosigner;
use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::{Hash, Head, layout};
use aegis_audit_ship::{Journal, JournalConfig};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Finding, Flaw, Options, Report, Verdict, verify_region};
use aegis_domain::Timestamp;
use serde_json::Value;

use crate::support::{
    DirSource, config, copy_dir, rewrite, trust, verify, verify_with, wals, write_calls,
};

const STREAM: &str = "streams/gw-1/00000000000000000001";
const REGISTRY: &str = "registry.gw-1/1";
const CALLS: u64 = 20;
const TOTAL: u64 = 2 + 2 * CALLS + 4;

/// Records, or lines of the plain chain, in order.
type Lines = Vec<Vec<u8>>;

/// The hash that the next line must name.
fn plain_hash(line: &Value) -> String {
    Hash::of(&serde_json::to_vec(line).unwrap()).to_string()
}

/// What a plain verifier says. No lines are valid lines.
fn plain_chain_is_valid(lines: &Lines) -> bool {
    let mut before: Option<String> = None;
    for line in lines {
        let Ok(line) = serde_json::from_slice::<Value>(line) else { return false };
        if before.is_some_and(|before| line["link"] != before) {
            return false;
        }
        before = Some(plain_hash(&line));
    }
    true
}

/// The same records as such a chain has them: each as it is, behind the hash of the line before. Nothing secret is needed.
fn chained(records: &Lines) -> Lines {
    let mut before = String::new();
    let link = |record: &Vec<u8>| {
        let mut line = format!("{{\"link\":\"{before}\",").into_bytes();
        line.extend_from_slice(&record[1..]);
        before = plain_hash(&serde_json::from_slice(&line).unwrap());
        line
    };
    records.iter().map(link).collect()
}

/// Links that fit, made anew as whoever may write the file can: here to the record before, and to the tenant's before.
fn linked(records: &mut Lines) {
    let (mut before, mut tenants) = (None, BTreeMap::<String, Hash>::new());
    for record in records {
        let fields: Value = serde_json::from_slice(record).unwrap();
        let tenant = fields["tenant"].as_str();
        if let Some(before) = before {
            record[44..87].copy_from_slice(Hash::to_string(&before).as_bytes());
        }
        if let Some(last) = tenant.and_then(|tenant| tenants.get(tenant)) {
            record[128..171].copy_from_slice(last.to_string().as_bytes());
        }
        let leaf = Hash::leaf(record);
        tenants.extend(tenant.map(|tenant| (tenant.to_owned(), leaf)));
        before = Some(leaf);
    }
}

/// One log twice: as we keep it, and as a plain chain.
struct Logs {
    dir: tempfile::TempDir,
    plain: Lines,
}

impl Logs {
    fn of(dir: tempfile::TempDir) -> Self {
        let plain = chained(&records(dir.path()));
        Self { dir, plain }
    }

    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(self.dir.path(), dir.path());
        Self { dir, plain: self.plain.clone() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Does the same to both.
    fn edit(&mut self, edit: fn(&mut Lines)) {
        rewrite(&wals(self.path(), STREAM)[0], edit);
        edit(&mut self.plain);
    }

    /// Does the same to both, and makes all links anew.
    fn edit_and_link(&mut self, edit: fn(&mut Lines)) {
        rewrite(&wals(self.path(), STREAM)[0], |records| {
            edit(records);
            linked(records);
        });
        self.plain = chained(&records(self.path()));
    }

    /// Puts another log of the same name in place of both.
    fn replace(&mut self, of: &str, other: &Path) {
        fs::remove_dir_all(self.path().join(of)).unwrap();
        copy_dir(&other.join(of), &self.path().join(of));
        self.plain = chained(&records(self.path()));
    }
}

/// What stands in a stream's files.
fn records(dir: &Path) -> Lines {
    let files = wals(dir, STREAM).into_iter().map(|path| fs::read(path).unwrap());
    let of = |bytes: Vec<u8>| -> Lines {
        let frames = Frames::open(&bytes).unwrap().1;
        frames.map(|frame| frame.unwrap().record.to_vec()).collect()
    };
    files.flat_map(of).collect()
}

fn log(key: u8, calls: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(dir.path());
    settings.region_key = SecretKey::from_seed(&[key; 32]);
    let (journal, _) = Journal::open(settings).unwrap();
    write_calls(&journal, calls);
    journal.close().unwrap();
    dir
}

fn replace(line: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    *line = text.replace(from, to).into_bytes();
}

/// What a plain chain says of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Valid,
    Broken,
}

/// One attack: its numbers in `docs/spec/audit-attacks.md`, what it does, what a plain chain says of it, what we say and where.
struct Attack {
    numbers: &'static [u8],
    name: &'static str,
    act: fn(&mut Logs),
    plain: Plain,
    finds: fn(&Flaw) -> bool,
    /// The record named, where there is one.
    seq: Option<u64>,
}

const ATTACKS: &[Attack] = &[
    Attack {
        numbers: &[1],
        name: "a record is edited",
        act: |logs| logs.edit(|lines| replace(&mut lines[7], "\"status\":200", "\"status\":500")),
        plain: Plain::Broken,
        finds: |flaw| *flaw == Flaw::Changed,
        seq: Some(7),
    },
    Attack {
        numbers: &[1],
        name: "the last record is edited",
        act: |logs| {
            logs.edit(|lines| replace(lines.last_mut().unwrap(), "\"mono\":\"0", "\"mono\":\"1"))
        },
        plain: Plain::Valid,
        finds: |flaw| matches!(flaw, Flaw::Root { .. }),
        seq: Some(TOTAL - 1),
    },
    Attack {
        numbers: &[1, 9],
        name: "a record is edited, and all links are made anew",
        act: |logs| {
            logs.edit_and_link(|lines| replace(&mut lines[7], "\"status\":200", "\"status\":500"))
        },
        plain: Plain::Valid,
        finds: |flaw| matches!(flaw, Flaw::Root { .. }),
        seq: Some(TOTAL - 1),
    },
    Attack {
        numbers: &[2],
        name: "a record is removed",
        act: |logs| logs.edit(|lines| drop(lines.remove(7))),
        plain: Plain::Broken,
        finds: |flaw| matches!(flaw, Flaw::Link(_)),
        seq: Some(7),
    },
    Attack {
        numbers: &[2],
        name: "two records are swapped",
        act: |logs| logs.edit(|lines| lines.swap(7, 8)),
        plain: Plain::Broken,
        finds: |flaw| matches!(flaw, Flaw::Link(_)),
        seq: Some(7),
    },
    Attack {
        numbers: &[2],
        name: "a record is put in twice",
        act: |logs| logs.edit(|lines| lines.insert(8, lines[7].clone())),
        plain: Plain::Broken,
        finds: |flaw| matches!(flaw, Flaw::Link(_)),
        seq: Some(8),
    },
    Attack {
        numbers: &[3],
        name: "the tail is cut",
        act: |logs| logs.edit(|lines| lines.truncate(11)),
        plain: Plain::Valid,
        finds: |flaw| *flaw == Flaw::Truncated { found: 11, signed: TOTAL },
        seq: Some(11),
    },
    Attack {
        numbers: &[3],
        name: "the beginning is cut",
        act: |logs| logs.edit(|lines| drop(lines.drain(..3))),
        plain: Plain::Valid,
        finds: |flaw| matches!(flaw, Flaw::Link(_)),
        seq: Some(0),
    },
    Attack {
        numbers: &[4],
        name: "the whole stream is removed",
        act: |logs| {
            fs::remove_dir_all(logs.path().join(STREAM)).unwrap();
            logs.plain.clear();
        },
        plain: Plain::Valid,
        finds: |flaw| *flaw == Flaw::StreamGone { signed: TOTAL },
        seq: None,
    },
    Attack {
        numbers: &[5, 23, 26],
        name: "everything is removed, the registry too",
        act: |logs| {
            fs::remove_dir_all(logs.path().join("streams")).unwrap();
            fs::remove_dir_all(logs.path().join("registry.gw-1")).unwrap();
            logs.plain.clear();
        },
        plain: Plain::Valid,
        finds: |flaw| *flaw == Flaw::Empty,
        seq: None,
    },
    Attack {
        numbers: &[6, 18, 28],
        name: "the stream of another log, or another history of it, is put in its place",
        act: |logs| logs.replace(&format!("{STREAM}/wal"), log(7, CALLS).path()),
        plain: Plain::Valid,
        finds: |flaw| *flaw == Flaw::Birth || matches!(flaw, Flaw::Root { .. }),
        seq: Some(0),
    },
    Attack {
        numbers: &[9, 22],
        name: "a log that holds in itself, under a key that it names itself",
        act: |logs| {
            let other = log(8, CALLS);
            logs.replace("registry.gw-1", other.path());
            logs.replace("streams", other.path());
        },
        plain: Plain::Valid,
        finds: |flaw| matches!(flaw, Flaw::Registry(_)),
        seq: None,
    },
    Attack {
        numbers: &[18],
        name: "a record of another stream is put in",
        act: |logs| {
            let other = records(log(7, 9).path());
            rewrite(&wals(logs.path(), STREAM)[0], |records| records[9].clone_from(&other[9]));
            logs.plain[9].clone_from(&chained(&other)[9]);
        },
        plain: Plain::Broken,
        // Where the next does not link to it, the one before is what was changed.
        finds: |flaw| *flaw == Flaw::Changed,
        seq: Some(8),
    },
    Attack {
        numbers: &[19],
        name: "a record is dated back, and all links are made anew",
        act: |logs| {
            logs.edit_and_link(|lines| {
                let digit = &mut lines[7][179 + 8];
                *digit = if *digit == b'0' { b'9' } else { *digit - 1 };
            })
        },
        plain: Plain::Valid,
        finds: |flaw| matches!(flaw, Flaw::Root { .. }),
        seq: Some(TOTAL - 1),
    },
    Attack {
        numbers: &[21],
        name: "a key is said twice, and libraries hear the last",
        act: |logs| {
            logs.edit(|lines| replace(&mut lines[44], "\"deny\":", "\"deny\":\"9\",\"deny\":"))
        },
        plain: Plain::Valid,
        finds: |flaw| matches!(flaw, Flaw::Record(_)),
        seq: Some(44),
    },
    Attack {
        numbers: &[21],
        name: "spaces are put in, and libraries leave them out",
        act: |logs| logs.edit(|lines| replace(&mut lines[7], ",\"k\":", ", \"k\":")),
        plain: Plain::Valid,
        finds: |flaw| matches!(flaw, Flaw::Link(_)),
        seq: Some(7),
    },
    Attack {
        numbers: &[27],
        name: "the end of what signs for the stream is cut",
        act: |logs| {
            let registry = wals(logs.path(), REGISTRY)[0].clone();
            rewrite(&registry, |records| records.truncate(records.len() - 3));
        },
        plain: Plain::Valid,
        finds: |flaw| matches!(flaw, Flaw::Truncated { .. }),
        seq: None,
    },
];

/// Those of which nothing lies in a folder afterwards that two verifiers could be shown, and why.
const ELSEWHERE: &[(u8, &str)] = &[
    (7, "below: it takes two lives"),
    (8, "the second process is refused while the first runs: append.rs"),
    (10, "nobody can tell"),
    (11, "the dialer takes a permit: the corridor's types"),
    (12, "a plain chain knows no outcomes: recovery.rs"),
    (13, "a disk that fails: faults.rs"),
    (14, "before anything is signed: faults.rs"),
    (15, "versions of a bucket: s3.rs"),
    (16, "retention of a bucket: s3.rs"),
    (17, "while shipping: rounds.rs"),
    (20, "a plain chain has no signatures: note.rs"),
    (24, "what is hashed, not how it is chained: disclosure.rs"),
    (25, "a bucket that cannot be reached: rounds.rs"),
];

fn found(report: &Report, finds: fn(&Flaw) -> bool, seq: Option<u64>) -> bool {
    report.findings.iter().any(|one| finds(&one.flaw) && (seq.is_none() || one.place.seq == seq))
}

#[test]
fn every_attack_at_rest_is_found_and_placed_also_where_a_plain_chain_says_valid() {
    let whole = Logs::of(log(7, CALLS));
    assert_eq!(whole.plain.len() as u64, TOTAL);
    assert!(plain_chain_is_valid(&whole.plain) && verify(whole.path()).verdict() == Verdict::Pass);
    let mut wrong = Vec::new();
    for Attack { name, act, plain, finds, seq, .. } in ATTACKS {
        let mut logs = whole.copy();
        act(&mut logs);
        let report = verify(logs.path());
        let said = if plain_chain_is_valid(&logs.plain) { Plain::Valid } else { Plain::Broken };
        let is_found = report.verdict() == Verdict::Fail && found(&report, *finds, *seq);
        if !is_found || said != *plain {
            wrong.push(format!("{name}: {said:?}, {:?}", report.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_of_the_twenty_eight_attacks_is_beside_a_plain_chain_or_says_why_not() {
    let beside = ATTACKS.iter().flat_map(|attack| attack.numbers.iter().copied());
    let elsewhere = ELSEWHERE.iter().map(|(number, _)| *number);
    let both: BTreeSet<u8> = beside.clone().collect();
    assert!(elsewhere.clone().all(|number| !both.contains(&number)));
    let all: BTreeSet<u8> = beside.chain(elsewhere).collect();
    assert_eq!(all, (1..=28).collect());
}

#[test]
fn a_clock_set_back_between_two_lives_is_valid_to_a_plain_chain_and_suspect_beside_what_witnesses_saw()
 {
    // Attack 19: each life tells the truth of its own clock, so no record contradicts another.
    let dir = log(7, CALLS);
    let registry = verify(dir.path()).registries.remove(0);
    let note = fs::read_dir(dir.path().join(REGISTRY).join("heads")).unwrap();
    let newest = note.map(|entry| entry.unwrap().path()).max().unwrap();
    let note = fs::read_to_string(newest).unwrap();
    let head = Head::open(&note, trust().registries().next().unwrap().1).unwrap();
    assert_eq!(head.size, registry.size);
    let witness = Cosigner::new("w.example", SecretKey::from_seed(&[9; 32])).unwrap();
    let seen = dir.path().join(layout::witnessed_file(&head.origin, head.size));
    fs::create_dir_all(seen.parent().unwrap()).unwrap();
    let now = (config(dir.path()).clock)();
    fs::write(seen, note + &witness.line(&head.checkpoint(), now)).unwrap();

    let asks = format!("witness W {}\nquorum W\n", witness.witness());
    let asked = Trust::parse(&trust().to_string().replace("quorum none\n", &asks)).unwrap();
    let judged = |dir: &Path| {
        let options =
            Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
        verify_region(&DirSource(dir.to_path_buf()), &asked, &options, &mut |_| {})
    };
    assert_eq!(judged(dir.path()).verdict(), Verdict::Pass);

    let back = Timestamp::from_unix_ns(now.unix_ns() - 7_200 * 1_000_000_000);
    let set_back = JournalConfig { clock: Arc::new(move || back), ..config(dir.path()) };
    Journal::open(set_back).unwrap().0.close().unwrap();
    let second = "streams/gw-1/00000000000000000002";
    let bytes = fs::read(&wals(dir.path(), second)[0]).unwrap();
    let frames = Frames::open(&bytes).unwrap().1;
    let lines: Lines = frames.map(|frame| frame.unwrap().record.to_vec()).collect();
    assert!(plain_chain_is_valid(&chained(&lines)));
    assert_eq!(verify(dir.path()).verdict(), Verdict::Pass, "without a witness nobody can tell");
    let report = judged(dir.path());
    assert_eq!(report.verdict(), Verdict::Suspect, "{report:#?}");
    let dated = |one: &Finding| {
        matches!(one.flaw, Flaw::Dated { size, .. } if size == head.size)
            && one.place.seq == Some(head.size)
    };
    assert!(report.findings.iter().any(dated), "{report:#?}");
}

#[test]
fn a_log_set_back_is_valid_to_a_plain_chain_and_refused_by_who_remembers_its_head() {
    // Attack 7: the whole directory as it was a life ago.
    let whole = log(7, CALLS);
    let before = tempfile::tempdir().unwrap();
    copy_dir(whole.path(), before.path());
    Journal::open(config(whole.path())).unwrap().0.close().unwrap();
    let remembered: Vec<Head> = verify(whole.path()).registries;

    assert!(plain_chain_is_valid(&chained(&records(before.path()))));
    let report = verify_with(before.path(), remembered);
    assert_eq!(report.verdict(), Verdict::Fail);
    assert!(matches!(report.findings[0].flaw, Flaw::Truncated { .. }), "{report:#?}");
}

//! Twelve changes to a log, each to the objects as they are shipped and to the same log in C2SP tiles: what our verifier says
//! and what others' say. The table is in `docs/spec/audit-attacks.md`.
//!
//! Whoever makes them holds the region key and not the stream's, which died with its process.

use std::fs;
use std::path::{Path, PathBuf};

use aegis_audit_chain::Head;
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_verify::{Report, Verdict};

use super::log::Log;
use super::peers::{Aics, Go};
use super::segments::forge;
use super::tiles;
use crate::support::{SHIPPED, address, copy_dir, verify};

/// The record that is changed, and the segment it is in.
const RECORD: usize = 7;

struct Change {
    name: &'static str,
    /// To the shipped folder.
    shipped: fn(&Log, &Path),
    /// To the folder of tiles.
    tiles: fn(&Log, &Path),
    /// How our first finding begins.
    ours: &'static str,
    /// Who else fails: Go on the shipped folder, Go on the tiles, aics-tlog on the tiles.
    theirs: [bool; 3],
}

const ALL: [bool; 3] = [true; 3];

const CHANGES: [Change; 12] = [
    Change {
        name: "a byte of a record",
        shipped: |_, bucket| forge(bucket, |segments| flip(&mut segments[1].records[RECORD])),
        tiles: |log, dir| entries(log, dir, |records| flip(&mut records[RECORD])),
        ours: "Changed",
        theirs: ALL,
    },
    Change {
        name: "two records swapped",
        shipped: |_, bucket| forge(bucket, |segments| segments[1].records.swap(RECORD, RECORD + 1)),
        tiles: |log, dir| entries(log, dir, |records| records.swap(RECORD, RECORD + 1)),
        ours: "Link(Seq",
        theirs: ALL,
    },
    Change {
        name: "a record dropped",
        shipped: |_, bucket| forge(bucket, |segments| drop(segments[1].records.remove(RECORD))),
        tiles: |log, dir| entries(log, dir, |records| drop(records.remove(RECORD))),
        ours: "Link(Seq",
        theirs: ALL,
    },
    Change {
        name: "the tail cut",
        shipped: |_, bucket| {
            forge(bucket, |segments| drop(segments.last_mut().unwrap().records.pop()));
        },
        tiles: |log, dir| entries(log, dir, |records| drop(records.pop())),
        ours: "Truncated",
        theirs: ALL,
    },
    Change {
        name: "a byte more",
        shipped: |_, bucket| forge(bucket, |segments| segments.last_mut().unwrap().rest.push(0)),
        tiles: |log, dir| append(&dir.join(last(log, "entries")), 0),
        ours: "Segment(Framing)",
        theirs: ALL,
    },
    Change {
        name: "another width",
        shipped: narrow_segment,
        tiles: |log, dir| cut(&dir.join(last(log, "0")), 32),
        ours: "Segment(Misplaced)",
        theirs: ALL,
    },
    Change {
        name: "an older head",
        shipped: |log, bucket| head(log, bucket, |_| log.older().to_owned()),
        tiles: |log, dir| fs::write(dir.join("checkpoint"), log.older()).unwrap(),
        ours: "Misplaced",
        theirs: ALL,
    },
    Change {
        name: "another key's signature",
        shipped: |log, bucket| head(log, bucket, foreign),
        tiles: |_, dir| checkpoint(dir, foreign),
        ours: "Note(Unsigned)",
        theirs: ALL,
    },
    Change {
        name: "the same name with another key id",
        shipped: |log, bucket| head(log, bucket, other_id),
        tiles: |_, dir| checkpoint(dir, other_id),
        ours: "Note(Unsigned)",
        theirs: ALL,
    },
    Change {
        name: "the signature line twice",
        shipped: |log, bucket| head(log, bucket, twice),
        tiles: |_, dir| checkpoint(dir, twice),
        ours: "Note(Malformed)",
        theirs: [false, false, true],
    },
    Change {
        name: "base64 with spare bits set",
        shipped: |log, bucket| head(log, bucket, spare_bits),
        tiles: |_, dir| checkpoint(dir, spare_bits),
        ours: "Note(Malformed)",
        theirs: [false, false, true],
    },
    Change {
        name: "the last object gone",
        shipped: |_, bucket| fs::remove_file(segments(bucket, ".rec.gz").pop().unwrap()).unwrap(),
        tiles: |log, dir| fs::remove_file(dir.join(last(log, "0"))).unwrap(),
        ours: "Segment(Gone)",
        theirs: ALL,
    },
];

#[test]
fn twelve_changes_fail_in_ours_and_in_at_least_one_of_theirs() {
    let log = Log::write();
    let (go, aics) = (Go::find(), Aics::find());
    for Change { name, shipped, tiles, ours, theirs } in &CHANGES {
        assert!(theirs.contains(&true), "{name}");
        let (bucket, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy_dir(log.place.bucket.path(), bucket.path());
        shipped(&log, bucket.path());
        let report = verify(&address(bucket.path()));
        assert_eq!(report.verdict(), Verdict::Fail, "{name}: {report:#?}");
        assert!(first(&report).starts_with(ours), "{name}: {}", first(&report));

        tiles::project(&log.records, log.newest(), dir.path());
        tiles(&log, dir.path());
        if let Some(go) = &go {
            let (passes, said) = go.bucket(bucket.path());
            assert_eq!(!passes, theirs[0], "{name}: Go on the shipped folder: {said}");
            let (passes, said) = go.tiles(&log.vkey, dir.path(), log.newest());
            assert_eq!(!passes, theirs[1], "{name}: Go on the tiles: {said}");
        }
        if let Some(aics) = &aics {
            let (passes, said) = aics.tiles(&log.vkey, dir.path(), log.newest());
            assert_eq!(!passes, theirs[2], "{name}: aics-tlog on the tiles: {said}");
        }
    }
}

fn first(report: &Report) -> String {
    report.findings.first().map(|one| format!("{:?}", one.flaw)).unwrap_or_default()
}

/// Writes the entry bundles anew, with records changed and tiles and widths as they were.
fn entries(log: &Log, dir: &Path, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let mut records = log.records.clone();
    change(&mut records);
    let other = tempfile::tempdir().unwrap();
    tiles::project(&records, "", other.path());
    for (n, width) in [256, log.records.len() - 256].into_iter().enumerate() {
        let after = if n == 0 { 256 } else { records.len() - 256 };
        let (from, to) = (tiles::path("entries", n, after), tiles::path("entries", n, width));
        fs::copy(other.path().join(from), dir.join(to)).unwrap();
    }
}

/// Changes one bit of the tool's name.
fn flip(record: &mut [u8]) {
    let at = record.windows(8).position(|text| text == b"payments").unwrap();
    record[at] ^= 1;
}

/// The last tile of a level.
fn last(log: &Log, level: &str) -> String {
    tiles::path(level, 1, log.records.len() - 256)
}

fn append(path: &Path, byte: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes.push(byte);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, count: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - count]).unwrap();
}

fn segments(bucket: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(bucket.join(SHIPPED).join("seg")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(ending));
    paths.sort();
    paths
}

/// Names the last segment for one record fewer than it has.
fn narrow_segment(log: &Log, bucket: &Path) {
    let (is, should) = (log.records.len() - 1, log.records.len() - 2);
    for ending in [".man", ".rec.gz"] {
        let path = segments(bucket, ending).pop().unwrap();
        let name = path.to_str().unwrap();
        let renamed = name.replace(&format!("{is:020}"), &format!("{should:020}"));
        assert_ne!(name, renamed);
        fs::rename(name, renamed).unwrap();
    }
}

/// Changes the note over the whole log, where it lies in the bucket.
fn head(log: &Log, bucket: &Path, change: impl FnOnce(&str) -> String) {
    let path = bucket.join(SHIPPED).join(log.final_head());
    let changed = change(log.newest());
    assert_ne!(fs::read_to_string(&path).unwrap(), changed);
    fs::write(path, changed).unwrap();
}

fn checkpoint(dir: &Path, change: impl FnOnce(&str) -> String) {
    let path = dir.join("checkpoint");
    let note = fs::read_to_string(&path).unwrap();
    fs::write(path, change(&note)).unwrap();
}

fn foreign(note: &str) -> String {
    let (text, _) = note.split_once("\n\n").unwrap();
    let head = Head::parse(&format!("{text}\n")).unwrap();
    head.note(&Signer::new(head.origin.as_str(), SecretKey::from_seed(&[9; 32])))
}

/// The first character of the signature is of the key's id.
fn other_id(note: &str) -> String {
    let at = note.rfind(' ').unwrap() + 1;
    let other = if note[at..].starts_with('A') { "B" } else { "A" };
    format!("{}{other}{}", &note[..at], &note[at + 1..])
}

fn twice(note: &str) -> String {
    format!("{note}{}\n", note.lines().last().unwrap())
}

/// The last character before the padding has two bits that stand for nothing and must be zero.
fn spare_bits(note: &str) -> String {
    let at = note.rfind('=').unwrap() - 1;
    let next = char::from(note.as_bytes()[at] + 1);
    format!("{}{next}{}", &note[..at], &note[at + 1..])
}

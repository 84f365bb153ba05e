//! The verifier in `docs/spec/vectors/audit/verify.py`, written from the specification alone, over what we write and ship.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aegis_audit_verify::Verdict;

use crate::support::{Place, STREAM, rewrite, trust, verify_local, wals};

pub(crate) struct Python {
    script: PathBuf,
    trust: tempfile::NamedTempFile,
}

impl Python {
    /// Finds Python, or says that it is absent; where `CI` is set, absence is a failure.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub(crate) fn find() -> Option<Self> {
        if Command::new("python3").arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "python3 is not installed");
            eprintln!("skipped: python3 is not installed");
            return None;
        }
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/audit");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), trust().to_string()).unwrap();
        Some(Self { script: vectors.join("verify.py"), trust: file })
    }

    pub(crate) fn run(&self, words: &[&str]) -> (bool, String) {
        let mut python = Command::new("python3");
        python.arg(&self.script).arg(self.trust.path()).args(words);
        let Output { status, stdout, .. } = python.output().unwrap();
        (status.success(), String::from_utf8(stdout).unwrap())
    }

    fn directory(&self, place: &Place) -> (bool, String) {
        self.run(&[place.dir.path().to_str().unwrap()])
    }

    fn bucket(&self, place: &Place) -> (bool, String) {
        self.run(&["--bucket", place.bucket.path().to_str().unwrap()])
    }
}

#[test]
fn a_second_verifier_passes_what_we_write_and_what_we_ship() {
    let Some(python) = Python::find() else { return };
    let place = Place::new();
    place.live(20);
    place.live(3);
    for (passes, said) in [python.directory(&place), python.bucket(&place)] {
        assert!(passes && said.ends_with("PASS\n"), "{said}");
        assert!(
            said.contains("gw-1/1: 46 records") && said.contains("gw-1/2: 12 records"),
            "{said}"
        );
    }
}

#[test]
fn what_was_shipped_and_deleted_is_incomplete_in_both_verifiers_and_whole_in_the_bucket() {
    let Some(python) = Python::find() else { return };
    let place = Place::new();
    crate::prune::live_in_part(&place);
    assert_eq!(verify_local(place.dir.path()).verdict(), Verdict::Incomplete);
    let (passes, said) = python.directory(&place);
    assert!(!passes && said.ends_with("INCOMPLETE\n"), "{said}");
    let (passes, said) = python.bucket(&place);
    assert!(passes, "{said}");
    fs::remove_file(place.dir.path().join(STREAM).join("pruned.note")).unwrap();
    assert!(python.directory(&place).1.contains("FAIL"));
}

#[test]
fn every_change_to_the_directory_fails_in_both_verifiers() {
    let Some(python) = Python::find() else { return };
    type Change = fn(&mut Vec<Vec<u8>>);
    let changes: [(&str, Change); 7] = [
        ("edited", |records| {
            let text = String::from_utf8(records[5].clone()).unwrap();
            records[5] = text.replace("payments", "payment5").into_bytes();
        }),
        ("swapped", |records| records.swap(5, 6)),
        ("dropped", |records| drop(records.remove(5))),
        ("repeated", |records| records.insert(6, records[5].clone())),
        ("tail cut", |records| records.truncate(30)),
        ("a key twice", |records| {
            let text = String::from_utf8(records[5].clone()).unwrap();
            records[5] =
                text.replace("\"status\":200", "\"status\":200,\"status\":500").into_bytes();
        }),
        ("last record changed", |records| {
            let last = records.last_mut().unwrap();
            last[182] ^= 1;
        }),
    ];
    for (name, change) in changes {
        let place = Place::new();
        place.live(20);
        rewrite(&wals(place.dir.path(), STREAM)[0], change);
        let ours = verify_local(place.dir.path());
        let (passes, said) = python.directory(&place);
        assert_eq!((ours.verdict(), passes), (Verdict::Fail, false), "{name}: {said} {ours:#?}");
    }
    let place = Place::new();
    place.live(20);
    fs::remove_dir_all(place.dir.path().join(STREAM)).unwrap();
    assert_eq!(verify_local(place.dir.path()).verdict(), Verdict::Fail);
    assert!(!python.directory(&place).0);
}

#[test]
fn every_change_to_the_bucket_fails_in_both_verifiers() {
    let Some(python) = Python::find() else { return };
    type Change = fn(&Place);
    let changes: [(&str, Change); 5] = [
        ("records edited", |place| {
            let path = &place.objects(".rec.gz")[0];
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("records cut", |place| {
            let path = &place.objects(".rec.gz")[0];
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 9]).unwrap();
        }),
        ("a manifest edited", |place| {
            let path = &place.objects(".man")[0];
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, text.replacen("\n0\n", "\n1\n", 1)).unwrap();
        }),
        ("the last segment removed", |place| {
            fs::remove_file(place.objects(".man").last().unwrap()).unwrap();
        }),
        ("the stream removed", |place| fs::remove_dir_all(place.object("")).unwrap()),
    ];
    for (name, change) in changes {
        let place = Place::new();
        place.live(20);
        change(&place);
        let ours = place.verify();
        let (passes, said) = python.bucket(&place);
        assert_eq!((ours.verdict(), passes), (Verdict::Fail, false), "{name}: {said} {ours:#?}");
    }
}

#[test]
fn a_log_on_its_way_is_incomplete_in_both_verifiers_and_a_registry_without_its_end_fails() {
    let Some(python) = Python::find() else { return };
    let place = crate::on_its_way::cut_short();
    let (passes, said) = python.bucket(&place);
    assert!(!passes && said.ends_with("INCOMPLETE\n"), "{said}");
    assert!(said.contains("gw-1/00000000000000000002: its registry is still to name it"), "{said}");
    fs::remove_file(
        place.bucket.path().join(crate::on_its_way::NEWBORN_SHIPPED).join("genesis.note"),
    )
    .unwrap();
    assert!(python.bucket(&place).1.contains("no trusted registry names this stream"));

    let place = crate::on_its_way::rounds();
    assert!(python.bucket(&place).0);
    crate::on_its_way::cut_registry(&place);
    let said = python.bucket(&place).1;
    assert!(said.contains("were here before"), "{said}");
}

#[test]
fn an_index_that_says_anything_else_fails_in_both_verifiers() {
    let Some(python) = Python::find() else { return };
    for change in crate::indexes::CHANGES {
        let place = crate::indexes::changed(change);
        let (passes, said) = python.bucket(&place);
        assert_eq!((place.verify().verdict(), passes), (Verdict::Fail, false), "{said}");
        assert!(said.contains("index"), "{said}");
    }
}

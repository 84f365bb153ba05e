//! The published vectors of what a log looks like where it lies, and of all that is done to it: byte for byte, with the verdict of
//! this verifier, which the second one (`verify.py`) must share. Run with `AEGIS_BLESS=1` to write them anew after a deliberate
//! change of the format.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, also in its fixtures"
)]

mod changes;
mod judge;
mod life;
mod logs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_chain::{Head, Origin};
use aegis_audit_proof::{Disclosed, Proof, prove_at};
use aegis_audit_ship::{Directory, Log};
use aegis_audit_tenant::make;
use aegis_audit_trust::Trust;
use aegis_domain::TenantId;

use changes::{of_folder, of_text};
use judge::{Way, judge, judge_changed};
use life::{Files, disclosure};

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/audit")
}

/// Compares a folder with the published one, or writes it when asked to.
fn assert_published(name: &str, files: &Files) {
    let root = vectors().join(name);
    if env::var_os("AEGIS_BLESS").is_some() {
        fs::remove_dir_all(&root).ok();
        for (path, bytes) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let mut published = Files::new();
    gather(&root, &root, &mut published);
    assert_eq!(published.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>(), "{name}");
    // What is built with another compressor cuts the same records into other bytes; indexes and manifests tell of these.
    let is_packed = |path: &str| path.ends_with(".rec.gz");
    let packed = || files.iter().filter(|(path, _)| is_packed(path));
    let is_ours = packed().all(|(path, bytes)| published[path] == *bytes);
    for (path, bytes) in packed() {
        assert!(unpacked(&published[path]) == unpacked(bytes), "{path} holds other records");
    }
    let depends = |path: &str| is_packed(path) || path.ends_with(".idx") || path.ends_with(".man");
    let mut compared = files.iter().filter(|(path, _)| is_ours || !depends(path));
    let other = compared.find(|(path, bytes)| published[*path] != **bytes);
    assert_eq!(other.map(|(path, _)| path), None, "{name} is not what this version writes");
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut records).unwrap();
    records
}

fn gather(root: &Path, dir: &Path, files: &mut Files) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(path).unwrap());
        }
    }
}

fn assert_published_text(name: &str, text: &str) {
    let path = vectors().join(name);
    if env::var_os("AEGIS_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let published = fs::read_to_string(&path).unwrap();
    assert!(published == text, "{name} is not what this version writes");
}

/// The key alone, and with a line that believes the first stream up to its newest head, not as far, or at another root.
const REVOKING: [&str; 4] =
    ["gw-1.policy", "revoked.policy", "revoked-early.policy", "revoked-other.policy"];

/// Each vector, how it is read, the trust files it is judged under, and what is done to it.
type Vector = (String, Way, Vec<&'static str>, Vec<String>);

#[test]
fn what_is_published_is_what_is_written_and_both_verifiers_say_the_same_of_it_and_of_every_change()
{
    let texts = texts();
    let trusts = trusts();
    for (name, text) in texts.iter().chain(trusts.iter().map(|(name, text)| (name, text))) {
        assert_published_text(name, text);
    }
    let mut all: Vec<Vector> = folders();
    for (name, text) in &texts {
        let way = if name.ends_with("package") { Way::Package } else { Way::Proof };
        all.push((name.clone(), way, REVOKING.to_vec(), of_text(text)));
    }
    let published = ["decision-2.tlog-proof", "acme.tenant-package", "region"];
    for (name, way) in published.into_iter().zip([Way::Proof, Way::Package, Way::Directory]) {
        let path = vectors().join(name);
        let changes = match way {
            Way::Directory => of_folder(&path),
            _ => of_text(&fs::read_to_string(path).unwrap()),
        };
        all.push((name.to_owned(), way, vec!["trust.policy"], changes));
    }
    let mut table = "vector\tread as\ttrust file\tchange\tverdict\n".to_owned();
    for (name, way, policies, changes) in &all {
        for policy in policies {
            let trust = Trust::parse(&fs::read_to_string(vectors().join(policy)).unwrap()).unwrap();
            let honest = judge(*way, &trust, &vectors().join(name));
            writeln!(table, "{name}\t{way}\t{policy}\tnone\t{honest}").unwrap();
        }
        let trust = fs::read_to_string(vectors().join(policies[0])).unwrap();
        let trust = Trust::parse(&trust).unwrap();
        for change in changes {
            let verdict = judge_changed(*way, &trust, (&vectors().join(name), change));
            writeln!(table, "{name}\t{way}\t{}\t{change}\t{verdict}", policies[0]).unwrap();
        }
    }
    assert_published_text("verdicts.tsv", &table);
    second_verifier();
}

/// The verifier that was written from the specification alone, over the whole table.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn second_verifier() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(env::var_os("CI").is_none(), "python3 is not installed");
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let mut python = Command::new("python3");
    python.arg("-B").arg(vectors().join("verify.py")).arg("--vectors").arg(vectors());
    let output = python.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.ends_with("PASS\n"), "{said}{output:?}");
}

fn trusts() -> Vec<(String, String)> {
    let (_, fleet) = logs::fleet();
    let nested = "group inside any W1 W2\ngroup both all inside W3";
    [
        ("gw-1.policy", logs::trust()),
        ("fleet.policy", fleet),
        ("revoked.policy", logs::revoking(4)),
        ("revoked-early.policy", logs::revoking(2)),
        ("revoked-other.policy", logs::revoking_other()),
        ("witnessed.policy", logs::witnessed_trust(nested, "both")),
        ("unwitnessed.policy", logs::witnessed_trust("group pair 2 W1 W2", "pair")),
    ]
    .map(|(name, trust)| (name.to_owned(), trust.to_string()))
    .into()
}

/// Writes each folder, and says what is done to it.
fn folders() -> Vec<Vector> {
    let (directory, bucket) = (Way::Directory, Way::Bucket);
    let mut all: Vec<(String, Way, Vec<&'static str>, Files)> = vec![
        (
            "torn".into(),
            directory,
            [&REVOKING[..], &["trust.policy"]].concat(),
            logs::crash().files,
        ),
        ("revoked".into(), directory, REVOKING.to_vec(), logs::revoked()),
        ("alive".into(), directory, vec!["gw-1.policy"], logs::alive()),
        ("pruned".into(), directory, vec!["gw-1.policy"], logs::pruned()),
        (
            "shipped".into(),
            bucket,
            vec!["gw-1.policy", "witnessed.policy", "trust.policy"],
            logs::shipped(),
        ),
        ("on-its-way".into(), bucket, vec!["gw-1.policy"], logs::on_its_way()),
        (
            "witnessed".into(),
            directory,
            vec!["witnessed.policy", "unwitnessed.policy", "gw-1.policy"],
            logs::witnessed(),
        ),
        ("fleet".into(), directory, vec!["fleet.policy", "gw-1.policy"], logs::fleet().0),
    ];
    let lies = logs::contradictions().into_iter();
    all.extend(lies.map(|(name, files)| {
        let is_revoked = name.starts_with("revoked");
        let policies = if is_revoked { &REVOKING[..] } else { &REVOKING[..1] };
        (format!("lies/{name}"), directory, policies.to_vec(), files)
    }));
    let policies = vec!["witnessed.policy", "gw-1.policy"];
    let dated = logs::dated().into_iter();
    all.extend(
        dated.map(|(name, files)| {
            (format!("lies/dated-{name}"), directory, policies.clone(), files)
        }),
    );
    let mut vectors_ = Vec::new();
    for (name, way, policies, files) in all {
        assert_published(&name, &files);
        let is_lie = name.starts_with("lies/");
        let changes = if is_lie { Vec::new() } else { of_folder(&vectors().join(&name)) };
        vectors_.push((name, way, policies, changes));
    }
    vectors_
}

/// Proofs, disclosures and packages out of the log whose first life crashed.
fn texts() -> BTreeMap<String, String> {
    let logs::Crash { registry, first, files, .. } = logs::crash();
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in &files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let (source, trust) = (Directory(dir.path().to_path_buf()), logs::trust());
    let prove = |origin: &Origin, seq| prove_at(&source, &trust, (origin, seq)).unwrap().unwrap();
    let (early, late) = (prove(&first.origin, 2), prove(&first.origin, 4));
    assert!(early.end.is_none() && late.end.is_some());
    assert_eq!(late.check(&trust).unwrap().head, first.head());
    // A gateway has the region's key, and signs the end itself.
    let Head { origin, size, root } = first.head();
    let signed = Head { origin, size, root }.note(&registry.signer);
    let by_region =
        Proof { checkpoint: signed, birth: early.birth.clone(), end: None, ..late.clone() };
    let Ok(Record { entry: Entry::Decision(_), .. }) = Record::parse(&late.record) else {
        unreachable!()
    };
    let disclosures = vec![disclosure()];
    let disclosed = Disclosed { proof: late.clone(), disclosures };
    let package = |tenant: &str| {
        let tenant = TenantId::parse(tenant).unwrap();
        make(&source, &trust, &tenant, &mut |_| {}).unwrap().to_text()
    };
    BTreeMap::from([
        ("anchored.tlog-proof", early.to_text()),
        ("forged.tlog-proof", logs::forged(&early).to_text()),
        ("end.tlog-proof", late.to_text()),
        ("end-by-region.tlog-proof", by_region.to_text()),
        ("end.disclosure", Disclosed::to_text(&[disclosed])),
        ("globex.tenant-package", package("globex")),
        ("nobody.tenant-package", package("nobody")),
    ])
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text))
    .collect()
}

#[test]
fn a_published_log_is_a_log_wherever_it_is_opened() {
    for name in ["torn", "shipped"] {
        let log = Log::open(vectors().join(name).to_str().unwrap(), &[]).unwrap();
        assert_eq!(matches!(log, Log::Bucket(..)), name == "shipped");
    }
}

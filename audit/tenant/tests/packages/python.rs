//! The published package, and the verifier in `docs/spec/vectors/audit/verify.py` over it and over what was done to others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use aegis_audit_ship::Directory;
use aegis_audit_tenant::{Package, RegistryPart, Standing, check, make};
use aegis_audit_trust::Trust;
use aegis_audit_verify::Verdict;

use crate::support::{checked, log, package, tenant, trust};

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/audit").join(name)
}

/// What the second verifier says; `None` where there is no Python. Where `CI` is set, absence is a failure.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn second(trust: &str, package: &str) -> Option<(bool, String)> {
    let dir = tempfile::tempdir().unwrap();
    let (trust_file, file) = (dir.path().join("trust"), dir.path().join("package"));
    fs::write(&trust_file, trust).unwrap();
    fs::write(&file, package).unwrap();
    let mut python = Command::new("python3");
    python.arg(vector("verify.py")).arg(trust_file).arg("--tenant-package").arg(file);
    let Ok(output) = python.output() else {
        assert!(env::var_os("CI").is_none(), "python3 is not installed");
        eprintln!("skipped: python3 is not installed");
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(said).unwrap()))
}

#[test]
fn the_published_package_is_what_this_version_makes_and_both_verifiers_pass_it() {
    let policy = fs::read_to_string(vector("trust.policy")).unwrap();
    let trust = Trust::parse(&policy).unwrap();
    let made = make(&Directory(vector("region")), &trust, &tenant("acme"), &mut |_| {}).unwrap();
    let path = vector("acme.tenant-package");
    if env::var_os("AEGIS_BLESS").is_some() {
        fs::write(&path, made.to_text()).unwrap();
    }
    let published = fs::read_to_string(&path).unwrap();
    assert_eq!(made.to_text(), published);
    let report = check(&Package::parse(&published).unwrap(), &trust, &[]);
    assert_eq!((report.verdict(), report.records), (Verdict::Pass, 3), "{report:#?}");
    if let Some((passes, said)) = second(&policy, &published) {
        assert!(passes && said.contains("gw-1/1: 3 of 8 records"), "{said}");
    }
}

#[test]
fn both_verifiers_pass_and_fail_the_same_packages() {
    let dir = log();
    let whole = package(dir.path(), "acme");
    for name in ["acme", "globex", "nobody"] {
        let text = package(dir.path(), name).to_text();
        let Some((passes, said)) = second(&trust().to_string(), &text) else { return };
        assert!(passes, "{name}: {said}");
    }
    type Change = fn(&mut RegistryPart);
    let changes: [(&str, Change); 8] = [
        ("a record dropped", |it| drop(it.streams[0].records.remove(1))),
        ("the last record dropped", |it| drop(it.streams[0].records.pop())),
        ("a stream left out", |it| drop(it.streams.remove(1))),
        ("a stream twice", |it| it.streams.push(it.streams[1].clone())),
        ("reordered", |it| it.streams[0].records.swap(0, 1)),
        ("an older head", |it| it.streams[0].size -= 1),
        ("said to be absent", |it| {
            it.streams[0].records.clear();
            it.streams[0].path.clear();
            it.streams[0].standing = Standing::Absent(Vec::new());
        }),
        ("the registry cut", |it| drop(it.records.drain(4..))),
    ];
    for (name, change) in changes {
        let mut changed = whole.clone();
        change(&mut changed.registries[0]);
        assert_eq!(checked(&changed).verdict(), Verdict::Fail, "{name}");
        let Some((passes, said)) = second(&trust().to_string(), &changed.to_text()) else { return };
        assert!(!passes && said.contains("FAIL"), "{name}: {said}");
    }
}

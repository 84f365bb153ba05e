//! This verifier's verdict on a vector, as it is and as it is changed.

use std::fmt;
use std::fs;
use std::path::Path;

use aegis_audit_proof::{Disclosed, Proof};
use aegis_audit_ship::{Address, Bucket, BucketError, Directory, Indexes, Log};
use aegis_audit_tenant::{Package, check};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Options, Report, verify_region};

/// How a vector is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Directory,
    Bucket,
    Proof,
    Package,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::Bucket => "bucket",
            Self::Proof => "proof",
            Self::Package => "package",
        })
    }
}

pub(crate) fn judge(way: Way, trust: &Trust, path: &Path) -> &'static str {
    let pass = |holds: bool| if holds { "PASS" } else { "FAIL" };
    match way {
        Way::Directory => region(&Log::Directory(Directory(path.to_path_buf())), trust),
        Way::Bucket => {
            let url = format!("file://{}", path.canonicalize().unwrap().display());
            let bucket = Bucket::open(&Address { url, options: Vec::new() }).unwrap();
            region(&Log::Bucket(Box::new(bucket), Indexes::Checked), trust)
        }
        Way::Proof => pass(fs::read_to_string(path).is_ok_and(|text| proof_holds(&text, trust))),
        Way::Package => {
            let package = fs::read_to_string(path).map(|text| Package::parse(&text));
            match package {
                Ok(Ok(package)) => check(&package, trust, &[]).verdict().as_str(),
                _ => "FAIL",
            }
        }
    }
}

fn region(log: &Log, trust: &Trust) -> &'static str {
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
    let mut whole = Report::default();
    let reports = log.each(trust, &mut |source, trust| {
        Ok::<_, BucketError>(verify_region(source, trust, &options, &mut |_| {}))
    });
    reports.unwrap().into_iter().for_each(|report| whole.absorb(report));
    whole.verdict().as_str()
}

fn proof_holds(text: &str, trust: &Trust) -> bool {
    if text.starts_with('{') {
        let all = Disclosed::parse_all(text);
        return all.is_ok_and(|all| all.iter().all(|one| one.check(trust).is_ok()));
    }
    Proof::parse(text).is_ok_and(|proof| proof.check(trust).is_ok())
}

/// The same of a copy that was changed as one line says.
pub(crate) fn judge_changed(
    way: Way,
    trust: &Trust,
    (path, change): (&Path, &str),
) -> &'static str {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("it");
    copy_all(path, &copy);
    carry_out(&copy, change);
    judge(way, trust, &copy)
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_all(&entry.path(), &to.join(entry.file_name()));
    }
}

fn carry_out(root: &Path, change: &str) {
    let words: Vec<&str> = change.split(' ').collect();
    let place = |path: &str| if path == "." { root.to_path_buf() } else { root.join(path) };
    let edit = |path: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(place(path)).unwrap();
        edit(&mut bytes);
        fs::write(place(path), bytes).unwrap();
    };
    let make_room = |path: &str| fs::create_dir_all(place(path).parent().unwrap()).unwrap();
    match words.as_slice() {
        ["flip", path, at, bit] => {
            let (at, bit): (usize, u8) = (at.parse().unwrap(), bit.parse().unwrap());
            edit(path, &|bytes| bytes[at] ^= 1 << bit);
        }
        ["cut", path, by] => {
            let by: usize = by.parse().unwrap();
            edit(path, &|bytes| bytes.truncate(bytes.len().saturating_sub(by)));
        }
        ["append", path, hex] => {
            let byte = u8::from_str_radix(hex, 16).unwrap();
            edit(path, &|bytes| bytes.push(byte));
        }
        ["remove", path] if place(path).is_dir() => fs::remove_dir_all(place(path)).unwrap(),
        ["remove", path] => fs::remove_file(place(path)).unwrap(),
        ["add", path] => {
            make_room(path);
            fs::write(place(path), "stray\n").unwrap();
        }
        ["rename", from, to] => {
            make_room(to);
            fs::rename(place(from), place(to)).unwrap();
        }
        ["copy", from, to] => {
            make_room(to);
            fs::copy(place(from), place(to)).unwrap();
        }
        ["link", path] => {
            let aside = root.with_file_name("aside");
            fs::rename(place(path), &aside).unwrap();
            std::os::unix::fs::symlink(&aside, place(path)).unwrap();
        }
        _ => unreachable!("{change}"),
    }
}

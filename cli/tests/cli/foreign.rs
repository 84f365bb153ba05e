//! Files that somebody else made: what is no plain file, or longer than such a file can be, is named and read no further.
//!
//! Not here: what is in a file that can be read (`verify`, `tenant`). Invariant: each command ends soon and in little memory, with the
//! name of the file and what to do.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aegis_domain::Effect;
use aegis_identity::{KeySet, SigningKey};

use crate::ledger::Ledger;
use crate::support::{Home, json, stderr, stdout};

const STREAM: &str = "audit/streams/gw-1/00000000000000000001";
const REGISTRY: &str = "audit/registry.gw-1/1";

/// What stands in a file's place, and what is said of it.
type Trap = (fn(&Path), &'static str);

const TRAPS: [Trap; 4] =
    [(endless, "link"), (pipe, "a pipe"), (folder, "a folder"), (sparse, "longer than")];

/// Reading it never ends.
fn endless(path: &Path) {
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
}

/// Opening it waits for somebody who writes.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn folder(path: &Path) {
    fs::create_dir(path).unwrap();
}

/// A file of a terabyte that takes no room on disk.
fn sparse(path: &Path) {
    File::create(path).unwrap().set_len(1 << 40).unwrap();
}

/// Puts a trap in the place of a file, has something done, and puts the file back.
fn in_place_of(path: &Path, trap: fn(&Path), act: impl FnOnce()) {
    // Not beside it, where a log would have a file too many.
    let elsewhere = tempfile::tempdir().unwrap();
    let aside = elsewhere.path().join("aside");
    let was_there = path.exists();
    if was_there {
        fs::rename(path, &aside).unwrap();
    }
    trap(path);
    act();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::remove_dir(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
    if was_there {
        fs::rename(aside, path).unwrap();
    }
}

/// A log of one life that ended in order.
fn whole() -> Home {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    ledger.call_of("acme", "one", (Effect::Allow, 150));
    ledger.close();
    home
}

#[test]
fn what_stands_in_a_log_in_place_of_a_file_is_named_and_the_verdict_is_never_pass() {
    let home = whole();
    let head = fs::read_dir(home.path(STREAM).join("heads")).unwrap().next().unwrap().unwrap();
    let files = [
        (home.path(STREAM).join("genesis.note"), ("INCOMPLETE", 3)),
        (home.path(STREAM).join("wal/00000000000000000000.wal"), ("INCOMPLETE", 3)),
        (home.path(STREAM).join("pruned.note"), ("INCOMPLETE", 3)),
        (head.path(), ("INCOMPLETE", 3)),
        (home.path(REGISTRY).join("genesis.note"), ("INCOMPLETE", 3)),
        // Nobody names the stream any more.
        (home.path(REGISTRY).join("wal/00000000000000000000.wal"), ("FAIL", 1)),
    ];
    for (trap, said) in TRAPS {
        for (file, (verdict, code)) in &files {
            in_place_of(file, trap, || {
                let seen = json(&home.run(&["audit", "verify", "-o", "json"]).code(*code));
                assert_eq!(seen["verdict"], *verdict, "{}", file.display());
                let told = home.run(&["audit", "verify"]).code(*code);
                let told = stdout(&told);
                let name = file.file_name().unwrap().to_str().unwrap();
                assert!(told.contains(name) && told.contains(said), "{}: {told}", file.display());
            });
        }
    }
    home.run(&["audit", "verify"]).success();
}

#[test]
fn what_stands_in_a_shipped_folder_in_place_of_an_object_ends_no_verifier_and_is_never_a_pass() {
    let home = Home::empty();
    let (mut ledger, bucket) = (Ledger::open(&home), home.path("bucket"));
    let shipper = ledger.ship(&bucket);
    ledger.call_of("acme", "one", (Effect::Allow, 150));
    ledger.close();
    assert_eq!(shipper.stop(Duration::from_secs(30)).trouble, None);
    let verify = ["audit", "verify", "--from", bucket.to_str().unwrap()];
    home.run(&verify).success();

    let life = bucket.join("v1/local/gw-1/00000000000000000001");
    let segments = fs::read_dir(life.join("seg")).unwrap();
    let mut files: Vec<_> = segments.map(|entry| entry.unwrap().path()).collect();
    files.extend([life.join("genesis.note")]);
    assert!(files.len() >= 4);
    for (trap, _) in TRAPS {
        for file in &files {
            in_place_of(file, trap, || {
                let seen = home.run(&verify).failure();
                let ended =
                    ["FAIL\n", "INCOMPLETE\n"].map(|verdict| stdout(&seen).ends_with(verdict));
                assert!(ended.contains(&true), "{}: {}", file.display(), stdout(&seen));
            });
        }
    }
}

#[test]
fn a_pipe_among_the_records_stops_nobody_who_shows_them() {
    let home = whole();
    let file = home.path(STREAM).join("wal/00000000000000000000.wal");
    in_place_of(&file, pipe, || {
        let told = home.run(&["audit", "tail", "-n", "5"]).failure();
        assert!(stderr(&told).contains("a pipe"), "{}", stderr(&told));
    });
}

#[test]
fn what_a_person_was_handed_in_place_of_a_file_is_named_and_read_no_further() {
    let home = whole();
    let path = |name: &str| home.path(name).display().to_string();
    let (handed, trust, keys) = (path("handed"), path("trust.txt"), path("jwks.json"));
    let key = SigningKey::from_seed([3; 32]).public_key().clone();
    fs::write(&keys, KeySet::default().with(key).unwrap().to_jwks_json()).unwrap();
    for words in [
        &["audit", "verify", "--trust", &handed][..],
        &["audit", "verify", "--remember", &handed],
        &["audit", "verify", "--heads", &handed],
        &["audit", "verify", "--attestation", &handed, "--keys", &keys],
        &["audit", "verify", "--attestation", &trust, "--keys", &handed],
        &["audit", "verify", "--tenant-package", &handed],
        &["audit", "check", &handed],
        &["audit", "check", &trust, "--trust", &handed],
        &["audit", "witness", "--trust", &handed],
    ] {
        for (trap, said) in TRAPS {
            in_place_of(Path::new(&handed), trap, || {
                let told = home.run(words).failure();
                let told = stderr(&told);
                // Who names a link means what it leads to.
                let said = if said == "link" { "a device" } else { said };
                assert!(told.contains("handed") && told.contains(said), "{words:?}: {told}");
            });
        }
    }
}

#[test]
fn a_link_to_a_file_is_as_good_as_the_file_and_so_is_stdin() {
    let home = whole();
    let (trust, link) = (home.path("trust.txt"), home.path("link"));
    std::os::unix::fs::symlink(&trust, &link).unwrap();
    home.run(&["audit", "verify", "--trust", link.to_str().unwrap()]).success();
    let text = fs::read_to_string(trust).unwrap();
    home.run_with(&text, &["audit", "verify", "--trust", "/dev/stdin"]).success();
}

#[test]
fn what_a_person_gives_by_its_path_is_read_so_far_and_a_mounted_secret_is_as_good_as_a_file() {
    let home = Home::empty();
    let (bundle, jwks) = (home.path("bundle.tar.gz"), home.path("mounted/keys.json"));
    let key = SigningKey::from_seed([3; 32]).public_key().clone();
    // As Kubernetes mounts a secret: a link through a link to a folder.
    fs::create_dir_all(home.path("mounted/..2026")).unwrap();
    let keys = KeySet::default().with(key).unwrap().to_jwks_json();
    fs::write(home.path("mounted/..2026/keys.json"), keys).unwrap();
    std::os::unix::fs::symlink("..2026", home.path("mounted/..data")).unwrap();
    std::os::unix::fs::symlink("..data/keys.json", &jwks).unwrap();
    let words = ["policy", "verify", bundle.to_str().unwrap(), "--key", jwks.to_str().unwrap()];
    let larger = "has 1099511627776 bytes, and no file of this kind is longer than 67108864 bytes";
    for (trap, said) in [(sparse as fn(&Path), larger), (endless, "a device"), (folder, "a folder")]
    {
        in_place_of(&bundle, trap, || {
            let told = stderr(&home.run(&words).failure());
            assert!(told.contains(said) && told.contains("bundle.tar.gz"), "{told}");
        });
    }
    // A pipe with nothing of a bundle in it is judged as the file would be.
    let given = ["policy", "verify", "/dev/stdin", "--key", jwks.to_str().unwrap()];
    let told = home.run_with("no bundle", &given).failure();
    assert!(stdout(&told).contains("FAIL"), "{}", stdout(&told));
}

//! `audit revoke`: a trust file that no longer believes a stream's key, and what that file says of logs, proofs and packages.

use std::fs;
use std::path::Path;

use aegis_audit_chain::frame::Frames;
use aegis_domain::Effect;

use crate::ledger::Ledger;
use crate::support::{Home, json, stderr, stdout};

const FIRST: &str = "aegis.localhost/local/gw-1/1";

/// A log of two lives that ended in order.
fn log() -> Home {
    let home = Home::empty();
    for _ in 0..2 {
        let mut ledger = Ledger::open(&home);
        ledger.call("one", Effect::Allow, 150);
        ledger.close();
    }
    home
}

#[test]
fn a_key_that_is_revoked_at_its_newest_head_takes_nothing_away() {
    let home = log();
    let file = home.path("revoked.txt").display().to_string();
    let run = ["audit", "revoke", FIRST, "--out", &file, "-o", "json"];
    let said = json(&home.run(&run).success());
    assert_eq!((&said["stream"], said["size"].as_u64() > Some(2)), (&FIRST.into(), true), "{said}");
    let trust = fs::read_to_string(&file).unwrap();
    assert!(trust.ends_with(&format!("{}\n", said["line"].as_str().unwrap())), "{trust}");
    home.run(&["audit", "verify", "--trust", &file]).success();
    // Once is enough, and no file is written over.
    let again = home.path("again.txt").display().to_string();
    let twice = home.run(&["audit", "revoke", FIRST, "--trust", &file, "--out", &again]).code(2);
    assert!(stderr(&twice).contains("is revoked already; "), "{}", stderr(&twice));
    home.run(&run).code(4);
}

#[test]
fn what_the_key_signed_since_it_was_stolen_fails_and_nothing_else() {
    let home = log();
    let file = home.path("revoked.txt").display().to_string();
    let at = ["--before", "2026-01-01T00:00:00Z", "--out", &file];
    home.run(&[&["audit", "revoke", FIRST][..], &at].concat()).success();
    let report = home.run(&["audit", "verify", "--trust", &file, "-o", "json"]).code(1);
    let report = json(&report);
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2, "{report}");
    assert!(findings.iter().all(|one| one["origin"] == FIRST && one["seq"] == 0), "{report}");
    let whats: Vec<&str> = findings.iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert!(whats[0].contains("revoked behind 0 records, and it signed a head of"), "{whats:?}");
    assert!(whats[1].contains("records 0 to "), "{whats:?}");

    // A proof under that head.
    let folder = home.path("proofs");
    fs::create_dir(&folder).unwrap();
    let place = format!("{FIRST}#2");
    let words = ["audit", "prove", "--record", &place, "--out", folder.to_str().unwrap()];
    home.run(&words).success();
    let proof = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let proof = proof.display().to_string();
    home.run(&["audit", "check", &proof]).success();
    let refused = home.run(&["audit", "check", &proof, "--trust", &file]).code(1);
    assert!(stdout(&refused).contains("revoked") || stderr(&refused).contains("revoked"));
}

/// A process that died while its registry took an anchor and the head over that: the head alone is torn.
#[test]
fn what_a_crash_left_unsigned_in_the_registry_does_not_hide_the_heads_behind_it() {
    let home = Home::empty();
    for life in 0..2 {
        let mut ledger = Ledger::open(&home);
        ledger.call("one", Effect::Allow, 150);
        ledger.close();
        if life == 0 {
            tear(&home.path("audit/registry.gw-1/1"));
        }
    }
    home.run(&["audit", "verify"]).success();
    let file = home.path("revoked.txt").display().to_string();
    let second = FIRST.replace("gw-1/1", "gw-1/2");
    let said =
        json(&home.run(&["audit", "revoke", &second, "--out", &file, "-o", "json"]).success());
    assert!(said["size"].as_u64() > Some(2), "{said}");
    home.run(&["audit", "verify", "--trust", &file]).success();
    let dated = home.path("dated.txt").display().to_string();
    let at = ["--before", "2100-01-01T00:00:00Z", "--out", &dated];
    home.run(&[&["audit", "revoke", &second][..], &at].concat()).success();
    assert_eq!(fs::read_to_string(&dated).unwrap(), fs::read_to_string(&file).unwrap());
}

fn tear(registry: &Path) {
    for of_end in ["heads", "resume"] {
        fs::remove_dir_all(registry.join(of_end)).ok();
    }
    let wal = fs::read_dir(registry.join("wal")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&wal).unwrap();
    let (_, frames) = Frames::open(&bytes).unwrap();
    let last = frames.map_while(Result::ok).last().unwrap().offset;
    fs::write(&wal, &bytes[..last + 20]).unwrap();
}

#[test]
fn a_stream_that_nobody_knows_cannot_be_revoked() {
    let home = log();
    let file = home.path("revoked.txt").display().to_string();
    let unknown = FIRST.replace("gw-1/1", "gw-1/9");
    home.run(&["audit", "revoke", &unknown, "--out", &file]).code(3);
    home.run(&["audit", "revoke", "gw-1", "--out", &file]).code(2);
    assert!(!home.path("revoked.txt").exists());
}

#[test]
fn a_stream_that_stood_and_is_named_by_no_registry_is_missed() {
    let home = log();
    let file = home.path("revoked.txt");
    let run = ["audit", "revoke", FIRST, "--out", &file.display().to_string(), "-o", "json"];
    home.run(&run).success();
    let forged =
        fs::read_to_string(&file).unwrap().replace(FIRST, &FIRST.replace("gw-1/1", "gw-1/9"));
    fs::write(&file, forged).unwrap();
    let report = home.run(&["audit", "verify", "--trust", &file.display().to_string()]).code(1);
    assert!(stdout(&report).contains("the stream is gone"), "{}", stdout(&report));
}

#[test]
fn a_gateway_is_told_by_a_line_in_its_data_directory() {
    let home = log();
    let reason = "a copy of its memory was sold";
    home.run(&["audit", "revoke", FIRST, "--end", reason]).success();
    home.run(&["audit", "revoke", &FIRST.replace("gw-1/1", "gw-1/2"), "--end", "again"]).success();
    let told = fs::read_to_string(home.path("revoked.txt")).unwrap();
    assert_eq!(told, format!("{FIRST} {reason}\naegis.localhost/local/gw-1/2 again\n"));
    for (of, other) in [("gw-1/1", "gw-1/11"), ("/local/", "/lokal/")] {
        let unknown = home.run(&["audit", "revoke", &FIRST.replace(of, other), "--end", reason]);
        assert!(stderr(&unknown.code(3)).contains("as its data directory"));
    }
    // A file that was written by hand may lack the end of its last line.
    fs::write(home.path("revoked.txt"), "another one").unwrap();
    home.run(&["audit", "revoke", FIRST, "--end", reason]).success();
    let told = fs::read_to_string(home.path("revoked.txt")).unwrap();
    assert_eq!(told, format!("another one\n{FIRST} {reason}\n"));
    home.run(&["audit", "revoke", FIRST, "--end", "two\nlines"]).code(2);
    home.run(&["audit", "revoke", FIRST]).code(2);
    home.run(&["audit", "revoke", FIRST, "--end", reason, "--out", "file"]).code(2);
}

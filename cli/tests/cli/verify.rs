//! `audit verify`: verdicts, exit codes, and what an auditor remembers.

use std::fs;

use aegis_domain::Effect;
use aegis_identity::{KeySet, SigningKey};

use crate::ledger::Ledger;
use crate::support::{Home, json, stderr, stdout};

/// A log of two lives that ended in order.
fn whole() -> Home {
    let home = Home::empty();
    for _ in 0..2 {
        let mut ledger = Ledger::open(&home);
        for _ in 0..12 {
            ledger.call("one", Effect::Allow, 150);
            ledger.call("two", Effect::Deny, 0);
        }
        ledger.close();
    }
    home
}

fn copy(home: &Home, from: &str, to: &str) {
    let paths = [home.path(from), home.path(to)];
    let status = std::process::Command::new("cp").arg("-r").args(paths).status();
    assert!(status.unwrap().success());
}

const WAL: &str = "audit/streams/gw-1/00000000000000000001/wal";

#[test]
fn a_log_that_is_whole_passes() {
    let home = whole();
    let passed = home.run(&["audit", "verify"]).success();
    assert!(stdout(&passed).ends_with("PASS\n"), "{}", stdout(&passed));
    assert!(stdout(&passed).contains("aegis.localhost/local/gw-1/2"), "{}", stdout(&passed));
    let seen = json(&home.run(&["audit", "verify", "-o", "json"]).success());
    assert_eq!((&seen["verdict"], &seen["exit_code"]), (&"PASS".into(), &0.into()));
    home.run(&["audit", "verify", "--depth", "chain"]).success();
}

#[test]
fn a_directory_cannot_be_asked_how_long_it_keeps_the_log() {
    let home = whole();
    let asked = ["audit", "verify", "--retention", "compliance:365d"];
    let run = home.run(&asked).code(3);
    assert!(stdout(&run).contains("nobody can be asked how long"), "{}", stdout(&run));
    assert!(stderr(&run).contains("0 of 0 objects are kept as asked (COMPLIANCE for 365 days)"));
    let seen = json(&home.run(&[&asked[..], &["-o", "json"]].concat()).code(3));
    assert_eq!(seen["gaps"][0]["what"], "retention unknown");
    assert_eq!(seen["retention"]["asked"], "COMPLIANCE for 365 days");
    let unasked = json(&home.run(&["audit", "verify", "-o", "json"]).success());
    assert!(unasked["retention"].is_null());
    for wrong in ["365d", "compliance", "compliance:0d", "strict:1d"] {
        home.run(&["audit", "verify", "--retention", wrong]).code(2);
    }
}

#[test]
fn threads_change_nothing_that_is_said() {
    let home = whole();
    let says = |threads: &str| {
        let run = home.run(&["audit", "verify", "--threads", threads, "-o", "json"]);
        json(&run.success())
    };
    assert_eq!(says("1"), says("4"));
    fs::remove_file(home.path(WAL).join("00000000000000000000.wal")).unwrap();
    let fails = |threads: &str| {
        json(&home.run(&["audit", "verify", "--threads", threads, "-o", "json"]).code(1))
    };
    assert_eq!(fails("1"), fails("4"));
    home.run(&["audit", "verify", "--threads", "0"]).code(2);
}

#[test]
fn one_changed_byte_fails_and_is_placed() {
    let home = whole();
    let file = home.path(WAL).join("00000000000000000000.wal");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(5).position(|window| window == b"allow").unwrap();
    bytes[at..at + 5].copy_from_slice(b"denny");
    fs::write(&file, bytes).unwrap();
    let failed = home.run(&["audit", "verify"]).code(1);
    assert!(stdout(&failed).contains("broken"), "{}", stdout(&failed));
    assert!(stdout(&failed).ends_with("FAIL\n"), "{}", stdout(&failed));
    let seen = json(&home.run(&["audit", "verify", "-o", "json"]).code(1));
    assert_eq!(seen["exit_code"], 1);
    assert!(seen["findings"][0]["file"].as_str().unwrap().contains("gw-1"), "{seen}");
}

#[test]
fn a_stream_that_vanished_fails() {
    let home = whole();
    fs::remove_dir_all(home.path("audit/streams/gw-1/00000000000000000001")).unwrap();
    home.run(&["audit", "verify"]).code(1);
}

#[test]
fn a_log_that_is_being_written_is_incomplete() {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    ledger.call("one", Effect::Allow, 1);
    // The next head is signed within a second, so this looks at a copy made at once.
    copy(&home, "audit", "now");
    let now = home.path("now");
    let seen = home.run(&["audit", "verify", now.to_str().unwrap()]).code(3);
    assert!(stdout(&seen).ends_with("INCOMPLETE\n"), "{}", stdout(&seen));
    assert!(stdout(&seen).contains("no signed head covers"), "{}", stdout(&seen));
}

#[test]
fn an_empty_log_is_never_a_pass_and_a_missing_one_ends_with_3() {
    let home = Home::ready();
    let missing = home.run(&["audit", "verify"]).code(3);
    assert!(stderr(&missing).contains("the audit log is missing"), "{}", stderr(&missing));
    fs::create_dir(home.path("audit")).unwrap();
    home.run(&["audit", "verify"]).code(1);
}

#[test]
fn a_log_of_another_region_is_not_believed() {
    let (home, other) = (whole(), Home::ready());
    let trust = other.path("trust.txt");
    let words = ["audit", "verify", "--trust", trust.to_str().unwrap()];
    home.run(&words).code(1);
    fs::write(&trust, "witness w\n").unwrap();
    let refused = home.run(&words).code(1);
    assert!(stderr(&refused).contains("line 1 is not understood"), "{}", stderr(&refused));
    fs::remove_file(&trust).unwrap();
    home.run(&words).code(3);
}

#[test]
fn a_log_that_was_replaced_by_an_earlier_copy_of_itself_is_found_out() {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    ledger.call("one", Effect::Allow, 1);
    ledger.close();
    let head = home.path("head.txt");
    let words = ["audit", "verify", "--remember", head.to_str().unwrap()];
    copy(&home, "audit", "earlier");
    Ledger::open(&home).close();
    home.run(&words).success();
    let remembered = fs::read_to_string(&head).unwrap();
    home.run(&words).success();

    fs::remove_dir_all(home.path("audit")).unwrap();
    copy(&home, "earlier", "audit");
    home.run(&["audit", "verify"]).success();
    let failed = home.run(&words).code(1);
    assert!(stdout(&failed).contains("are signed for"), "{}", stdout(&failed));
    assert_eq!(fs::read_to_string(&head).unwrap(), remembered);
    fs::write(&head, "nonsense").unwrap();
    home.run(&words).code(1);
}

#[test]
fn a_log_verifies_from_the_bucket_it_was_shipped_to() {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    let bucket = home.path("bucket");
    let shipper = ledger.ship(&bucket);
    ledger.call("one", Effect::Allow, 150);
    ledger.close();
    let standing = shipper.stop(std::time::Duration::from_secs(30));
    assert_eq!((standing.trouble, standing.backlog_bytes), (None, 0));

    let (folder, head) = (bucket.to_str().unwrap(), home.path("head.txt"));
    let url = format!("file://{folder}");
    for from in [folder, url.as_str()] {
        let words = ["audit", "verify", "--from", from, "--remember", head.to_str().unwrap()];
        let passed = home.run(&words).success();
        assert!(stdout(&passed).ends_with("PASS\n"), "{}", stdout(&passed));
    }
    let seg = bucket.join("v1/local/gw-1/00000000000000000001/seg");
    for entry in fs::read_dir(&seg).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "gz") {
            fs::write(path, "x").unwrap();
        }
    }
    let words = ["audit", "verify", &url, "-o", "json"];
    let seen = json(&home.run(&words).code(1));
    let object = seen["findings"][0]["file"].as_str().unwrap();
    assert!(object.starts_with("v1/local/gw-1/") && object.ends_with(".rec.gz"), "{seen}");
}

#[test]
fn a_bucket_that_is_not_one_is_said_to_be_so() {
    let home = whole();
    home.run(&["audit", "verify", "--from", "ftp://audit"]).code(2);
    home.run(&["audit", "verify", "--from", "file:///nowhere/at/all"]).code(3);
    assert!(!std::path::Path::new("/nowhere").exists());
    let words = ["audit", "verify", "s3://audit", "--store-option", "aws_endpoint"];
    home.run(&words).code(2);
}

#[test]
fn a_decision_is_proven_by_a_file_and_a_key_alone() {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    let bucket = home.path("bucket");
    let shipper = ledger.ship(&bucket);
    ledger.call("one", Effect::Allow, 150);
    let id = ledger.call("two", Effect::Allow, 150).to_string();
    ledger.close();
    shipper.stop(std::time::Duration::from_secs(30));

    let out = home.path("proofs");
    fs::create_dir(&out).unwrap();
    let folder = out.to_str().unwrap();
    let words = ["audit", "prove", &id, "--from", bucket.to_str().unwrap(), "--out", folder];
    home.run(&words).success();
    home.run(&words).code(4);
    fs::remove_dir_all(home.path("audit")).unwrap();
    fs::remove_dir_all(&bucket).unwrap();

    let proof = out.join(format!("{id}.decision.tlog-proof"));
    let check = ["audit", "check", proof.to_str().unwrap(), "-o", "json"];
    let seen = json(&home.run(&check).success());
    assert_eq!(
        (&seen["record"]["id"], &seen["record"]["agent"]),
        (&id.as_str().into(), &"two".into())
    );
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);

    // A digit of the path.
    let text = fs::read_to_string(&proof).unwrap();
    let at = text.find("\nindex").unwrap() + 12;
    let letter = if &text[at..at + 1] == "A" { "B" } else { "A" };
    fs::write(&proof, format!("{}{letter}{}", &text[..at], &text[at + 1..])).unwrap();
    home.run(&check).code(1);
    home.run(&["audit", "prove", "01K9ZQ4T3X8E5R6Y7W2V1BNM0C"]).code(3);
}

#[test]
fn a_log_whose_beginning_was_shipped_and_deleted_is_incomplete_here_and_whole_there() {
    let home = Home::empty();
    let bucket = home.path("bucket");
    let mut ledger = Ledger::open(&home);
    for _ in 0..40 {
        ledger.call("one", Effect::Allow, 150);
    }
    let shipper = ledger.ship_and_delete(&bucket);
    let note = home.path(WAL).with_file_name("pruned.note");
    while !note.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let id = ledger.call("one", Effect::Allow, 150);
    ledger.close();
    shipper.stop(std::time::Duration::from_secs(60));
    let here = home.run(&["audit", "verify"]).code(3);
    assert!(stdout(&here).contains("were shipped and deleted here"), "{}", stdout(&here));
    assert!(stdout(&here).ends_with("INCOMPLETE\n"), "{}", stdout(&here));
    home.run(&["audit", "verify", "--from", bucket.to_str().unwrap()]).success();
    let cost = home.run(&["cost", "report"]).success();
    assert!(stderr(&cost).contains("older records were shipped and deleted"), "{}", stderr(&cost));
    let proof = home.path(&format!("{id}.decision.tlog-proof"));
    let out = home.path("").display().to_string();
    home.run(&["audit", "prove", id.as_str(), "--out", &out]).success();
    home.run(&["audit", "check", proof.to_str().unwrap()]).success();
}

#[test]
fn a_promise_is_kept_or_is_found_broken_at_its_place() {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    for _ in 0..5 {
        ledger.call("one", Effect::Deny, 0);
    }
    let (log, leaf) = ledger.position(4);
    let key = SigningKey::from_seed([3; 32]);
    let keys = KeySet::default().with(key.public_key().clone()).unwrap();
    fs::write(home.path("jwks.json"), keys.to_jwks_json()).unwrap();
    ledger.close();
    let verify = |log: &str, seq: u64, iat: u64, typ: &str| {
        let claims = serde_json::json!({
            "log": log, "seq": seq.to_string(), "leaf": leaf, "iat": iat, "mmd": 60,
        });
        let token = key.sign(typ, claims.to_string().as_bytes());
        fs::write(home.path("attestation.jwt"), token + "\n").unwrap();
        let (file, keys) = (home.path("attestation.jwt"), home.path("jwks.json"));
        let words = ["--attestation", file.to_str().unwrap(), "--keys", keys.to_str().unwrap()];
        home.run(&[&["audit", "verify", "-o", "json"], &words[..]].concat())
    };
    let att = "aegis-att+jwt";
    verify(&log, 4, 0, att).success();
    for (seq, place) in [(5, 5), (4_000, 4_000)] {
        let seen = json(&verify(&log, seq, 0, att).code(1));
        assert_eq!(seen["verdict"], "FAIL", "{seen}");
        let finding = &seen["findings"][0];
        assert_eq!((&finding["origin"], &finding["seq"]), (&log.as_str().into(), &place.into()));
    }
    // It may still be on its way.
    let soon = crate::ledger::now().unix_s();
    assert_eq!(json(&verify(&log, 4_000, soon, att).code(3))["verdict"], "INCOMPLETE");
    let never_born = log.replace("gw-1/1", "gw-1/9");
    json(&verify(&never_born, 0, 0, att).code(1));
    verify(&log, 4, 0, "at+jwt").failure();
    verify("other.example/local/gw-1/1", 4, 0, att).failure();
}

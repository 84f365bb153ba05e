//! `aegisctl audit trust`, `heads`, `logs` and `verify --heads`: what a region's voters saw finds what its operator took away.
//!
//! Not here: the protocol (`control/tests/api/witness.rs`). Invariant: the voter and the program are real, heads are shown by the client
//! that gateways use, and each attack is made by somebody who holds the bucket and every key but the voter's.

use std::fs;
use std::time::Duration;

use aegis_audit_chain::note::{SecretKey, Signer, Verifier};
use aegis_audit_chain::submission::{Answer, Submission};
use aegis_audit_chain::{Hash, Head, Origin, tree};
use aegis_audit_witness::{Anchors, Channel as _, Http};
use aegis_domain::Effect;

use crate::ledger::Ledger;
use crate::region::Region;
use crate::support::{Home, json, stderr, stdout};

/// Two gateways in one bucket, whose heads a voter has seen, and what an auditor was given.
struct Seen {
    region: Region,
    homes: [Home; 2],
    desk: Home,
}

impl Seen {
    fn new() -> Self {
        let seen = Self {
            region: Region::start(),
            homes: [Home::empty(), Home::empty()],
            desk: Home::empty(),
        };
        for number in 0..2 {
            seen.live(number);
        }
        let out = seen.path("region.txt");
        seen.region.says("", &format!("audit trust --out {out}"));
        fs::write(seen.path("heads.txt"), seen.region.says("", "audit heads")).unwrap();
        seen
    }

    /// One life of a gateway's journal, with the voter watching to its end.
    fn live(&self, number: usize) {
        let (home, names) = (&self.homes[number], ["gw-1", "gw-2"]);
        let seed = [u8::try_from(number).unwrap() + 7; 32];
        let mut ledger = Ledger::of(home, (names[number], seed), 100);
        let token = fs::read_to_string(self.region.home.path("control/admin.token")).unwrap();
        let (anchors, witnesses) = ledger.shown(&self.region.url, &token);
        let shipper = ledger.ship(&self.desk.path("bucket"));
        for _ in 0..3 {
            ledger.call_of("acme", names[number], (Effect::Allow, 150));
        }
        while anchors.standing().size == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        ledger.close();
        let standing = Anchors::stop(&anchors);
        assert_eq!((standing.trouble, standing.voters), (None, 1));
        witnesses.stop();
        assert_eq!(shipper.stop(Duration::from_secs(30)).trouble, None);
    }

    fn path(&self, name: &str) -> String {
        self.desk.path(name).display().to_string()
    }

    /// Exit code and words of `audit verify` over the bucket.
    fn verify(&self, more: &[&str]) -> (i32, String) {
        let (bucket, trust) = (self.path("bucket"), self.path("region.txt"));
        let words = ["audit", "verify", "--from", &bucket, "--trust", &trust];
        let output = self.desk.run(&[&words, more].concat());
        let code = output.get_output().status.code().unwrap();
        let said = [&*output.get_output().stdout, &output.get_output().stderr].concat();
        (code, String::from_utf8_lossy(&said).into_owned())
    }

    fn verify_heads(&self) -> (i32, String) {
        self.verify(&["--heads", &self.path("heads.txt")])
    }
}

#[test]
fn an_untouched_log_reaches_what_the_voters_saw() {
    let seen = Seen::new();
    let (code, said) = seen.verify_heads();
    assert!(code == 0 && said.lines().any(|line| line == "PASS"), "{said}");
    let policy = fs::read_to_string(seen.path("region.txt")).unwrap();
    let lines = |start: &str| policy.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((lines("log "), lines("witness voter-1 "), lines("group voters 1 ")), (2, 1, 1));
    let listed = json(&seen.region.run("", "-o json audit logs").success());
    assert_eq!(listed["logs"].as_array().unwrap().len(), 2);
}

#[test]
fn the_voters_of_another_region_witness_what_a_trust_file_or_a_key_names() {
    let (seen, other) = (Seen::new(), Region::start());
    let policy = fs::read_to_string(seen.path("region.txt")).unwrap();
    let keys: Vec<&str> = policy.lines().filter_map(|line| line.strip_prefix("log ")).collect();
    let listed = || {
        let logs = json(&other.run("", "-o json audit logs").success())["logs"].clone();
        let keys = logs.as_array().unwrap().iter().map(|log| log["key"].clone());
        keys.collect::<Vec<_>>()
    };
    let said = stdout(&other.run("", &format!("audit witness {}", keys[0])).success());
    assert!(said.contains(keys[0]), "{said}");
    assert_eq!(listed(), [keys[0]]);
    let by_file = format!("audit witness --trust {}", seen.path("region.txt"));
    for _ in 0..2 {
        let said = stdout(&other.run("", &by_file).success());
        assert!(keys.iter().all(|key| said.contains(key)), "{said}");
        assert_eq!(listed(), keys);
    }

    let taken = Signer::new("audit.example.com/no/region", SecretKey::from_seed(&[9; 32]));
    let wrong = other.run("", &format!("audit witness {}", taken.verifier())).failure();
    assert!(stderr(&wrong).contains("log-key"), "{}", stderr(&wrong));
    fs::write(seen.path("region.txt"), "log nonsense\n").unwrap();
    let wrong = other.run("", &by_file).failure();
    assert!(stderr(&wrong).contains("is no trust file"), "{}", stderr(&wrong));
    other.run("", "audit witness").code(2);
    assert_eq!(listed(), keys);
}

/// A new trust file is asked for whenever voters come and go, and must not forget whose keys others may have.
#[test]
fn a_trust_file_that_takes_the_place_of_another_revokes_what_that_did() {
    let seen = Seen::new();
    let (first, out) = (seen.path("region.txt"), seen.path("revoked.txt"));
    let stream = "aegis.localhost/local/gw-2/1";
    let bucket = seen.path("bucket");
    let revoke = ["audit", "revoke", stream, "--from", &bucket, "--trust", &first, "--out", &out];
    let line = json(&seen.desk.run(&[&revoke[..], &["-o", "json"]].concat()).success());
    let line = line["line"].as_str().unwrap();
    let gone =
        "revoke aegis.localhost/local/gw-9/1 0 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    fs::write(&out, fs::read_to_string(&out).unwrap().replace("log ", "LOG ")).unwrap();
    let bad = seen.region.run("", &format!("audit trust --out {} --renew {out}", seen.path("no")));
    assert!(stderr(&bad.failure()).contains("is no trust file"));
    let stranger =
        Signer::new("aegis.localhost/local/registry.gw-9/1", SecretKey::from_seed(&[9; 32]));
    let text = fs::read_to_string(&out).unwrap().replace("LOG ", "log ");
    fs::write(&out, format!("log {}\n{text}{gone}", stranger.verifier())).unwrap();

    let renewed = seen.path("renewed.txt");
    let told = seen.region.run("", &format!("audit trust --out {renewed} --renew {out}")).success();
    assert!(stderr(&told).contains("no log of theirs, revoked streams: 1"), "{}", stderr(&told));
    let text = fs::read_to_string(&renewed).unwrap();
    assert!(text.ends_with(&format!("{line}\n")) && !text.contains("gw-9"), "{text}");
    assert_eq!(text.replace(&format!("{line}\n"), ""), fs::read_to_string(&first).unwrap());
    let files = format!("audit trust {first} --out {} --renew {out}", seen.path("no"));
    assert!(stderr(&seen.region.run("", &files).code(2)).contains("--renew"));
}

/// Attacks 3 and 7: everything is put back to where it was before the last life, without a trace in what is left.
#[test]
fn a_bucket_that_is_set_back_fails_at_the_head_the_voters_saw() {
    let seen = Seen::new();
    let (bucket, before) = (seen.path("bucket"), seen.path("before"));
    let copy = |from: &str, to: &str| {
        assert!(
            std::process::Command::new("cp").args(["-a", from, to]).status().unwrap().success()
        );
    };
    copy(&bucket, &before);
    seen.live(0);
    fs::write(seen.path("heads.txt"), seen.region.says("", "audit heads")).unwrap();
    let (code, said) = seen.verify_heads();
    assert_eq!(code, 0, "{said}");
    fs::remove_dir_all(&bucket).unwrap();
    copy(&before, &bucket);
    assert_eq!(seen.verify(&[]).0, 0, "nobody can tell who did not keep a head");
    let (code, said) = seen.verify_heads();
    assert!(code == 1 && said.contains("are signed for"), "{said}");
    assert!(said.contains("registry.gw-1/1"), "{said}");
}

/// Attacks 4 and 5: one gateway's log is gone with its registry; then all of it is.
#[test]
fn a_log_that_is_gone_is_named_by_what_the_voters_know() {
    let seen = Seen::new();
    let root = seen.desk.path("bucket/v1/local");
    for below in ["gw-2", "registry.gw-2"] {
        fs::remove_dir_all(root.join(below)).unwrap();
    }
    let (code, said) = seen.verify_heads();
    assert!(code == 1 && said.contains("registry.gw-2/1"), "{said}");
    for below in ["gw-1", "registry.gw-1"] {
        fs::remove_dir_all(root.join(below)).unwrap();
    }
    let (code, said) = seen.verify_heads();
    assert!(
        code == 1 && said.contains("registry.gw-1/1") && said.contains("registry.gw-2/1"),
        "{said}"
    );
}

/// Attack 6: the operator shows the voters another history of the same size.
#[test]
fn two_histories_are_shown_with_both_heads_and_a_third_party_checks_them_alone() {
    let seen = Seen::new();
    let listed = json(&seen.region.run("", "-o json audit logs").success());
    let log = &listed["logs"][0];
    let origin = Origin::parse(log["origin"].as_str().unwrap()).unwrap();
    let signer = Signer::new(origin.as_str(), SecretKey::from_seed(&[7; 32]));
    let size = log["size"].as_u64().unwrap();
    let lie = Head { origin, size, root: Hash::leaf(b"another history") };
    let body = format!("old {size}\n\n{}", lie.note(&signer));
    let mut voter = Http::new(&format!("{}/v1/audit/witness", seen.region.url), None);
    voter.add_checkpoint(&body).unwrap();

    let listed = json(&seen.region.run("", "-o json audit logs").success());
    let evidence = &listed["logs"][0]["evidence"][0];
    let key = Verifier::parse(listed["logs"][0]["key"].as_str().unwrap()).unwrap();
    let opened = |name: &str| Head::open(evidence[name].as_str().unwrap(), &key).unwrap();
    let (one, other) = (opened("anchored"), opened("conflicting"));
    assert!(one.size == other.size && one.root != other.root && other == lie);
    let told = seen.region.run("", "audit logs").success();
    assert!(stderr(&told).contains("show different people different records"), "{}", stderr(&told));
    assert!(stdout(&told).contains("registry.gw-1"));
}

#[test]
fn heads_that_the_trusted_voters_did_not_cosign_are_not_believed() {
    let seen = Seen::new();
    let heads = fs::read_to_string(seen.path("heads.txt")).unwrap();
    let bare: String =
        heads.split_inclusive('\n').filter(|line| !line.contains("/voters/")).collect();
    fs::write(seen.path("heads.txt"), bare).unwrap();
    let (bucket, trust, heads) =
        (seen.path("bucket"), seen.path("region.txt"), seen.path("heads.txt"));
    let words = ["audit", "verify", "--from", &bucket, "--trust", &trust, "--heads", &heads];
    let refused = seen.desk.run(&words).failure();
    assert!(stderr(&refused).contains("too few"), "{}", stderr(&refused));
}

#[test]
fn a_fork_of_another_length_is_shown_as_evidence_and_what_nobody_can_tell_as_a_doubt() {
    let region = Region::start();
    let name = "audit.example.com/eu-west-1/registry/1";
    let signer = Signer::new(name, SecretKey::from_seed(&[9; 32]));
    region.says("", &format!("audit witness {}", signer.verifier()));
    let logs = || stdout(&region.run("", "audit logs").success());
    let tree_of = |kind: &str| {
        (0..30).map(|number| Hash::leaf(format!("{kind} {number}").as_bytes())).collect::<Vec<_>>()
    };
    let (own, fork) = (tree_of("own"), tree_of("fork"));
    let mut voter = Http::new(&format!("{}/v1/audit/witness", region.url), None);
    let mut show = |all: &[Hash], (old, size): (usize, usize), proof: Option<Vec<Hash>>| {
        let (origin, root) = (Origin::parse(name).unwrap(), tree::root(&all[..size]));
        let note = Head { origin, size: size as u64, root }.note(&signer);
        let proof = proof.or_else(|| tree::consistency_proof(&all[..size], old));
        let body = Submission { old: old as u64, proof: proof.unwrap_or_default(), note: &note };
        voter.add_checkpoint(&body.to_string()).unwrap()
    };
    assert!(matches!(show(&own, (0, 11), Some(Vec::new())), Answer::Cosigned(_)));
    assert!(!stderr(&region.run("", "audit logs").success()).contains("of them"), "{}", logs());
    assert_eq!(show(&fork, (11, 20), None), Answer::NotProven);
    let said = stderr(&region.run("", "audit logs").success());
    assert!(said.contains("1 of them show different people different records"), "{said}");
    assert!(!said.contains("a fork, or a mistake"), "{said}");
    assert_eq!(show(&own, (11, 13), Some(vec![Hash::ZERO])), Answer::NotProven);
    let told = region.run("", "audit logs").success();
    assert!(
        stderr(&told).contains("1 of them signed a head that nobody proved"),
        "{}",
        stderr(&told)
    );
    let row =
        logs().lines().last().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!([&*row[1], &*row[3], &*row[4]], ["11", "1", "1"], "{row:?}");
}

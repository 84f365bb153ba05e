//! `aegisctl audit` over the log of two gateways, shipped to one folder or copied into one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aegis_domain::{DecisionId, Effect};
use serde_json::Value;

use crate::ledger::Ledger;
use crate::support::{Home, json, stderr, stdout};

/// Two gateways' logs in one bucket, and the trust file of both.
struct Fleet {
    homes: [Home; 2],
    /// The auditor's.
    desk: Home,
    calls: Vec<DecisionId>,
}

impl Fleet {
    fn new() -> Self {
        let (homes, desk) = ([Home::empty(), Home::empty()], Home::empty());
        let (bucket, mut calls) = (desk.path("bucket"), Vec::new());
        for (home, gateway) in homes.iter().zip([("gw-1", [7; 32]), ("gw-2", [8; 32])]) {
            let mut ledger = Ledger::of(home, gateway, 100 * u64::from(gateway.1[0]));
            let shipper = ledger.ship(&bucket);
            for _ in 0..3 {
                calls.push(ledger.call_of("acme", gateway.0, (Effect::Allow, 150)));
            }
            ledger.call_of("globex", gateway.0, (Effect::Deny, 0));
            ledger.close();
            assert_eq!(shipper.stop(Duration::from_secs(30)).trouble, None);
        }
        let fleet = Self { homes, desk, calls };
        let [one, two] = fleet.homes.each_ref().map(|home| home.path("trust.txt"));
        fleet.told(&["audit", "trust", text(&one), text(&two), "--out", text(&fleet.trust())]);
        fleet
    }

    fn trust(&self) -> std::path::PathBuf {
        self.desk.path("region.txt")
    }

    /// What a command says of the bucket, as JSON.
    fn ask(&self, words: &[&str]) -> serde_json::Value {
        let (bucket, trust) = (self.desk.path("bucket"), self.trust());
        let from = ["--from", text(&bucket), "--trust", text(&trust)];
        self.told(&[words, &from].concat())
    }

    fn told(&self, words: &[&str]) -> serde_json::Value {
        json(&self.desk.run(&[words, &["-o", "json"]].concat()).success())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn one_command_answers_for_all_gateways_of_a_bucket() {
    let fleet = Fleet::new();
    let report = fleet.ask(&["audit", "verify"]);
    assert_eq!(
        (&report["verdict"], report["streams"].as_array().unwrap().len()),
        (&"PASS".into(), 2)
    );
    assert_eq!(report["registry_heads"].as_array().unwrap().len(), 2);

    let found = fleet.ask(&["audit", "query", "--tenant", "acme"]);
    let by =
        |name: &str| found.as_array().unwrap().iter().filter(|row| row["agent"] == name).count();
    assert_eq!((by("gw-1"), by("gw-2")), (6, 6));
    let out = fleet.desk.path("out");
    assert_eq!(fleet.ask(&["audit", "export", "--jsonl", text(&out)])["rows"], 14);

    let proofs = fleet.desk.path("proofs");
    fs::create_dir(&proofs).unwrap();
    for (id, log) in [(&fleet.calls[0], "gw-1/1"), (&fleet.calls[3], "gw-2/1")] {
        let made = fleet.ask(&["audit", "prove", &id.to_string(), "--out", text(&proofs)]);
        let logs = made.as_array().unwrap().iter().map(|row| row["log"].as_str().unwrap());
        assert!(
            made.as_array().unwrap().len() == 2 && logs.into_iter().all(|it| it.ends_with(log))
        );
    }
}

#[test]
fn one_record_is_proved_by_its_place() {
    let fleet = Fleet::new();
    let record = "aegis.localhost/local/gw-2/1#3";
    let out = fleet.desk.path("bucket");
    let made = fleet.ask(&["audit", "prove", "--record", record, "--out", text(&out)]);
    let file = made[0]["file"].as_str().unwrap();
    assert!(file.ends_with("gw-2-1-3.outcome.tlog-proof") && made[0]["record"] == 3, "{made}");
    let trust = fleet.trust();
    let shown = fleet.told(&["audit", "check", file, "--trust", text(&trust)]);
    assert_eq!(shown["log"], "aegis.localhost/local/gw-2/1");
    let (bucket, absent) = (fleet.desk.path("bucket"), "aegis.localhost/local/gw-2/1#900");
    let from = ["--from", text(&bucket), "--trust", text(&trust)];
    fleet.desk.run(&[&["audit", "prove", "--record", absent][..], &from].concat()).code(3);
}

#[test]
fn a_tenants_package_has_its_calls_through_every_gateway_and_is_complete_with_all_of_them_only() {
    let fleet = Fleet::new();
    let package = fleet.desk.path("acme.package");
    fleet.ask(&["audit", "tenant", "--tenant", "acme", "--out", text(&package)]);
    let trust = fleet.trust();
    let check = ["audit", "verify", "--tenant-package", text(&package), "--trust", text(&trust)];
    let report = fleet.told(&check);
    // Three calls of two records and a seal, through each.
    assert_eq!((&report["verdict"], &report["records"]), (&"PASS".into(), &14.into()));

    let alone = fleet.homes[0].path("trust.txt");
    let made = fleet.desk.path("half.package");
    let words =
        ["audit", "tenant", "--tenant", "acme", "--out", text(&made), "--trust", text(&alone)];
    let bucket = fleet.desk.path("bucket");
    fleet.told(&[&words[..], &["--from", text(&bucket)]].concat());
    let check = ["audit", "verify", "--tenant-package", text(&made), "--trust", text(&trust)];
    let half = fleet.desk.run(&check).code(3);
    assert!(stdout(&half).contains("registry.gw-2"), "{}", stdout(&half));
}

#[test]
fn a_gateway_that_is_gone_from_the_bucket_is_named() {
    let fleet = Fleet::new();
    for below in ["gw-2", "registry.gw-2"] {
        fs::remove_dir_all(fleet.desk.path("bucket/v1/local").join(below)).unwrap();
    }
    let (bucket, trust) = (fleet.desk.path("bucket"), fleet.trust());
    let words = ["audit", "verify", "--from", text(&bucket), "--trust", text(&trust)];
    let failed = fleet.desk.run(&words).code(1);
    assert!(
        stdout(&failed).contains("aegis.localhost/local/registry.gw-2/1"),
        "{}",
        stdout(&failed)
    );
}

#[test]
fn trust_files_that_ask_for_other_witnesses_are_not_joined() {
    let home = Home::empty();
    drop(Ledger::of(&home, ("gw-1", [7; 32]), 1));
    let (one, other, out) = (home.path("trust.txt"), home.path("other.txt"), home.path("both.txt"));
    let vkey = fs::read_to_string(&one).unwrap();
    let witness = "witness W w.example/1+c5d0cb5e+BNwpBZRx";
    fs::write(&other, format!("log {}\n{witness}\nquorum none\n", vkey.trim())).unwrap();
    let words = ["audit", "trust", text(&one), text(&other), "--out", text(&out)];
    let refused = home.run(&words).code(1);
    assert!(stderr(&refused).contains("other.txt"), "{}", stderr(&refused));
    assert!(!out.exists());
    home.run(&["audit", "trust", text(&one), text(&one), "--out", text(&out)]).success();
    let joined = fs::read_to_string(&out).unwrap();
    assert_eq!(joined, format!("log {}\nquorum none\n", vkey.trim()));
}

/// `audit tail --follow` of a bucket and a journal, while both grow.
struct Tail {
    process: Child,
    lines: Receiver<Value>,
}

impl Tail {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aegisctl"));
        let words = [&["audit", "tail", "--follow", "-o", "json"], words].concat();
        let mut process = command.args(words).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                sender.send(serde_json::from_str(&line.unwrap()).unwrap()).ok();
            }
        });
        Self { process, lines }
    }

    /// The agents and kinds of the next lines.
    fn next(&self, count: usize) -> Vec<(String, String)> {
        let line = |_| self.lines.recv_timeout(Duration::from_secs(60)).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (0..count).map(line).map(|it| (text(&it["agent"]), text(&it["k"]))).collect()
    }
}

#[test]
fn tail_follows_what_is_shipped_and_what_is_not_yet_and_ends_when_it_is_interrupted() {
    let (desk, homes) = (Home::empty(), [Home::empty(), Home::empty()]);
    let (bucket, trust) = (desk.path("bucket"), homes[0].path("trust.txt"));
    let shipped = |agent: &str, next| {
        let mut ledger = Ledger::of(&homes[0], ("gw-1", [7; 32]), next);
        let shipper = ledger.ship(&bucket);
        ledger.call_of("acme", agent, (Effect::Allow, 1));
        ledger.call_of("globex", "other", (Effect::Deny, 0));
        ledger.close();
        assert_eq!(shipper.stop(Duration::from_secs(30)).trouble, None);
    };
    shipped("one", 1);
    let mut local = Ledger::of(&homes[1], ("gw-2", [8; 32]), 500);
    local.call_of("acme", "two", (Effect::Deny, 0));
    let journal = homes[1].path("audit");

    let from = ["--from", text(&bucket), "--trust", text(&trust)];
    let words = [&from[..], &["--journal", text(&journal), "--tenant", "acme"]].concat();
    let mut tail = Tail::start(&words);
    let seen = |agent: &str, kinds: &[&str]| -> Vec<(String, String)> {
        kinds.iter().map(|kind| (agent.to_owned(), (*kind).to_owned())).collect()
    };
    let both = [seen("one", &["decision", "outcome"]), seen("two", &["decision"])].concat();
    assert_eq!(tail.next(3), both, "in the order of their times");
    local.call_of("acme", "three", (Effect::Allow, 1));
    assert_eq!(tail.next(2), seen("three", &["decision", "outcome"]));
    shipped("four", 100);
    assert_eq!(tail.next(2), seen("four", &["decision", "outcome"]));

    let interrupt = Command::new("kill").args(["-INT", &tail.process.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    assert_eq!(tail.process.wait().unwrap().code(), Some(0));
    assert!(tail.lines.recv().is_err(), "nothing else was shown");
    local.close();
}

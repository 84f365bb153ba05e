//! `aegisctl audit` over the log of two gateways, shipped to one folder or copied into one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aegis_domain::{DecisionId, Effect};

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

//! `audit tenant` and `audit verify --tenant-package`: what a tenant is handed, and what it can prove with that.

use std::fs;

use aegis_domain::Effect;

use crate::ledger::Ledger;
use crate::support::{Home, json, stderr, stdout};

/// Two lives with calls of two tenants, the second of them of one only.
fn two_tenants(home: &Home) {
    let mut ledger = Ledger::open(home);
    for _ in 0..3 {
        ledger.call_of("acme", "one", (Effect::Allow, 150));
        ledger.call_of("globex", "two", (Effect::Deny, 0));
    }
    ledger.close();
    let mut ledger = Ledger::open(home);
    ledger.call_of("globex", "two", (Effect::Deny, 0));
    ledger.close();
}

#[test]
fn a_tenant_proves_its_records_complete_with_the_package_and_the_key_alone() {
    let home = Home::empty();
    two_tenants(&home);
    let (package, trust) = (home.path("acme.package"), home.path("trust.txt"));
    let (file, trust) = (package.to_str().unwrap(), trust.to_str().unwrap());
    let make = ["audit", "tenant", "--tenant", "acme", "--out", file];
    home.run(&make).success();
    home.run(&make).code(4);
    fs::remove_dir_all(home.path("audit")).unwrap();

    let check = ["audit", "verify", "--tenant-package", file, "--trust", trust];
    let passed = home.run(&check).success();
    assert!(stdout(&passed).ends_with("PASS\n"), "{}", stdout(&passed));
    assert!(stderr(&passed).contains("7 records of acme"), "{}", stderr(&passed));
    let seen = json(&home.run(&[&check[..], &["-o", "json"]].concat()).success());
    assert_eq!((&seen["verdict"], &seen["exit_code"]), (&"PASS".into(), &0.into()));
    assert_eq!(
        (&seen["streams"][0]["records"], &seen["streams"][1]["records"]),
        (&7.into(), &0.into())
    );

    let text = fs::read_to_string(&package).unwrap();
    assert!(!text.contains("globex"));
    let last = text.lines().rev().find(|line| line.contains("\"tenant\":\"acme\"")).unwrap();
    fs::write(&package, text.replace(&format!("{last}\n"), "").replace(" 7\n", " 6\n")).unwrap();
    let failed = home.run(&check).code(1);
    assert!(stdout(&failed).contains("names 7 records"), "{}", stdout(&failed));
    fs::write(&package, "nonsense").unwrap();
    let refused = home.run(&check).code(1);
    assert!(stderr(&refused).contains("line 1"), "{}", stderr(&refused));
    home.run(&["audit", "verify", "--tenant-package", "nowhere"]).code(3);
    home.run(&["audit", "verify", "x", "--tenant-package", file]).code(2);
}

#[test]
fn a_package_from_the_bucket_is_the_one_from_the_journal() {
    let home = Home::empty();
    let bucket = home.path("bucket");
    let mut ledger = Ledger::open(&home);
    let shipper = ledger.ship(&bucket);
    ledger.call_of("acme", "one", (Effect::Allow, 150));
    ledger.call_of("globex", "two", (Effect::Deny, 0));
    ledger.close();
    shipper.stop(std::time::Duration::from_secs(30));
    let (here, there) = (home.path("here"), home.path("there"));
    let make = ["audit", "tenant", "--tenant", "acme", "--out"];
    home.run(&[&make[..], &[here.to_str().unwrap()]].concat()).success();
    let from = ["--from", bucket.to_str().unwrap()];
    home.run(&[&make[..], &[there.to_str().unwrap()], &from[..]].concat()).success();
    assert_eq!(fs::read_to_string(here).unwrap(), fs::read_to_string(there).unwrap());
}

#[test]
fn a_tenant_that_remembers_a_head_takes_no_older_package() {
    let home = Home::empty();
    two_tenants(&home);
    let (old, new, head) = (home.path("old"), home.path("new"), home.path("head"));
    let make = ["audit", "tenant", "--tenant", "acme", "--out"];
    home.run(&[&make[..], &[old.to_str().unwrap()]].concat()).success();
    Ledger::open(&home).close();
    home.run(&[&make[..], &[new.to_str().unwrap()]].concat()).success();
    let check = |file: &std::path::Path| {
        let words = ["audit", "verify", "--tenant-package", file.to_str().unwrap()];
        home.run(&[&words[..], &["--remember", head.to_str().unwrap()]].concat())
    };
    check(&old).success();
    check(&new).success();
    let failed = check(&old).code(1);
    assert!(stdout(&failed).contains("was seen before"), "{}", stdout(&failed));
    check(&new).success();
}

#[test]
fn no_package_is_made_of_a_log_that_was_changed() {
    let home = Home::empty();
    two_tenants(&home);
    let wal = "audit/streams/gw-1/00000000000000000001/wal/00000000000000000000.wal";
    let file = home.path(wal);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(5).position(|window| window == b"allow").unwrap();
    bytes[at..at + 5].copy_from_slice(b"denny");
    fs::write(&file, bytes).unwrap();
    let out = home.path("package");
    let words = ["audit", "tenant", "--tenant", "acme", "--out", out.to_str().unwrap()];
    let failed = home.run(&words).code(1);
    assert!(stderr(&failed).contains("is not what was signed"), "{}", stderr(&failed));
    assert!(!out.exists());
}

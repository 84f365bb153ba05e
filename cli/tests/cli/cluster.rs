//! The voters of a region from the command line: the first, the invited, the restored, and the one that is left.
//!
//! Not here: gateways that start on these files (`gateway/tests/building/voters.rs`). Invariant: nothing that is there is
//! written over, and every file is its owner's alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aegis_authority::{Common, Mandate, VoterFiles, VoterName};
use aegis_domain::{Secret, Timestamp};
use aegis_identity::{KeySet, SigningKey};

use crate::region::Region;
use crate::support::{Home, json, stderr, stdout};

fn files(home: &Home) -> VoterFiles {
    VoterFiles::at(&home.path("control/cluster"))
}

fn all_closed(folder: &Path) -> bool {
    let is_closed = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0;
    let mut entries = fs::read_dir(folder).unwrap();
    is_closed(folder) && entries.all(|entry| is_closed(&entry.unwrap().path()))
}

#[test]
fn a_region_of_one_can_be_asked_how_it_is_and_written_down() {
    let region = Region::shaped(Home::empty(), |control| control);
    assert_eq!(json(&region.run("", "cluster status -o json").success())["voters"][0], 1);
    let members = json(&region.run("", "cluster members -o json").success());
    assert_eq!((&members[0]["id"], &members[0]["role"]), (&1.into(), &"leader".into()));
    for line in ["cluster raise", "cluster finish"] {
        region.says("", line);
    }
    let alone = region.run("", "cluster invite --address b.example.com:7400").failure();
    assert!(stderr(&alone).contains("aegisctl cluster init"), "{}", stderr(&alone));
    region.run("", "cluster remove 9").failure().code(3);
    region.run("", "cluster remove 1").failure().code(1);

    region.says("", "agent register acme/bot --org acme");
    let backup = region.home.path("backup");
    let told = json(&region.run("", &format!("cluster backup {} -o json", backup.display())));
    assert_eq!(told["cluster"], "eu-west-1");
    assert!(fs::read_to_string(&backup).unwrap().contains("\"bot\""));
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);

    let elsewhere = Home::ready();
    let backup = backup.to_str().unwrap();
    // Its own key is not the region's.
    let refused = elsewhere.run(&["cluster", "restore", backup]).failure();
    assert!(stderr(&refused).contains("--region-keys"), "{}", stderr(&refused));
    let keys = KeySet::default().with(SigningKey::from_seed([7; 32]).public_key().clone()).unwrap();
    let jwks = region.home.path("region.jwks.json");
    fs::write(&jwks, keys.to_jwks_json()).unwrap();
    let restore = ["cluster", "restore", backup, "--region-keys", jwks.to_str().unwrap()];
    let restored = elsewhere.run(&restore).success();
    assert!(stderr(&restored).contains("revocations"), "{}", stderr(&restored));
    assert_eq!(files(&elsewhere).mandate().unwrap(), Some(Mandate::Restore));
    let name = files(&elsewhere).read().unwrap().unwrap().name;
    assert!(name.cluster.starts_with("local.") && name.node == 1, "{name:?}");
    assert!(fs::read_to_string(files(&elsewhere).backup()).unwrap().starts_with("{\"revision\":"));
    assert!(all_closed(&elsewhere.path("control/cluster")));
    elsewhere.run(&restore).failure().code(4);

    let text = fs::read_to_string(backup).unwrap();
    fs::write(backup, text.replace("\"bot\"", "\"bat\"")).unwrap();
    let refused = Home::ready().run(&restore).failure();
    assert!(stderr(&refused).contains("digest"), "{}", stderr(&refused));
    fs::write(backup, text).unwrap();
    Home::ready().run(&["cluster", "restore", backup, "--accept-unverified"]).success();
}

#[test]
fn a_founder_invites_and_the_invited_machine_is_the_voter_it_was_invited_as() {
    let founder = Home::ready();
    founder.run(&["cluster", "init"]).success();
    assert!(all_closed(&founder.path("control/cluster")));
    founder.run(&["cluster", "init"]).failure().code(4);
    let before = files(&founder).read().unwrap().unwrap();
    founder.run(&["cluster", "rotate-cert"]).success();
    assert_ne!(files(&founder).read().unwrap().unwrap().certificate, before.certificate);

    let key = Secret::new(fs::read_to_string(founder.path("keys/region.pem")).unwrap());
    let name = VoterName { cluster: "local".into(), node: 2 };
    let now = Timestamp::from_unix_s(1_790_000_000);
    let token = Secret::new("a follower's token".to_owned());
    let common = Common { region_key: &key, follower_token: &token };
    let invitation = files(&founder).invite((name.clone(), "b:7400"), common, now).unwrap();
    let invitation = serde_json::to_string(&invitation).unwrap();
    let joiner = Home::ready();
    fs::remove_file(joiner.path("keys/region.pem")).unwrap();
    fs::create_dir_all(joiner.path("control")).unwrap();
    fs::write(joiner.path("control/cosigner.secret"), "of an earlier voter").unwrap();
    let told = joiner.run_with(&invitation, &["cluster", "join"]).success();
    assert!(stderr(&told).contains("aegisctl cluster promote 2"), "{}", stderr(&told));
    assert_eq!(files(&joiner).read().unwrap().unwrap().name, name);
    assert_eq!(fs::read_to_string(joiner.path("keys/region.pem")).unwrap(), *key.expose());
    let taken = fs::read_to_string(joiner.path("control/follower.token")).unwrap();
    assert_eq!(taken, *token.expose(), "a follower goes from one voter to the other");
    assert!(!joiner.path("control/cosigner.secret").exists(), "no two ids cosign with one key");
    let again = joiner.run_with(&invitation, &["cluster", "join"]).failure().code(4);
    assert!(stderr(&again).contains("move control/cluster and control/ledger away"));
    let stranger = Home::ready();
    let told = stranger.run_with(&invitation, &["cluster", "join"]).success();
    assert!(stderr(&told).contains("REFUSES the policies that other"), "{}", stderr(&told));

    let other = Home::empty();
    other.run(&["init", "--region", "us-east-1"]).success();
    let refused = other.run_with(&invitation, &["cluster", "join"]).failure();
    assert!(stderr(&refused).contains("another region"), "{}", stderr(&refused));
}

#[test]
fn help_tells_the_commands_of_voters_apart_and_a_file_is_not_the_control_api() {
    let help = stdout(&Home::empty().run(&["cluster", "--help"]).success());
    let lines =
        help.lines().filter(|line| line.starts_with("  ")).filter_map(|line| line.get(15..));
    let lines: Vec<_> = lines.filter(|line| !line.starts_with(' ')).collect();
    let mut once = lines.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), lines.len(), "{help}");
    let missing = Home::ready().run(&["cluster", "join", "--invite", "nowhere.json"]).code(3);
    assert!(
        stderr(&missing).contains("error: nowhere.json cannot be used"),
        "{}",
        stderr(&missing)
    );
}

#[test]
fn a_survivor_is_made_a_cluster_of_one_only_where_somebody_says_so() {
    let home = Home::ready();
    home.run(&["cluster", "init"]).success();
    let recover = ["cluster", "recover", "--yes"];
    home.run(&recover).failure().code(3);
    fs::create_dir_all(home.path("control/ledger")).unwrap();
    fs::write(home.path("control/ledger/ledger.redb"), "").unwrap();
    let pending = home.run(&recover).failure();
    assert!(stderr(&pending).contains("start its gateway"), "{}", stderr(&pending));
    files(&home).carried_out().unwrap();
    let unasked = home.run(&["cluster", "recover"]).failure();
    assert!(stderr(&unasked).contains("--confirm local"), "{}", stderr(&unasked));
    home.run(&["cluster", "recover", "--confirm", "eu-west-1"]).failure();

    let told = home.run(&recover).success();
    assert!(stderr(&told).contains("LOST"), "{}", stderr(&told));
    assert!(stdout(&told).contains("local."), "{}", stdout(&told));
    let was = VoterName { cluster: "local".into(), node: 1 };
    assert_eq!(files(&home).mandate().unwrap(), Some(Mandate::Recover(was)));
    let folder = fs::read_dir(home.path("control")).unwrap();
    let aside = folder.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("cluster.before-")
    });
    assert_eq!(aside.count(), 1, "the files of the cluster that was are kept");
}

#[test]
fn nothing_is_done_to_the_ledger_of_a_gateway_that_runs() {
    let home = Home::ready();
    fs::create_dir_all(home.path("control/ledger")).unwrap();
    let ledger = fs::File::create(home.path("control/ledger/ledger.redb")).unwrap();
    ledger.lock().unwrap();
    let refused = home.run(&["cluster", "init"]).failure();
    assert!(stderr(&refused).contains("stop it first"), "{}", stderr(&refused));
}

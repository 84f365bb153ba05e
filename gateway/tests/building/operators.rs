//! Voters as their operators handle them: with `aegisctl`, one after the other, and on record by whom.
//!
//! Not here: what becomes of calls meanwhile (`voters`), and each command by itself (`cli/region`). Invariant: every deed is typed
//! as people type it, and looked for in the audit log of the voter that did it.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use aegis_authority::VoterFiles;
use aegis_ledger::{Action, FEATURE_LEVEL, VoterAct};
use aegis_raft_store::{Credentials, Door, Fatal, Identity, Node, Pace, Settings, Wish};
use aegis_registry::Actor;
use aegis_testkit::{Building, Plan};
use serde_json::{Value, json};

use crate::GATEWAY;
use crate::changes::changes;
use crate::evidence::assert_verified;
use crate::voters::{eventually, leader, three};

/// What is typed on a voter's machine; `None`, after saying so, where `aegisctl` is not built.
fn typed(house: &Building, line: &str) -> Option<Output> {
    let aegisctl = Path::new(GATEWAY).with_file_name("aegisctl");
    if !aegisctl.exists() {
        assert!(std::env::var_os("CI").is_none(), "CI builds aegisctl beside the gateway");
        println!("skipped: aegisctl is not built");
        return None;
    }
    let mut command = std::process::Command::new(aegisctl);
    command.args(line.split(' ')).current_dir(house.data());
    command.env("AEGIS_DATA", house.data()).env("AEGIS_CONTROL_URL", house.control_url());
    Some(command.output().unwrap())
}

/// Who did what to which voter, as the house's audit log has it.
fn deeds(house: &Building) -> Vec<(String, String, Option<String>)> {
    let deeds = changes(house).into_iter().filter(|change| change.act.starts_with("voter."));
    deeds.map(|change| (change.by, change.act, change.target)).collect()
}

fn deed(by: &str, act: &str, target: Option<&str>) -> (String, String, Option<String>) {
    (by.to_owned(), act.to_owned(), target.map(str::to_owned))
}

#[tokio::test]
async fn who_hands_over_removes_and_recovers_is_on_record_where_it_was_done() {
    let mut houses = three().await;
    let wish = json!({ "as": "alice", "roles": ["admin"] });
    let session = houses[0].region().post("/v1/sessions", wish);
    houses[0].plan().file("alice.token", session["token"].as_str().unwrap());
    let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(houses[0].plan().path("alice.token"), secret).unwrap();

    let heir = if leader(&houses) == 1 { 3 } else { 2 };
    // A leader that has led for less than its lease votes for nobody else yet.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let line = format!("cluster hand-over --to {heir} --admin-token alice.token");
    let Some(done) = typed(&houses[0], &line) else { return };
    assert!(done.status.success(), "{done:?}");
    // What is refused leaves no record.
    let refused = typed(&houses[0], "cluster hand-over --to 9").unwrap();
    assert!(!refused.status.success());
    let handed = deed("session alice", "voter.hand_over", Some(&format!("voter {heir}")));
    assert_eq!(deeds(&houses[0]).last(), Some(&handed));

    houses[2].shoot();
    houses[2].ended().await;
    eventually("voter 3 is removed", || {
        typed(&houses[1], "cluster remove 3").unwrap().status.success()
    })
    .await;
    let removed = deed("local admin", "voter.remove", Some("voter 3"));
    assert_eq!(deeds(&houses[1]).last(), Some(&removed));

    houses[0].shoot();
    houses[0].ended().await;
    houses[1].stop().await;
    let unsure = typed(&houses[1], "cluster recover").unwrap();
    assert!(!unsure.status.success(), "it names the cluster that it would end");
    let done = typed(&houses[1], "cluster recover --confirm eu-west-1").unwrap();
    assert!(done.status.success(), "{done:?}");
    houses[1].start_again().await;
    let recovered = deed("local machine", "voter.recover", Some("voter 2"));
    assert_eq!(deeds(&houses[1]).last(), Some(&recovered));
    houses[1].stop().await;
    assert_verified(&houses[1]);
}

#[tokio::test]
async fn who_asks_a_voter_that_is_out_of_touch_is_told_what_the_answer_is_worth() {
    let houses = three().await;
    let policy = "apiVersion: aegis.dev/v1\nkind: PolicySet\n\
        metadata: { name: t, tenant: acme, env: prod }\ntools: {}\n";
    let files = json!({ "files": [{ "name": "t.yaml", "text": policy }] });
    houses[0].region().post("/v1/policies/acme/prod/versions", files);
    let Some(done) = typed(&houses[0], "policy activate 1 --tenant acme --env prod") else {
        return;
    };
    assert!(done.status.success(), "{done:?}");
    let lines = [
        ("approval list", false),
        ("policy list --tenant acme --env prod", false),
        ("policy rollout status --tenant acme --env prod", true),
    ];
    let asked = |line: &str| {
        let told = typed(&houses[0], &format!("-o json {line}")).unwrap();
        assert!(told.status.success(), "{told:?}");
        let value: Value = serde_json::from_slice(&told.stdout).unwrap();
        (value["read"].clone(), String::from_utf8(told.stderr).unwrap())
    };
    eventually("it is in touch", || asked(lines[2].0).0 == "agreed").await;
    for (line, is_thing) in lines {
        let (read, said) = asked(line);
        assert!(!said.contains("one voter knew last"), "{line}: {said}");
        assert_eq!(read, if is_thing { json!("agreed") } else { Value::Null }, "{line}");
    }
    houses[1..].iter().for_each(Building::shoot);
    for (line, is_thing) in lines {
        let (read, said) = asked(line);
        assert!(said.contains("one voter knew last"), "{line}: {said}");
        assert_eq!(read, if is_thing { json!("own") } else { Value::Null }, "{line}");
    }
}

#[tokio::test]
async fn after_a_restore_a_gateway_says_that_it_is_ahead_and_follows_again_once_it_is_told_to() {
    let plan = Plan::new().await.keeping_the_registry();
    let text = plan.text("acme.policy.yaml");
    let stricter = text.replace("eq: forbidden", "eq: harmless");
    let mut house =
        plan.with("/tenants/acme/policy", json!({ "release": "test" })).launch(GATEWAY).await;
    assert!(house.readiness().await.contains("no release of acme/test is at hand"));
    let line = "--tenant acme --env test";
    let push = |house: &Building, text: &str| {
        let files = json!({ "files": [{ "name": "acme.policy.yaml", "text": text }] });
        house.region().post("/v1/policies/acme/test/versions", files);
    };
    let run = |house: &Building, line: &str| {
        let done = typed(house, line).unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
        [done.stdout, done.stderr].map(|said| String::from_utf8(said).unwrap())
    };
    push(&house, &text);
    let Some(done) = typed(&house, &format!("policy activate 1 {line}")) else { return };
    assert!(done.status.success(), "{done:?}");
    house.plan().file("region.backup", "");
    std::fs::write(house.plan().path("region.backup"), house.region().bytes("/v1/cluster/backup"))
        .unwrap();
    push(&house, &stricter);
    for command in ["policy activate 2 --downgrade", "policy pin", "policy unpin"] {
        run(&house, &format!("{command} {line}"));
    }
    lives(&house, 2).await;
    house.stop().await;

    // The machine's ledger is lost; what its gateway decides by is not.
    std::fs::remove_dir_all(house.data().join("control/ledger")).unwrap();
    let told = run(&house, "cluster restore region.backup --accept-unverified");
    assert!(told[1].contains("aegisctl policy overtake --tenant TENANT --env ENV"), "{}", told[1]);
    let address = house.plan().voter_address();
    house.reconfigure("/control/cluster", json!({ "listen": address, "address": address }));
    house.start_again().await;
    let fleet = || run(&house, "fleet status");
    eventually("it says that it is ahead", || fleet()[0].contains("ahead")).await;
    let [table, words] = fleet();
    let command = format!("policy overtake {line}");
    assert!(words.contains(&format!("aegisctl {command}")), "{words}");
    assert!(table.contains("epoch 1, not 4") && table.contains(&command), "{table}");
    assert!(house.stderr().contains(&command), "{}", house.stderr());
    lives(&house, 2).await;

    let [_, words] = run(&house, &command);
    assert!(words.contains("epoch 5: version 1 decides"), "{words}");
    lives(&house, 1).await;
    eventually("it is current", || fleet()[0].contains("current")).await;
    assert!(!fleet()[1].contains("overtake"), "{}", fleet()[1]);
    let again = typed(&house, &command).unwrap();
    assert!(again.status.success(), "it may be said again: {again:?}");
    assert_eq!(deeds_of(&house, "release.overtake"), 2);
    house.stop().await;
}

/// Waits until a version decides for `acme`.
async fn lives(house: &Building, version: u64) {
    let begun = std::time::Instant::now();
    while house.metric("aegis_policy_version{tenant=\"acme\"}").await != version {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", house.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn deeds_of(house: &Building, act: &str) -> usize {
    changes(house).into_iter().filter(|change| change.act == act).count()
}

/// A voter of the version before, in this process: it takes part as every other does, and reads less.
async fn older(plan: &Plan) -> Node {
    let own = VoterFiles::at(&plan.path("control/cluster")).read().unwrap().unwrap();
    let listener = std::net::TcpListener::bind(plan.voter_address()).unwrap();
    let credentials = Credentials {
        authority: own.authority.into_bytes(),
        certificate: own.certificate.into_bytes(),
        key: own.key.expose().clone().into_bytes(),
    };
    let settings = Settings {
        identity: Identity { cluster: own.name.cluster, node: own.name.node },
        directory: plan.path("control/ledger"),
        door: Some(Door { listener, credentials }),
        pace: Pace::default(),
        on_fatal: Arc::new(|fatal: &Fatal| unreachable!("{fatal}")),
    };
    Node::start(settings).await.unwrap()
}

fn reads(house: &Building, id: u64) -> Value {
    let members = house.region().get("/v1/cluster/members")["members"].clone();
    let member = members.as_array().unwrap().iter().find(|member| member["id"] == id);
    member.unwrap()["reads"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_is_raised_when_the_last_voter_reads_it_and_not_before() {
    let before = FEATURE_LEVEL - 1;
    // A ledger as the version before left it behind.
    let origin = Plan::new().await.keeping_the_registry().start(GATEWAY).await;
    let backup = origin.region().bytes("/v1/cluster/backup");
    let line = backup.iter().position(|byte| *byte == b'\n').unwrap();
    let mut image: Value = serde_json::from_slice(&backup[line + 1..]).unwrap();
    assert_eq!(image["voters"]["level"], FEATURE_LEVEL);
    image["voters"]["level"] = before.into();
    let first = Plan::new().await.restoring(image.to_string().as_bytes()).start(GATEWAY).await;
    let level = || first.region().get("/v1/cluster")["level"].clone();
    eventually("the first says what it reads", || reads(&first, 1) == FEATURE_LEVEL).await;
    assert_eq!(level(), before, "who reads more raises nothing by that");

    let (plan, id) = Plan::new().await.joining(&first);
    let node = older(&plan).await;
    let path = format!("/v1/cluster/members/{id}/promote");
    eventually("it votes", || first.region().try_post(&path, json!({})).is_ok()).await;
    let act = Action::Voter(VoterAct::Reads { id, level: before });
    let by = Actor::parse(&format!("voter {id}")).unwrap();
    node.propose(Wish { by, action: act, once: None }).await.unwrap().unwrap();
    assert_eq!(reads(&first, id), before);
    let Some(refused) = typed(&first, "cluster raise") else { return };
    assert!(!refused.status.success());
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(why.contains("a voter cannot read that level yet"), "{why}");
    assert_eq!(level(), before);

    // It is stopped, and this version starts on what it kept.
    node.stop().await.unwrap();
    drop(node);
    let second = plan.start(GATEWAY).await;
    eventually("it says what it reads now", || reads(&first, id) == FEATURE_LEVEL).await;
    let done = typed(&second, "cluster raise").unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(second.region().get("/v1/cluster")["level"], FEATURE_LEVEL);
    eventually("the first knows", || level() == FEATURE_LEVEL).await;
    let raised = deed("local admin", "voter.raise", None);
    assert_eq!(deeds(&second).last(), Some(&raised));
    assert!(!deeds(&first).contains(&raised), "what was refused is not on record as done");
}

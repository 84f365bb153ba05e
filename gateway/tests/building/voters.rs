//! Three gateways that keep one registry: each takes commands, each knows what the others were told, and each can be lost.
//!
//! Not here: Raft by itself (`raft-store/src/tests`). Invariant: what was acknowledged on one voter is refused or let in on
//! every other, and calls go on whatever becomes of the voters.

use std::path::Path;
use std::time::Duration;

use aegis_control_client::ClientError;
use aegis_domain::Reason;
use aegis_testkit::{Building, Enrolled, Plan, Reply};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::GATEWAY;
use crate::changes::changes;

/// An election and a restart on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A region of three voters; the first has founded it.
pub(crate) async fn three() -> [Building; 3] {
    let first = Plan::new().await.founding().start(GATEWAY).await;
    let second = join(&first).await.0;
    let third = join(&first).await.0;
    [first, second, third]
}

/// One voter more, and its id.
async fn join(other: &Building) -> (Building, u64) {
    join_with(Plan::new().await, other).await
}

/// The same with a plan of its own.
pub(crate) async fn join_with(plan: Plan, other: &Building) -> (Building, u64) {
    let (plan, id) = plan.joining(other);
    // Until it is one of the voters, nobody witnesses its audit log, and so it is not ready.
    let house = plan.launch(GATEWAY).await;
    eventually("it is promoted", || {
        other.region().try_post(&format!("/v1/cluster/members/{id}/promote"), json!({})).is_ok()
    })
    .await;
    while !house.is_ready().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (house, id)
}

pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not after {:?}: {what}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn call(house: &Building, token: &str) -> Reply {
    house.agent("bot").get("/open/x").bearer(token).send().await
}

/// Waits until a call ends so.
async fn ends(house: &Building, token: &str, refused: Option<Reason>) {
    let begun = Instant::now();
    loop {
        let reason = call(house, token).await.refused_for();
        if reason == refused {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{reason:?} instead of {refused:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A token from this voter, once it has a key to sign with.
async fn token(house: &Building, agent: &Enrolled) -> String {
    let begun = Instant::now();
    loop {
        match house.region().try_token(agent, false) {
            Ok(answer) => return answer.body["access_token"].as_str().unwrap().to_owned(),
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn revoke(id: &str) -> Value {
    json!({ "agent": { "tenant": "acme", "id": id } })
}

pub(crate) fn leader(houses: &[Building]) -> usize {
    let ask = |house: &Building| house.region().get("/v1/cluster")["leader"].as_u64();
    let found = houses.iter().find_map(ask).unwrap();
    usize::try_from(found).unwrap() - 1
}

#[tokio::test]
async fn what_one_voter_was_told_holds_on_every_other_also_after_the_leader_was_killed() {
    let mut houses = three().await;
    let rover = houses[0].region().agent("rover", json!({}));
    let mut tokens = Vec::new();
    for house in &houses {
        tokens.push(token(house, &rover).await);
    }
    // Each signs with a key of its own, and each knows those of the others.
    for house in &houses {
        for token in &tokens {
            ends(house, token, None).await;
        }
    }
    houses[2].region().revoke(revoke("rover"));
    call(&houses[2], &tokens[0]).await.is_denied(Reason::TokenRevoked);
    for house in &houses {
        ends(house, &tokens[1], Some(Reason::TokenRevoked)).await;
    }

    let lost = leader(&houses);
    houses[lost].shoot();
    houses[lost].ended().await;
    let other = (lost + 1) % 3;
    let begun = Instant::now();
    let late = json!({ "tenant": "acme", "id": "late", "org": "acme" });
    eventually("writes go on", || {
        match houses[other].region().try_post("/v1/agents", late.clone()) {
            Ok(_) => true,
            // What was said to be unknown may have been done.
            Err(ClientError::Refused { kind, .. }) => kind == "agent-exists",
            Err(_) => false,
        }
    })
    .await;
    println!("a write was taken {:?} after the leader was killed", begun.elapsed());
    houses[lost].start_again().await;
    let region = houses[lost].region();
    eventually("it hears what it missed", || region.get("/v1/agents").to_string().contains("late"))
        .await;

    for house in &houses {
        house.shoot();
    }
    for house in &mut houses {
        house.ended().await;
    }
    for house in &mut houses {
        house.start_again().await;
    }
    call(&houses[1], &tokens[2]).await.is_denied(Reason::TokenRevoked);
    let again = houses[1].region();
    let wish = json!({ "tenant": "acme", "id": "again", "org": "acme" });
    eventually("all of them are back", || again.try_post("/v1/agents", wish.clone()).is_ok()).await;
}

#[tokio::test]
async fn a_leader_that_is_stopped_or_told_to_hands_over_and_costs_one_election_and_no_wait() {
    let mut houses = three().await;
    let status = |house: &Building| house.region().get("/v1/cluster");
    let other = (leader(&houses) + 1) % 3;
    let to = other + 1;
    // A leader that has led for less than its lease votes for nobody else yet.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = status(&houses[0])["term"].as_u64().unwrap();
    let handed = houses[0].region().post("/v1/cluster/hand-over", json!({ "to": to }));
    assert_eq!(handed["leader"], to);
    let told = status(&houses[other]);
    assert_eq!((&told["leader"], told["term"].as_u64()), (&json!(to), Some(before + 1)));
    let refused = houses[0].region().try_post("/v1/cluster/hand-over", json!({ "to": 9 }));
    assert!(matches!(refused, Err(ClientError::Refused { status: 404, .. })), "{refused:?}");

    tokio::time::sleep(Duration::from_secs(2)).await;
    houses[other].stop().await;
    // It has ended, and the others have not waited for it: somebody leads already, and takes what is written.
    for house in houses.iter().enumerate().filter(|(place, _)| *place != other).map(|(_, it)| it) {
        let told = status(house);
        assert_eq!(told["term"].as_u64(), Some(before + 2), "{told}");
        assert!(told["leader"].is_u64() && told["leader"] != to, "{told}");
    }
    let left = &houses[(other + 1) % 3];
    let late = json!({ "tenant": "acme", "id": "late", "org": "acme" });
    left.region().try_post("/v1/agents", late).unwrap();
    assert_eq!(status(left)["term"].as_u64(), Some(before + 2), "{}", status(left));
}

#[tokio::test]
async fn a_dead_voter_is_taken_out_and_another_takes_its_place_under_another_id() {
    let [first, second, mut third] = three().await;
    third.shoot();
    third.ended().await;
    let rover = first.region().agent("rover", json!({}));
    let left = second.region().delete("/v1/cluster/members/3");
    assert_eq!(left["members"].as_array().unwrap().len(), 2, "{left}");
    let (fourth, id) = join(&second).await;
    assert_eq!(id, 4, "an id is given out once");
    let token = token(&fourth, &rover).await;
    ends(&fourth, &token, None).await;
    let key = |house: &Building| house.region().get("/v1/keys").to_string();
    eventually("the keys of the one that is gone are ended", || {
        let keys = first.region().get("/v1/keys");
        let of_third = |key: &&Value| key["signer"] == 3;
        keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .filter(of_third)
            .all(|key| !key["signs_until"].is_null())
    })
    .await;
    assert!(key(&fourth).contains("\"signer\":4"));

    // It does not come back under its old id, with its ledger or without.
    third.start_again().await;
    let region = third.region();
    let wish = json!({ "tenant": "acme", "id": "ghost", "org": "acme" });
    assert!(region.try_post("/v1/agents", wish).is_err());
}

#[tokio::test]
async fn calls_go_on_without_a_quorum_and_the_last_voter_can_be_made_a_cluster_of_one() {
    let [mut first, mut second, mut third] = three().await;
    let rover = first.region().agent("rover", json!({}));
    let token = token(&third, &rover).await;
    ends(&third, &token, None).await;
    for house in [&mut first, &mut second] {
        house.shoot();
        house.ended().await;
    }
    let wish = || json!({ "tenant": "acme", "id": "late", "org": "acme" });
    for _ in 0..2 {
        let refused = third.region().try_post("/v1/agents", wish());
        let Err(ClientError::Refused { status: 503, kind, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert!(kind == "no-quorum" || kind == "unknown", "{kind}");
        call(&third, &token).await.is_ok();
    }

    third.stop().await;
    third.recover();
    third.start_again().await;
    call(&third, &token).await.is_ok();
    eventually("it can be written", || third.region().try_post("/v1/agents", wish()).is_ok()).await;
    let status = third.region().get("/v1/cluster");
    assert_eq!(status["voters"], json!([3]));
    assert_ne!(status["cluster"], "eu-west-1");

    // Those that were lost find no cluster any more; a new one joins under an id that nobody had.
    first.start_again().await;
    let wish = json!({ "tenant": "acme", "id": "ghost", "org": "acme" });
    assert!(first.region().try_post("/v1/agents", wish).is_err());
    assert_eq!(join(&third).await.1, 4);
}

#[tokio::test]
async fn a_region_of_one_becomes_a_cluster_and_keeps_what_it_had() {
    let mut house = Plan::new().await.keeping_the_registry().start(GATEWAY).await;
    let rover = house.region().agent("rover", json!({}));
    let before = token(&house, &rover).await;
    house.stop().await;
    house.found_cluster();
    house.start_again().await;
    call(&house, &before).await.is_ok();
    let members = house.region().get("/v1/cluster/members");
    assert_eq!(members["members"][0]["role"], "leader");
    assert_ne!(members["members"][0]["address"], "alone");

    // What was written down is another region's beginning.
    let backup = house.region().bytes("/v1/cluster/backup");
    let line = backup.iter().position(|byte| *byte == b'\n').unwrap();
    house.region().agent("later", json!({}));
    let copy = Plan::new().await.restoring(&backup[line + 1..]).start(GATEWAY).await;
    assert_eq!(copy.region().get("/v1/cluster")["voters"], json!([1]));
    let agents = copy.region().get("/v1/agents").to_string();
    assert!(agents.contains("rover") && !agents.contains("later"), "{agents}");
    let again = token(&copy, &rover).await;
    call(&copy, &again).await.is_ok();

    // A certificate that was renewed is read on SIGHUP, and a voter joins under it.
    house.rotate_certificate();
    house.hang_up();
    let (second, id) = join(&house).await;
    ends(&second, &before, None).await;

    // All of that is on record: on the machine it was done to, and where it was asked for.
    let deeds = |house: &Building| {
        let changes = changes(house);
        let voters = changes.into_iter().filter(|change| change.act.starts_with("voter."));
        voters.map(|change| (change.by, change.act, change.target)).collect::<Vec<_>>()
    };
    let of = |by: &str, act: &str, target: Option<&str>| {
        (by.to_owned(), act.to_owned(), target.map(str::to_owned))
    };
    let (own, joined) = (Some("voter 1"), format!("voter {id}"));
    let address = format!("voter at {}", second.plan().voter_address());
    assert_eq!(
        deeds(&house),
        [
            of("local machine", "voter.found", own),
            of("local admin", "voter.backup", None),
            of("local machine", "voter.rotate_cert", own),
            of("local admin", "voter.invite", Some(&address)),
            of("local admin", "voter.promote", Some(&joined)),
        ]
    );
    assert_eq!(deeds(&copy), [of("local machine", "voter.restore", own)]);
    assert_eq!(deeds(&second), [of("local machine", "voter.join", Some(&joined))]);
}

#[tokio::test]
async fn a_voter_whose_ledger_is_gone_does_not_start() {
    let mut house = Plan::new().await.founding().start(GATEWAY).await;
    house.stop().await;
    std::fs::remove_file(house.data().join("control/ledger/ledger.redb")).unwrap();
    house.fails_again("it is gone").await;
}

#[tokio::test]
async fn a_gateway_that_is_no_voter_yet_says_what_to_do() {
    let plan = Plan::new().await.keeping_the_registry();
    let door = json!({ "listen": "127.0.0.1:0", "address": "127.0.0.1:1" });
    let (ended, _house) = plan.with("/control/cluster", door).fails(GATEWAY).await;
    assert!(ended.stderr.contains("aegisctl cluster init"), "{}", ended.stderr);
}

/// A small disk of its own below a directory, for as long as it lives.
pub(crate) struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None` where this user may mount nothing.
    pub(crate) fn at(path: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m,mode=0700", "none"]).arg(&path);
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        assert!(is_mounted || std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs");
        is_mounted.then_some(Self(path))
    }

    pub(crate) fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[7; 4_096]).is_ok() {}
    }

    pub(crate) fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().unwrap();
    }
}

#[tokio::test]
async fn a_voter_whose_disk_is_full_ends_and_keeps_what_it_answered_for() {
    let plan = Plan::new().await.keeping_the_registry();
    let Some(disk) = SmallDisk::at(plan.path("control/ledger")) else {
        println!("skipped: this user may mount nothing");
        return;
    };
    let mut house = plan.start(GATEWAY).await;
    disk.fill();
    let region = house.region();
    let taken = (0..2_000).take_while(|number| {
        let text = "x".repeat(200);
        let wish = json!({
            "tenant": "acme", "id": format!("bot-{number}"), "org": "acme",
            "attributes": { "purpose": text },
        });
        region.try_post("/v1/agents", wish).is_ok()
    });
    let taken = taken.count();
    assert_eq!(house.ended().await.code(), Some(1));
    assert!(house.stderr().contains("its part of the region's ledger cannot go on"));
    disk.clear();
    house.start_again().await;
    for number in [0, taken.saturating_sub(1)].into_iter().filter(|_| taken > 0) {
        house.region().get(&format!("/v1/agents/acme/bot-{number}"));
    }
    println!("{taken} agents were taken before the disk was full, and are there");
}

/// What the page tells to type, on three machines that are three buildings here.
#[tokio::test]
async fn every_command_of_the_page_makes_the_region_of_three_it_promises() {
    let binaries = Path::new(GATEWAY).parent().unwrap();
    if !binaries.join("aegisctl").exists() {
        assert!(std::env::var_os("CI").is_none(), "CI builds aegisctl beside the gateway");
        println!("skipped: aegisctl is not built");
        return;
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("## A region of three").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();

    let mut houses = Vec::new();
    for _ in 0..3 {
        houses.push(Plan::new().await.voting("http://control.test").prepared(GATEWAY));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut typed = 0;
    for part in block.split("# on voter-").skip(1) {
        let (comment, commands) = part.split_once('\n').unwrap();
        let machine: usize = comment[..1].parse().unwrap();
        for line in commands.lines() {
            let line = houses.iter().enumerate().fold(line.to_owned(), |line, (index, house)| {
                let name = format!("voter-{}.example.com:7400", index + 1);
                line.replace(&name, &house.plan().voter_address())
            });
            let house = &houses[machine - 1];
            let done = std::process::Command::new("sh")
                .args(["-c", &line])
                .current_dir(folder.path())
                .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()))
                .env("AEGIS_DATA", house.data())
                .env("AEGIS_CONTROL_URL", house.control_url())
                .output()
                .unwrap();
            assert!(done.status.success(), "{line}\n{done:?}");
            typed += 1;
        }
        match comment.contains("then start its gateway") {
            true if machine == 1 => houses[0].start_again().await,
            // It is ready once it votes.
            true => houses[machine - 1].launch_again(),
            false => {}
        }
    }
    assert!(typed >= 10, "{typed}");
    let status = houses[0].region().get("/v1/cluster");
    assert_eq!(status["voters"], json!([1, 2]));
}

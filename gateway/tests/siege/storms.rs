//! What happens to the town, one thing after the other.
//!
//! Not here: what must hold meanwhile and after (`judgement`). Invariant: every fault ends before the next begins, and lasts until
//! every agent was answered a call that it sent while the fault was there: whatever waits for the end of a fault ends the test.

use std::time::Duration;

use aegis_ledger::FEATURE_LEVEL;
use aegis_testkit::hot::Cut;

use crate::GATEWAY;
use crate::town::Town;

/// Longer than a lease and an election.
const SPAN: Duration = Duration::from_secs(6);
const REST: Duration = Duration::from_secs(3);

/// One kind of fault, or of work, that a region goes through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Storm {
    OneWay,
    Standstill,
    AllKilled,
    FullDisk,
    Partitions,
    Clocks,
    SlowDisk,
    Members,
    Upgrade,
    Backup,
    Recovery,
    TwoOfFiveDie,
}

/// For every change: each of them found mistakes when some were planted.
pub(crate) const STRONGEST: [Storm; 4] =
    [Storm::OneWay, Storm::Standstill, Storm::AllKilled, Storm::FullDisk];

pub(crate) const EVERYTHING: [Storm; 11] = [
    Storm::OneWay,
    Storm::Standstill,
    Storm::AllKilled,
    Storm::FullDisk,
    Storm::Partitions,
    Storm::Clocks,
    Storm::SlowDisk,
    Storm::Members,
    Storm::Upgrade,
    Storm::Backup,
    Storm::Recovery,
];

pub(crate) const OF_FIVE: [Storm; 4] =
    [Storm::Partitions, Storm::TwoOfFiveDie, Storm::OneWay, Storm::AllKilled];

/// Those of them that `AEGIS_STORMS` names, or all where it names none.
pub(crate) fn named(storms: &[Storm]) -> Vec<Storm> {
    let names = std::env::var("AEGIS_STORMS").ok();
    let is_named = |storm: &Storm| {
        names.as_ref().is_none_or(|it| it.split(',').any(|name| name == format!("{storm:?}")))
    };
    storms.iter().copied().filter(is_named).collect()
}

pub(crate) async fn pass(town: &mut Town, storms: &[Storm]) {
    pause(REST).await;
    for storm in storms {
        match storm {
            Storm::OneWay => one_way(town).await,
            Storm::Standstill => standstill(town).await,
            Storm::AllKilled => all_killed(town).await,
            Storm::FullDisk => full_disk(town).await,
            Storm::Partitions => partitions(town).await,
            Storm::Clocks => clocks(town).await,
            Storm::SlowDisk => slow_disk(town).await,
            Storm::Members => members(town).await,
            Storm::Upgrade => upgrade(town).await,
            Storm::Backup => backup(town).await,
            Storm::Recovery => recovery(town).await,
            Storm::TwoOfFiveDie => two_of_five_die(town).await,
        }
        pause(REST).await;
    }
}

async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

/// As long as a fault lasts at least; calls go on meanwhile.
async fn lasts(town: &Town, span: Duration) {
    let begun = town.stage.instant();
    pause(span).await;
    town.calls_go_on(begun).await;
}

async fn during(town: &Town, what: &str, cuts: Vec<Cut>) {
    eprintln!("{what}");
    lasts(town, SPAN).await;
    drop(cuts);
    pause(REST).await;
}

/// The leader still speaks, and hears nobody; then nobody hears it.
async fn one_way(town: &Town) {
    let leader = town.leader().await;
    during(town, "the leader hears nobody", vec![town.towards(leader, &town.others(leader))]).await;
    let leader = town.leader().await;
    let deaf = town.others(leader).iter().map(|nth| town.towards(*nth, &[leader])).collect();
    during(town, "nobody hears the leader", deaf).await;
}

async fn partitions(town: &Town) {
    let leader = town.leader().await;
    let others = town.others(leader);
    during(town, "the leader is alone", vec![town.between(leader, &others)]).await;
    let leader = town.leader().await;
    let others = town.others(leader);
    during(town, "a follower is alone", vec![town.between(others[0], &town.others(others[0]))])
        .await;
    let (left, right) = others.split_at(others.len() / 2);
    let bridge = left.iter().map(|nth| town.between(*nth, right)).collect();
    during(town, "two that do not see each other, and a leader that both see", bridge).await;
    let all: Vec<_> = (0..town.voters.len()).collect();
    let (few, most) = all.split_at(all.len() / 2);
    during(
        town,
        "a minority and a majority",
        few.iter().map(|nth| town.between(*nth, most)).collect(),
    )
    .await;
}

async fn standstill(town: &Town) {
    eprintln!("the leader stands still");
    let leader = town.leader().await;
    town.voters[leader].house.pause();
    lasts(town, Duration::from_secs(10)).await;
    town.voters[leader].house.resume();
}

async fn all_killed(town: &mut Town) {
    eprintln!("all voters are killed");
    let all: Vec<_> = (0..town.voters.len()).collect();
    town.kill(&all).await;
    lasts(town, REST).await;
    town.start(&all).await;
    town.leader().await;
}

/// A voter that cannot write ends. While it is away a second is killed: nothing can be commanded, and calls go on.
async fn full_disk(town: &mut Town) {
    eprintln!("a voter's disk is full");
    let leader = town.leader().await;
    let others = town.others(leader);
    town.voters[others[0]].disk().fill();
    let status = town.voters[others[0]].house.ended().await;
    assert_eq!(status.code(), Some(1), "a voter that cannot write ends");
    town.voters[others[0]].disk().clear();
    eprintln!("the quorum is lost");
    town.kill(&others[1..]).await;
    lasts(town, SPAN).await;
    eprintln!("it comes back");
    town.start(&others).await;
    town.leader().await;
}

/// One voter leaves for good and another takes its place, while everybody calls and commands.
async fn members(town: &mut Town) {
    eprintln!("a voter is replaced");
    let leader = town.leader().await;
    let leaves = town.others(leader)[0];
    town.remove(leaves).await;
    town.commands_go_on().await;
    let id = town.admit().await;
    town.promote(id).await;
    town.commands_go_on().await;
}

/// Two of five die at once, the leader one of them: the others command on.
async fn two_of_five_die(town: &mut Town) {
    eprintln!("the leader and another die");
    let leader = town.leader().await;
    let dead = [leader, town.others(leader)[0]];
    town.kill(&dead).await;
    town.commands_go_on().await;
    lasts(town, SPAN).await;
    town.start(&dead).await;
}

/// The leader's clock is an hour ahead, then an hour behind, the others' ten minutes ahead.
async fn clocks(town: &Town) {
    eprintln!("clocks jump");
    let leader = town.leader().await;
    town.voters[leader].house.set_clock("+3600");
    lasts(town, SPAN).await;
    town.voters[leader].house.set_clock("-3600");
    town.others(leader).iter().for_each(|nth| town.voters[*nth].house.set_clock("+600"));
    lasts(town, SPAN).await;
    town.voters.iter().for_each(|voter| voter.house.set_clock("+0"));
}

/// Every sync of a voter takes half a second, the leader's too.
async fn slow_disk(town: &Town) {
    let leader = town.leader().await;
    for (what, nth) in [("a follower's", town.others(leader)[0]), ("the leader's", leader)] {
        eprintln!("{what} disk is slow");
        let process = town.voters[nth].house.process().to_string();
        let mut strace = std::process::Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &process])
            .args(["-e", "trace=fsync,fdatasync"])
            .args(["-e", "inject=fsync,fdatasync:delay_enter=500000"])
            .spawn()
            .unwrap();
        lasts(town, SPAN).await;
        // SIGTERM lets go of the process; SIGKILL would leave it stopped.
        let id = strace.id().to_string();
        std::process::Command::new("kill").arg(&id).status().unwrap();
        strace.wait().unwrap();
        pause(REST).await;
    }
}

/// From the build before, which `AEGIS_GATEWAY_BEFORE` names, each voter and then each gateway becomes this one; then they go back
/// and come again, one by one, and in the end the level is raised. Whoever is down is missed by nobody.
async fn upgrade(town: &mut Town) {
    let before = crate::first_build();
    if before == GATEWAY {
        eprintln!("AEGIS_GATEWAY_BEFORE names no build: this one is taken for the one before");
    }
    let level = town.level().await;
    for build in [GATEWAY, before.as_str(), GATEWAY] {
        roll_to(town, build).await;
        assert_eq!(town.level().await, level, "nobody raised it");
    }
    town.build = GATEWAY.to_owned();
    town.raise().await;
    town.commands_go_on().await;
    assert_eq!(town.level().await, u64::from(FEATURE_LEVEL));
}

async fn roll_to(town: &mut Town, build: &str) {
    for nth in 0..town.voters.len() {
        eprintln!("voter {} becomes {build}", town.voters[nth].id);
        town.voters[nth].house.stop().await;
        town.commands_go_on().await;
        town.voters[nth].house.become_build(build);
        town.start(&[nth]).await;
    }
    for nth in 0..town.gateways.len() {
        eprintln!("gateway {nth} becomes {build}");
        town.stop_gateway(nth).await;
        lasts(town, Duration::ZERO).await;
        town.gateways[nth].become_build(build);
        town.start_gateway(nth).await;
        lasts(town, Duration::ZERO).await;
    }
}

/// Another region begins with what is written down here meanwhile.
async fn backup(town: &mut Town) {
    eprintln!("a backup is restored elsewhere");
    let least = town.epoch().await;
    let voter = town.leader().await;
    let written = town.voters[voter].house.region().bytes("/v1/cluster/backup");
    let most = town.epoch().await;
    let epoch = town.restored(&written).await;
    assert!((least..=most).contains(&epoch), "{epoch} is not between {least} and {most}");
}

/// All but the leader are lost for good; it becomes a cluster of one, and two others join it.
async fn recovery(town: &mut Town) {
    eprintln!("all but one are lost");
    let leader = town.leader().await;
    let others = town.others(leader);
    town.kill(&others).await;
    lasts(town, REST).await;
    town.forget_all_but(leader);
    let survivor = &mut town.voters[0].house;
    survivor.stop().await;
    survivor.recover();
    survivor.start_again().await;
    town.leader().await;
    for _ in 0..2 {
        let id = town.admit().await;
        town.promote(id).await;
    }
    town.commands_go_on().await;
}

//! What happens to the town, one thing after the other.
//!
//! Not here: what must hold meanwhile and after (`judgement`). Invariant: every fault ends before the next begins, and lasts long
//! enough that the others go on without whom it strikes.

use std::time::Duration;

use aegis_testkit::hot::Cut;

use crate::GATEWAY;
use crate::town::Town;

/// Longer than a lease and an election.
const SPAN: Duration = Duration::from_secs(6);
const REST: Duration = Duration::from_secs(3);

async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

async fn during(what: &str, cuts: Vec<Cut>) {
    eprintln!("{what}");
    pause(SPAN).await;
    drop(cuts);
    pause(REST).await;
}

/// For every change: each of them found mistakes when some were planted.
pub(crate) async fn strongest(town: &mut Town) {
    pause(REST).await;
    one_way(town).await;
    standstill(town).await;
    all_killed(town).await;
    full_disk(town).await;
}

pub(crate) async fn everything(town: &mut Town) {
    strongest(town).await;
    partitions(town).await;
    clocks(town).await;
    slow_disk(town).await;
    members(town).await;
    upgrade(town).await;
    backup(town).await;
    recovery(town).await;
}

pub(crate) async fn of_five(town: &mut Town) {
    pause(REST).await;
    partitions(town).await;
    two_of_five_die(town).await;
    one_way(town).await;
    all_killed(town).await;
}

/// The leader still speaks, and hears nobody; then nobody hears it.
async fn one_way(town: &Town) {
    let leader = town.leader().await;
    during("the leader hears nobody", vec![town.towards(leader, &town.others(leader))]).await;
    let leader = town.leader().await;
    let deaf = town.others(leader).iter().map(|nth| town.towards(*nth, &[leader])).collect();
    during("nobody hears the leader", deaf).await;
}

async fn partitions(town: &Town) {
    let leader = town.leader().await;
    let others = town.others(leader);
    during("the leader is alone", vec![town.between(leader, &others)]).await;
    let leader = town.leader().await;
    let others = town.others(leader);
    during("a follower is alone", vec![town.between(others[0], &town.others(others[0]))]).await;
    let (left, right) = others.split_at(others.len() / 2);
    let bridge = left.iter().map(|nth| town.between(*nth, right)).collect();
    during("two that do not see each other, and a leader that both see", bridge).await;
    let all: Vec<_> = (0..town.voters.len()).collect();
    let (few, most) = all.split_at(all.len() / 2);
    during("a minority and a majority", few.iter().map(|nth| town.between(*nth, most)).collect())
        .await;
}

async fn standstill(town: &Town) {
    eprintln!("the leader stands still for ten seconds");
    let leader = town.leader().await;
    town.voters[leader].house.pause();
    pause(Duration::from_secs(10)).await;
    town.voters[leader].house.resume();
    pause(REST).await;
}

async fn all_killed(town: &mut Town) {
    eprintln!("all voters are killed");
    let all: Vec<_> = (0..town.voters.len()).collect();
    town.kill(&all).await;
    pause(REST).await;
    town.start(&all).await;
    town.leader().await;
    pause(REST).await;
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
    pause(SPAN).await;
    eprintln!("it comes back");
    town.start(&others).await;
    town.leader().await;
    pause(REST).await;
}

/// One voter leaves for good and another takes its place, while everybody calls and commands.
async fn members(town: &mut Town) {
    eprintln!("a voter is replaced");
    let leader = town.leader().await;
    let leaves = town.others(leader)[0];
    town.remove(leaves).await;
    pause(REST).await;
    let id = town.admit().await;
    town.promote(id).await;
    pause(REST).await;
}

/// Two of five die at once, the leader one of them: the others command on.
async fn two_of_five_die(town: &mut Town) {
    eprintln!("the leader and another die");
    let leader = town.leader().await;
    let dead = [leader, town.others(leader)[0]];
    town.kill(&dead).await;
    let before = town.epoch().await;
    pause(SPAN).await;
    pause(SPAN).await;
    assert!(town.epoch().await > before, "three of five could not go on");
    town.start(&dead).await;
    pause(REST).await;
}

/// The leader's clock is an hour ahead, then an hour behind, the others' ten minutes ahead.
async fn clocks(town: &Town) {
    eprintln!("clocks jump");
    let leader = town.leader().await;
    town.voters[leader].house.set_clock("+3600");
    pause(SPAN).await;
    town.voters[leader].house.set_clock("-3600");
    town.others(leader).iter().for_each(|nth| town.voters[*nth].house.set_clock("+600"));
    pause(SPAN).await;
    town.voters.iter().for_each(|voter| voter.house.set_clock("+0"));
    pause(REST).await;
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
        pause(SPAN).await;
        // SIGTERM lets go of the process; SIGKILL would leave it stopped.
        let id = strace.id().to_string();
        std::process::Command::new("kill").arg(&id).status().unwrap();
        strace.wait().unwrap();
        pause(REST).await;
    }
}

/// Each voter becomes the build before this one and then this one again, one by one; `AEGIS_GATEWAY_BEFORE` names that build.
async fn upgrade(town: &mut Town) {
    let before = std::env::var("AEGIS_GATEWAY_BEFORE").ok();
    if before.is_none() {
        eprintln!("AEGIS_GATEWAY_BEFORE names no build: this one is taken for the one before");
    }
    let before = before.unwrap_or_else(|| GATEWAY.to_owned());
    for build in [before.as_str(), GATEWAY] {
        for nth in 0..town.voters.len() {
            eprintln!("voter {} becomes {build}", town.voters[nth].id);
            let level = town.level().await;
            town.voters[nth].house.stop().await;
            town.voters[nth].house.become_build(build);
            town.start(&[nth]).await;
            assert_eq!(town.level().await, level, "nobody raised it");
            let epoch = town.epoch().await;
            pause(REST).await;
            assert!(town.epoch().await >= epoch);
        }
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
    pause(REST).await;
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
    pause(REST).await;
}

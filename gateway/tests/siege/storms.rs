//! What happens to the town, one thing after the other.
//!
//! Not here: what must hold meanwhile and after (`judgement`). Invariant: every fault ends before the next begins, and lasts long
//! enough that the others go on without whom it strikes.

use std::time::Duration;

use aegis_testkit::hot::Cut;

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

/// For every change: the four that found the most mistakes when they were planted.
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
    members(town).await;
}

pub(crate) async fn of_five(town: &mut Town) {
    pause(REST).await;
    partitions(town).await;
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

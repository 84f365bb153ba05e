//! Mistakes that are planted, each of which must be noticed.
//!
//! Not here: voters without mistakes in storms (`seeds`). Invariant: a test names the rule that finds its mistake, and what is
//! staged for one mistake breaks no rule without it.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ChangeMembers;
use tokio::time::{Instant, sleep};

use super::history::History;
use super::wishes;
use super::world::{Heard, World};
use super::{Bug, Plan, Report, clients, drafting, followers, judge, planned, run};

/// Storms that a mistake is given to show in, from one in which it did.
const STORMS_MAX: u64 = 30;

/// In some storm the mistake breaks this rule.
#[expect(clippy::print_stdout, reason = "whoever plants a mistake wants to see where it shows")]
fn is_caught_by(rule: &str, bug: Bug, from: u64) {
    let mut others = Vec::new();
    for seed in from..from + STORMS_MAX {
        let report = run(Plan { bug: Some(bug), ..Plan::of(seed) });
        if report.broken.iter().any(|broken| broken.starts_with(rule)) {
            println!("{bug:?} is caught by \"{rule}\" with seed {seed}");
            return;
        }
        others.extend(report.broken);
    }
    panic!("{bug:?} was not caught by \"{rule}\", only by {others:?}");
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught_by_what_was_acknowledged_is_there() {
    is_caught_by("what was acknowledged is there", Bug::AckBeforeSync, 1);
}

#[test]
fn a_read_without_a_quorum_is_caught_by_linearizability() {
    is_caught_by("pointers are linearizable", Bug::ReadWithoutQuorum, 20);
}

#[test]
fn a_client_that_was_forgotten_is_caught_by_a_command_takes_effect_once() {
    is_caught_by("a command takes effect once", Bug::ClientForgotten, 17);
}

#[test]
fn a_vote_that_was_not_saved_is_caught_by_a_vote_never_goes_back() {
    is_caught_by("a vote never goes back", Bug::VoteNotSaved, 1);
}

async fn place(world: &World, at: u64, name: &str) -> Heard {
    let Some(life) = world.life(at) else { return Heard::NotSent };
    world.propose(&life, wishes::wish(name, wishes::place(name))).await
}

/// Power that fails at each sync of a voter that is sent a snapshot.
fn crashes_while_a_snapshot_comes(bug: Option<Bug>) -> Vec<Report> {
    let crash_at = async |syncs: usize| {
        let world = World::new(7);
        world.found(3).await;
        clients::prepare(&world).await;
        let leader = world.leader().unwrap().host.node();
        let away = (1..=3).find(|id| *id != leader).unwrap();
        world.crash(away);
        for number in 0..110 {
            place(&world, leader, &format!("t{number}")).await;
        }
        world.start(away).await;
        let life = world.life(away).unwrap();
        life.disk.set_trap(syncs);
        life.disk.set_pace((20, 21));
        for _ in 0..200 {
            sleep(Duration::from_millis(10)).await;
            if life.host.is_off() {
                break;
            }
        }
        world.crash(away);
        world.start(away).await;
        world.heal().await;
        judge(&world, &History::default())
    };
    (0..16).map(|syncs| planned(bug, crash_at(syncs))).collect()
}

#[test]
fn power_that_fails_while_a_snapshot_comes_breaks_no_rule() {
    for report in crashes_while_a_snapshot_comes(None) {
        assert!(report.broken.is_empty(), "{report:#?}");
    }
}

#[test]
fn power_that_fails_while_a_snapshot_is_written_in_pieces_breaks_no_rule() {
    for report in drafting(2_000, || crashes_while_a_snapshot_comes(None)) {
        assert!(report.broken.is_empty(), "{report:#?}");
    }
}

/// A voter that is cut off while the others go on, and then is sent a snapshot, with followers all the while.
fn a_snapshot_for_those_who_follow(bug: Option<Bug>) -> Report {
    planned(bug, async {
        let world = World::new(13);
        world.found(3).await;
        clients::prepare(&world).await;
        let until = Instant::now() + Duration::from_secs(90);
        let (told, followers) = followers::start(&world, 13, until);
        sleep(Duration::from_secs(10)).await;
        let away = (1..=3).find(|id| Some(*id) != world.leader().map(|it| it.host.node())).unwrap();
        let others = (1..=3).filter(|id| *id != away);
        let cuts = others.flat_map(|other| [(away, other), (other, away)]).collect();
        world.network.set_cuts(cuts);
        let leader = world.leader().unwrap().host.node();
        for number in 0..110 {
            place(&world, leader, &format!("t{number}")).await;
        }
        world.network.set_cuts(BTreeSet::new());
        for follower in followers {
            follower.await.unwrap();
        }
        world.heal().await;
        let mut report = judge(&world, &History::default());
        report.broken.extend(told.judge(&world.oracle.replay().1));
        report
    })
}

#[test]
fn who_follows_a_voter_that_is_sent_a_snapshot_misses_nothing() {
    let report = a_snapshot_for_those_who_follow(None);
    assert!(report.broken.is_empty(), "{report:#?}");
    assert!(report.counts.snapshots > 0, "{report:#?}");
}

#[test]
fn events_kept_from_before_a_snapshot_are_caught_by_a_follower_misses_no_event() {
    let report = a_snapshot_for_those_who_follow(Some(Bug::EventsKept));
    let rule = "a follower misses no event and hears none twice";
    assert!(report.broken.iter().any(|broken| broken == rule), "{report:#?}");
}

#[test]
fn a_purge_before_its_snapshot_is_caught_by_a_voter_starts_after_a_crash() {
    let reports = crashes_while_a_snapshot_comes(Some(Bug::PurgeFirst));
    let broken = reports.iter().flat_map(|report| &report.broken);
    let is_caught = broken.into_iter().any(|it| it.starts_with("a voter starts after a crash"));
    assert!(is_caught, "{reports:#?}");
}

/// A leader that dies while it replaces two voters of three, with the two it replaces on the other side of a partition.
fn two_voters_are_replaced(bug: Option<Bug>) -> Report {
    planned(bug, async {
        let world = World::new(11);
        world.found(3).await;
        let leader = world.leader().unwrap();
        let at = leader.host.node();
        let mut new = BTreeSet::from([at]);
        for _ in 0..2 {
            let (admitting, teaching) = (leader.node.clone(), leader.node.clone());
            let admitted = world.on(at, async move { admitting.admit("new").await }).await;
            let id = admitted.unwrap().unwrap();
            world.start(id).await;
            world.on(at, async move { teaching.teach(id).await }).await.unwrap().unwrap();
            new.insert(id);
        }
        let old: BTreeSet<u64> = (1..=3).filter(|id| *id != at).collect();
        let cuts = old.iter().flat_map(|old| new.iter().map(move |new| (*old, *new)));
        let cuts = cuts.flat_map(|(one, other)| [(one, other), (other, one)]).collect();
        world.network.set_cuts(cuts);
        let (node, wanted) = (leader.node.clone(), new.clone());
        let change = async move {
            let change = ChangeMembers::ReplaceAllVoters(wanted);
            drop(node.running().raft.change_membership(change, false).await);
        };
        leader.host.spawn(change);
        sleep(Duration::from_millis(300)).await;
        world.crash(at);
        for round in 0..20 {
            for id in old.iter().chain(&new) {
                place(&world, *id, &format!("r{round}-{id}")).await;
            }
            sleep(Duration::from_millis(200)).await;
        }
        world.heal().await;
        judge(&world, &History::default())
    })
}

#[test]
fn a_leader_that_dies_while_voters_are_replaced_breaks_no_rule_and_the_change_is_finished() {
    let report = two_voters_are_replaced(None);
    assert!(report.broken.is_empty(), "{report:#?}");
}

/// As in the storm of seed 10,047: its term is long over, and nobody tells it.
#[test]
fn a_leader_that_is_taken_out_while_it_stands_still_does_not_stand_in_the_way() {
    let report = planned(None, async {
        let world = World::new(10_047);
        world.found(3).await;
        clients::prepare(&world).await;
        let old = world.leader().unwrap();
        let gone = old.host.node();
        old.host.pause();
        sleep(Duration::from_secs(5)).await;
        let new = world.leader().unwrap();
        assert_ne!(new.host.node(), gone);
        let node = new.node.clone();
        let removed = world.on(new.host.node(), async move { node.remove(gone).await });
        removed.await.unwrap().unwrap();
        world.heal().await;
        judge(&world, &History::default())
    });
    assert!(report.broken.is_empty(), "{report:#?}");
}

#[test]
fn a_change_of_members_without_joint_consensus_is_caught_by_a_committed_entry_never_changes() {
    let report = two_voters_are_replaced(Some(Bug::NoJointConsensus));
    let rule = "a committed entry never changes";
    assert!(report.broken.iter().any(|broken| broken == rule), "{report:#?}");
}

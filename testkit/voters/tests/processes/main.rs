//! Voters as processes, each in a network namespace of its own, under load while everything happens to them that can.
//!
//! Not here: simulated clusters (`raft-store`). Invariant: what clients saw is judged, not how long anything took.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and this is only ever part of one"
)]
#![expect(clippy::print_stderr, reason = "a test of minutes says where it is")]

mod clients;
mod cluster;
mod etcd;
mod figures;

use std::time::Duration;

use aegis_testkit::hot::{Cut, Network};

use clients::Load;
use cluster::{Cluster, Disks};

/// How long each fault lasts: longer than a lease and an election, so that the others go on without who is cut off.
const SPAN: Duration = Duration::from_secs(5);

fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// One fault after the other under load; in the end everything must be there, once, in an order that explains every answer.
fn storm(voters: u64) {
    let Some(network) = Network::new() else { return };
    let mut cluster = Cluster::found(network, voters, Disks::Small);
    let load = Load::start(&cluster, 6);
    pause(Duration::from_secs(2));
    partitions(&cluster);
    crashes(&mut cluster);
    clocks(&cluster);
    quorum_lost(&mut cluster, &load);
    members(&mut cluster, &load);
    let history = load.stop();
    let ledger = cluster.settle();
    history.judge(&ledger);
}

fn partitions(cluster: &Cluster) {
    let leader = cluster.leader();
    let all = cluster.ids();
    let others: Vec<_> = all.iter().copied().filter(|id| *id != leader).collect();
    let ips = |ids: &[u64]| ids.iter().map(|id| cluster.ip(*id)).collect::<Vec<_>>();
    let between =
        |id: u64, ids: &[u64]| Cut::between(cluster.host(id), ips(ids).iter().map(String::as_str));
    let towards =
        |id: u64, ids: &[u64]| Cut::towards(cluster.host(id), ips(ids).iter().map(String::as_str));
    let during = |what: &str, cuts: Vec<Cut>| {
        eprintln!("{what}");
        pause(SPAN);
        drop(cuts);
        pause(Duration::from_secs(2));
    };
    during("the leader is alone", vec![between(leader, &others)]);
    during("a follower is alone", vec![between(others[0], &all)]);
    during("a leader hears nobody", vec![towards(cluster.leader(), &all)]);
    let leader = cluster.leader();
    let followers: Vec<_> = all.iter().copied().filter(|id| *id != leader).collect();
    let deaf = followers.iter().map(|id| towards(*id, &[leader])).collect();
    during("nobody hears the leader", deaf);
    // Two halves that only one voter sees both of.
    let (left, right) = followers.split_at(followers.len() / 2);
    during("a bridge", left.iter().map(|id| between(*id, right)).collect());
    let halves = all.split_at(all.len() / 2);
    during("two halves", halves.0.iter().map(|id| between(*id, halves.1)).collect());
}

fn crashes(cluster: &mut Cluster) {
    let leader = cluster.leader();
    eprintln!("the leader stands still");
    cluster.signal(leader, "STOP");
    pause(Duration::from_secs(8));
    cluster.signal(leader, "CONT");
    pause(Duration::from_secs(2));
    eprintln!("the leader is killed");
    let leader = cluster.leader();
    cluster.kill(leader);
    pause(SPAN);
    cluster.start(leader);
    for _ in 0..2 {
        eprintln!("all are killed");
        pause(Duration::from_secs(2));
        let all = cluster.ids();
        all.iter().for_each(|id| cluster.kill(*id));
        all.iter().for_each(|id| cluster.start(*id));
        cluster.leader();
    }
}

fn clocks(cluster: &Cluster) {
    eprintln!("clocks jump");
    let leader = cluster.leader();
    cluster.set_clock(leader, "+3600");
    pause(Duration::from_secs(3));
    cluster.set_clock(leader, "-3600");
    cluster.ids().iter().filter(|id| **id != leader).for_each(|id| cluster.set_clock(*id, "+600"));
    pause(Duration::from_secs(3));
    cluster.ids().iter().for_each(|id| cluster.set_clock(*id, "+0"));
}

fn quorum_lost(cluster: &mut Cluster, load: &Load) {
    eprintln!("the quorum is lost");
    let all = cluster.ids();
    let most: Vec<_> = all.iter().copied().take(all.len() / 2 + 1).collect();
    most.iter().for_each(|id| cluster.kill(*id));
    // What was under way when it was lost has been answered or given up by then.
    pause(Duration::from_secs(7));
    let before = load.answered();
    pause(Duration::from_secs(4));
    assert_eq!(load.answered(), before, "something was answered without a quorum");
    most.iter().for_each(|id| cluster.start(*id));
    cluster.leader();
    pause(Duration::from_secs(3));
    assert!(load.answered() > before, "nothing was answered though the quorum was back");
}

fn members(cluster: &mut Cluster, load: &Load) {
    eprintln!("a voter's disk is full");
    let leader = cluster.leader();
    let full = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.fill_disk(full);
    assert_eq!(cluster.ended(full), Some(3), "a voter that cannot write ends");
    eprintln!("it is replaced");
    cluster.remove(full);
    load.forget(full);
    let new = cluster.join();
    load.meet(new, cluster.control(new));
    pause(Duration::from_secs(2));
    eprintln!("the leader dies in the middle of a change");
    let leader = cluster.leader();
    let joined = cluster.join_and_kill(leader);
    cluster.start(leader);
    cluster.finish_change();
    load.meet(joined, cluster.control(joined));
    pause(Duration::from_secs(2));
}

#[test]
fn three_voters_keep_what_they_said_through_everything() {
    storm(3);
}

#[test]
fn five_voters_keep_what_they_said_through_everything() {
    storm(5);
}

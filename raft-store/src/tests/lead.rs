//! Leadership that is handed over, and what voters ask each other beside Raft.
//!
//! Not here: leaders that are lost (`cluster`). Invariant: elections are counted by terms, and how long they took is not judged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aegis_ledger::Outcome;

use super::cluster::{Cluster, PATIENCE, pace, place, tenant, write};
use crate::{Answers, Node, NodeError, ProposeError};

/// A leader that has led for long enough to vote for another.
async fn settled(cluster: &Cluster) -> Node {
    let leader = cluster.leader().await;
    tokio::time::sleep(pace().election.1 * 2).await;
    leader
}

fn terms(cluster: &Cluster) -> BTreeSet<u64> {
    cluster.nodes.values().map(|node| node.status().term).collect()
}

/// Writes, also where voters that are starved have nobody to lead them for a moment, and say so.
async fn written(node: &Node, name: &str) {
    let begun = tokio::time::Instant::now();
    loop {
        match node.propose(place(name, 0)).await {
            Err(ProposeError::NoQuorum) if begun.elapsed() < PATIENCE => {}
            answer => return assert_eq!(answer, Ok(Ok(Outcome::Done))),
        }
    }
}

/// Terms are counted where they were not disturbed: on a machine that starves them, voters lose patience beside it.
async fn undisturbed(costs_one_election: impl AsyncFn() -> bool) {
    for _ in 0..5 {
        if costs_one_election().await {
            return;
        }
    }
    panic!("hand-overs cost more than one election");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_voter_that_is_named_leads_after_one_election_whoever_is_asked() {
    let cluster = Cluster::of(3).await;
    for round in 0..3 {
        undisturbed(async || {
            let led = settled(&cluster).await;
            let (id, before) = (led.identity().node, led.status().term);
            let (to, asked) = (id % 3 + 1, &cluster.nodes[&((id + round) % 3 + 1)]);
            asked.hand_over(Some(to)).await.unwrap();
            let heir = cluster.nodes[&to].status();
            for node in cluster.nodes.values() {
                written(node, &format!("{}-in-{}", node.identity().node, before)).await;
            }
            terms(&cluster) == BTreeSet::from([before + 1])
                && (heir.leader, heir.term) == (Some(to), before + 1)
        })
        .await;
    }
    let led = settled(&cluster).await;
    led.hand_over(Some(led.identity().node)).await.unwrap();
    assert_eq!(led.status().leader, Some(led.identity().node), "who leads already goes on");
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_meanwhile_is_taken_once_and_nothing_is_lost() {
    let cluster = Cluster::of(3).await;
    settled(&cluster).await;
    let ends = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = cluster
        .nodes
        .iter()
        .map(|(id, node)| {
            let (id, node, ends) = (*id, node.clone(), Arc::clone(&ends));
            tokio::spawn(async move {
                let mut written = Vec::new();
                while !ends.load(Ordering::SeqCst) {
                    let name = format!("by-{id}-{}", written.len());
                    // A second place of one tenant would be refused as changed.
                    assert_eq!(node.propose(place(&name, 0)).await.unwrap(), Ok(Outcome::Done));
                    written.push(name);
                }
                written
            })
        })
        .collect();
    for to in [2, 3, 1, 2] {
        cluster.nodes[&1].hand_over(Some(to)).await.unwrap();
        settled(&cluster).await;
    }
    ends.store(true, Ordering::SeqCst);
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    cluster.converge().await;
    for name in &written {
        assert!(cluster.nodes[&1].ledger().tenants().get(&tenant(name)).is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_steps_down_before_it_stops_leaves_a_leader_behind() {
    undisturbed(async || {
        let mut cluster = Cluster::of(3).await;
        let leader = settled(&cluster).await;
        let (id, before) = (leader.identity().node, leader.status().term);
        leader.step_down().await.unwrap();
        let heir = leader.status().leader.unwrap();
        assert_ne!(heir, id);
        let heir = cluster.nodes[&heir].clone();
        // Who does not lead has nothing to hand over.
        leader.step_down().await.unwrap();
        drop(leader);
        cluster.stop(id).await;
        written(&heir, "after").await;
        // Its stop cost no election either.
        heir.status().term == before + 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_while_a_leader_is_new_waits_for_the_quorum_to_answer_it() {
    let cluster = Cluster::of(3).await;
    let mut new = 0;
    for round in 0..4 {
        let led = settled(&cluster).await;
        let to = led.identity().node % 3 + 1;
        let heir = cluster.nodes[&to].clone();
        let handing = tokio::spawn(async move { led.hand_over(Some(to)).await });
        let begun = Instant::now();
        while heir.status().leader != Some(to) && begun.elapsed() < PATIENCE {
            tokio::task::yield_now().await;
        }
        new += usize::from(heir.status().quorum_heard_ago.is_none());
        write(&heir, &format!("new-{round}")).await.unwrap();
        handing.await.unwrap().unwrap();
    }
    assert!(new > 0, "each time the quorum was faster than the test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_heir_that_is_gone_leaves_the_leader_where_it_is() {
    let mut cluster = Cluster::of(3).await;
    let leader = settled(&cluster).await;
    let (id, before) = (leader.identity().node, leader.status().term);
    let gone = cluster.nodes.keys().copied().find(|other| *other != id).unwrap();
    cluster.stop(gone).await;
    write(&leader, "unheard").await.unwrap();
    let refused = leader.hand_over(Some(gone)).await;
    assert!(matches!(refused, Err(NodeError::Learning(node)) if node == gone), "{refused:?}");
    write(&leader, "goes-on").await.unwrap();
    assert_eq!((leader.status().leader, leader.status().term), (Some(id), before));
    // Left to choose, it takes the one that is there.
    leader.hand_over(None).await.unwrap();
    assert!(![Some(id), Some(gone)].contains(&leader.status().leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_leads_who_is_no_voter() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    assert!(matches!(leader.hand_over(None).await, Err(NodeError::NoHeir)));
    assert!(matches!(leader.hand_over(Some(7)).await, Err(NodeError::UnknownVoter(7))));
    let admitted = leader.admit("127.0.0.1:1").await.unwrap();
    let refused = leader.hand_over(Some(admitted)).await;
    assert!(matches!(refused, Err(NodeError::UnknownVoter(_))), "{refused:?}");
    leader.step_down().await.unwrap();
    assert_eq!(leader.status().leader, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_the_heir_leads_once_the_others_may_vote_for_it() {
    undisturbed(async || {
        let cluster = Cluster::of(5).await;
        let leader = settled(&cluster).await;
        let (id, before) = (leader.identity().node, leader.status().term);
        let heir = cluster.nodes.keys().copied().find(|other| *other != id).unwrap();
        leader.hand_over(Some(heir)).await.unwrap();
        let status = cluster.nodes[&heir].status();
        written(&cluster.nodes[&id], "after").await;
        cluster.converge().await;
        (status.leader, status.term) == (Some(heir), before + 1)
    })
    .await;
}

#[derive(Debug)]
struct Echo(u64);

impl Answers for Echo {
    fn answer(&self, question: &str) -> String {
        format!("{question} {}", self.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_ask_each_other_and_who_does_not_answer_is_named() {
    let mut cluster = Cluster::of(3).await;
    for (id, node) in cluster.nodes.iter().filter(|(id, _)| **id != 3) {
        node.answer_with(Arc::new(Echo(*id)));
    }
    let ask = async |node: &Node| node.ask_others(|id| format!("to {id}:"), PATIENCE).await;
    let told = ask(&cluster.nodes[&1]).await;
    assert_eq!(told[&2].as_deref(), Some("to 2: 2"));
    assert_eq!((told.len(), &told[&3]), (2, &None), "nobody answers there");
    cluster.stop(2).await;
    // A connection that stood may bring one answer more.
    let begun = Instant::now();
    while ask(&cluster.nodes[&1]).await[&2].is_some() {
        assert!(begun.elapsed() < Duration::from_secs(10), "who stopped answers on");
    }
}

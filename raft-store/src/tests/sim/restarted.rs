//! A leader whose power fails and comes back before anybody misses it: openraft has it lead on in its term.
//!
//! Not here: storms, of which seed 30,024 found it (`seeds`). Invariant: what a leader acknowledged before, it reads after.

use std::time::Duration;

use super::world::{Heard, World};
use super::{Report, judge, planned, wishes};
use crate::tests::dice::Dice;
use crate::tests::sim::history::History;

/// How often; the read races with what Raft does by itself.
const LIVES: u64 = 20;

#[test]
fn a_leader_that_starts_again_in_its_term_reads_what_it_acknowledged_before() {
    for seed in 1..=LIVES {
        let report = planned(None, starts_again(seed));
        assert_eq!(report.broken, Vec::<String>::new(), "seed {seed}");
    }
}

async fn starts_again(seed: u64) -> Report {
    let (world, mut dice) = (World::new(seed), Dice(seed));
    world.found(3).await;
    for number in 0..5 {
        let leader = world.leader().unwrap();
        let (id, name) = (leader.host.node(), format!("acknowledged-{number}"));
        let placed = world.propose(&leader, wishes::wish(&name, wishes::place(&name))).await;
        if !matches!(placed, Heard::Answer(Ok(_))) {
            continue;
        }
        let others: Vec<_> =
            world.alive().into_iter().filter(|life| life.host.node() != id).collect();
        others.iter().for_each(|life| life.host.pause());
        world.crash(id);
        world.start(id).await;
        others.iter().for_each(|life| life.host.resume());
        tokio::time::sleep(Duration::from_millis(dice.between(0, 30))).await;
        let node = world.life(id).unwrap().node;
        let tenant = wishes::tenant(&name);
        let read = async move {
            let caught_up = node.catch_up().await.is_ok();
            !caught_up || node.ledger().tenants().get(&tenant).is_some()
        };
        if world.on(id, read).await == Some(false) {
            world.oracle.object("what was acknowledged is read");
        }
    }
    world.heal().await;
    judge(&world, &History::default())
}

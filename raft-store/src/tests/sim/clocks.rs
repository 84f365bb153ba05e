//! Clocks that are wrong: the leader's, and that of whoever leads next.
//!
//! Not here: the steps of clocks in a storm (`faults`). Invariant: as long as most voters have the right time, so has the ledger.

use std::collections::BTreeSet;
use std::time::Duration;

use aegis_ledger::VoterAct;

use super::host::{Host, MORNING_S};
use super::world::{Heard, World};
use super::{Report, judge, planned, wishes};
use crate::clocks::TELLS_TIME;
use crate::tests::sim::history::History;

const HOUR: Duration = Duration::from_secs(60 * 60);
const SLACK: Duration = Duration::from_secs(3);

/// By how much the ledger is apart from the time that has gone by since the morning.
async fn apart(world: &World, begun: tokio::time::Instant) -> Duration {
    let life = world.leader().unwrap();
    let node = life.node.clone();
    let latest = world.on(life.host.node(), async move { node.ledger().latest() }).await.unwrap();
    let right = Duration::from_secs(MORNING_S) + begun.elapsed();
    Duration::from_nanos(latest.unix_ns()).abs_diff(right)
}

async fn write(world: &World, name: &str) {
    for attempt in 0..40 {
        let name = format!("{name}-{attempt}");
        if let Some(life) = world.leader() {
            let wish = wishes::wish(&name, wishes::place(&name));
            if matches!(world.propose(&life, wish).await, Heard::Answer(Ok(_))) {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.oracle.object("a wish is answered, whatever a clock says");
}

async fn wrong(voters: u64, set: impl Fn(&Host)) -> Report {
    let begun = tokio::time::Instant::now();
    let world = World::new(voters);
    world.found(voters).await;
    for round in 0..3 {
        let leader = world.leader().unwrap();
        set(&leader.host);
        for number in 0..4 {
            write(&world, &format!("{round}-{number}")).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            if apart(&world, begun).await > SLACK + Duration::from_secs(2) {
                world.oracle.object("the ledger has the time of most voters");
            }
        }
        // The next to lead finds the one before with its clock set right, and has a wrong one itself.
        leader.host.set_clock(Duration::ZERO, Duration::ZERO);
        world.crash(leader.host.node());
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.start(leader.host.node()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    world.heal().await;
    judge(&world, &History::default())
}

#[test]
fn a_leader_whose_clock_is_wrong_does_not_take_the_ledger_with_it() {
    for voters in [3, 5] {
        let ahead = planned(None, wrong(voters, |host| host.set_clock(24 * HOUR, Duration::ZERO)));
        assert!(ahead.broken.is_empty(), "{ahead:#?}");
        let behind = planned(None, wrong(voters, |host| host.set_clock(Duration::ZERO, HOUR)));
        assert!(behind.broken.is_empty(), "{behind:#?}");
    }
}

/// One of three is away for longer than its clock counts, and another comes back meanwhile as a version that knows no question
/// for the time. The ledger can learn that only once there is a time again.
#[test]
fn a_voter_that_knows_no_question_for_the_time_is_not_missed_while_another_is_away() {
    let report = planned(None, async {
        let world = World::new(17);
        world.found(3).await;
        let leader = world.leader().unwrap().host.node();
        let mut others = (1..=3).filter(|id| *id != leader);
        let (older, away) = (others.next().unwrap(), others.next().unwrap());
        world.crash(older);
        world.crash(away);
        world.network.set_older(BTreeSet::from([older]));
        tokio::time::sleep(Duration::from_secs(40)).await;
        world.start(older).await;
        let says = VoterAct::Reads { id: older, level: TELLS_TIME - 1 };
        let begun = tokio::time::Instant::now();
        loop {
            let (node, says) = (world.life(older).unwrap().node.clone(), says.clone());
            let said = world.on(older, async move { node.command(says).await }).await;
            if matches!(said, Some(Ok(_))) {
                break;
            }
            if begun.elapsed() > Duration::from_secs(60) {
                world.oracle.object("a voter of an older version can say so");
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        write(&world, "together").await;
        world.network.set_older(BTreeSet::new());
        world.heal().await;
        judge(&world, &History::default())
    });
    assert!(report.broken.is_empty(), "{report:#?}");
}

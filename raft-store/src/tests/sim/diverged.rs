//! A voter whose memory failed: after the next thousandth entry it holds another state than the others.
//!
//! Not here: how states are held against each other (`crate::state`). Invariant: it alone ends, and those that agree go on.

use std::collections::BTreeSet;
use std::time::Duration;

use aegis_domain::Timestamp;
use aegis_ledger::{Batch, Command};
use aegis_registry::{ClientId, Fingerprint, Origin};
use tokio::time::sleep;

use super::host::MORNING_S;
use super::world::{Heard, Life, World};
use super::{Report, judge, planned, wishes};
use crate::state::{CHECKPOINT_EVERY, State};
use crate::tests::sim::history::History;

/// As if a bit had flipped: a tenant is there that nobody placed.
fn fail_memory(life: &Life) {
    let shared = &life.node.running().shared;
    let State { mut ledger, applied, membership } = shared.read().clone();
    let wish = wishes::wish("nobody", wishes::place("nobodys"));
    let request = Fingerprint::of(b"nothing");
    let origin = Origin { client: ClientId::of(b"nobody"), serial: 1, request };
    let commands = vec![Command { origin, by: wish.by, action: wish.action }];
    ledger.apply(&Batch { at: Timestamp::from_unix_s(MORNING_S), commands });
    shared.replace(State { ledger, applied, membership });
}

async fn write(world: &World, name: &str) -> bool {
    let Some(leader) = world.leader() else { return false };
    let wish = wishes::wish(name, wishes::place(name));
    matches!(world.propose(&leader, wish).await, Heard::Answer(Ok(_)))
}

fn on(world: &World) -> BTreeSet<u64> {
    let alive = world.alive().into_iter().filter(|life| !life.host.is_off());
    alive.map(|life| life.host.node()).collect()
}

async fn fails(voters: u64, does_lead: bool) -> Report {
    let world = World::new(voters);
    world.found(voters).await;
    let leader = world.leader().unwrap().host.node();
    let sick = world.alive().into_iter().find(|it| (it.host.node() == leader) == does_lead);
    let sick = sick.unwrap();
    fail_memory(&sick);
    let mut number = 0;
    while sick.node.status().last_entry < Some(CHECKPOINT_EVERY + 5) && !sick.host.is_off() {
        number += 1;
        write(&world, &format!("before-{number}")).await;
        assert!(number < 2 * CHECKPOINT_EVERY, "the log grows");
    }
    sleep(Duration::from_secs(10)).await;
    let all: BTreeSet<u64> = (1..=voters).collect();
    let sound: BTreeSet<u64> = all.into_iter().filter(|id| *id != sick.host.node()).collect();
    assert_eq!(on(&world), sound, "{voters} voters, the sick one leads: {does_lead}");
    world.crash(sick.host.node());
    let mut answered = 0;
    for attempt in 0..50 {
        answered += u64::from(write(&world, &format!("after-{attempt}")).await);
        sleep(Duration::from_millis(100)).await;
    }
    assert!(answered >= 10, "those that agree go on: {answered}");
    judge(&world, &History::default())
}

#[test]
fn a_voter_with_another_state_ends_and_those_that_agree_go_on_whoever_leads() {
    for (voters, does_lead) in [(3, false), (3, true), (5, true)] {
        planned(None, fails(voters, does_lead));
    }
}

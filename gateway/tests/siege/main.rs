//! A region under siege: three or five voters and four gateways that follow them, all of them the real server and each on a host
//! of its own, while agents call, people command and everything happens to them that can.
//!
//! Not here: voters alone (`testkit/voters`) and simulated ones (`raft-store`). Invariant: what callers, people, upstreams and
//! audit logs saw is judged, and in which order; never how long anything took. A wait has an end only so that a test has one.
//!
//! It takes root, `ip`, `iptables`, `mount`, `strace` and libfaketime. Every change passes the strongest faults; `make siege` runs
//! all of them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and this is only ever part of one"
)]
#![expect(clippy::print_stderr, reason = "a test of minutes says where it is")]

mod agents;
mod doors;
mod figures;
mod gatehouse;
mod judgement;
mod lines;
mod overrides;
mod people;
mod reads;
mod revocations;
mod roamers;
mod rollouts;
mod served;
mod stage;
mod storms;
mod tenants;
mod town;

use std::sync::Arc;

use storms::Storm;
use town::{Disks, Town};

const GATEWAY: &str = env!("CARGO_BIN_EXE_aegis-gateway");

/// What everybody is at first: the build before this one, where `AEGIS_GATEWAY_BEFORE` names it.
fn first_build() -> String {
    std::env::var("AEGIS_GATEWAY_BEFORE").unwrap_or_else(|_| GATEWAY.to_owned())
}

/// Whether somebody is of another build than this one, at first.
fn begins_before() -> bool {
    first_build() != GATEWAY
}

/// Lays siege, and judges what everybody saw.
async fn besieged(voters: usize, storms: &[Storm]) {
    let storms = storms::named(storms);
    if storms.is_empty() {
        eprintln!("skipped: none of its storms is named");
        return;
    }
    let Some(mut town) = Town::found(voters, Disks::Small).await else { return };
    let stage = Arc::clone(&town.stage);
    let agents = agents::start(&stage, &town);
    let pointers = people::start(&stage, &town);
    let overrides = overrides::start(&stage, &town);
    let revocations = revocations::start(&stage, &town);
    let (roamers, rollers) = (roamers::start(&stage, &town), rollouts::start(&stage, &town));
    let (pointed, granted) = (Arc::clone(&pointers.seen), Arc::clone(&overrides.seen));
    let read =
        reads::Read { pointers: pointed, overrides: granted, lines: Arc::clone(&rollers.seen) };
    let readers = reads::start(&stage, &town, &read);
    storms::pass(&mut town, &storms).await;
    let epoch = town.settled().await;
    stage.end();
    let reads = readers.join();
    let lines = rollers.join(&town).await;
    let seen = judgement::Seen {
        reads,
        lines,
        roamed: roamers.join(),
        calls: agents.join(),
        pointers: pointers.join(),
        overrides: overrides.join(&town),
        revoked: revocations.join(),
        epoch,
    };
    judgement::judge(&mut town, seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_of_three_voters_and_four_gateways_keeps_its_word_under_siege() {
    besieged(3, &storms::STRONGEST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: `make siege`"]
async fn three_voters_and_four_gateways_keep_their_word_through_everything() {
    besieged(3, &storms::EVERYTHING).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: `make siege`"]
async fn five_voters_and_four_gateways_keep_their_word_through_what_three_would_not_survive() {
    besieged(5, &storms::OF_FIVE).await;
}

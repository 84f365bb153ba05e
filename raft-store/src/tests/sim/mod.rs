//! A cluster whose machines, disks, network, clocks and chance are simulated, in virtual time, from one number.
//!
//! Real are the voter's log, file format, machine, proposer, server and messages, and openraft. Not here: processes and sockets
//! (`tests/`). Invariant: a seed that fails is printed, and `AEGIS_SIM_SEED` runs it again, event for event.

mod clients;
mod clocks;
mod disk;
mod diverged;
mod faults;
mod followers;
mod history;
pub(crate) mod host;
mod network;
mod oracle;
mod planted;
mod restarted;
mod seeds;
mod watched;
mod wishes;
mod world;

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use clients::Client;
use faults::Faults;
use history::History;
pub(crate) use network::Network;
use oracle::Counts;
use world::World;

/// A mistake that a voter could make, and that must be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    AckBeforeSync,
    ReadWithoutQuorum,
    PurgeFirst,
    ClientForgotten,
    VoteNotSaved,
    NoJointConsensus,
    EventsKept,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

thread_local! {
    static DRAFT_BYTES: Cell<Option<usize>> = const { Cell::new(None) };
}

/// From how many bytes on this thread's disks write a snapshot in pieces, if not from as many as real ones.
pub(crate) fn draft_bytes() -> Option<usize> {
    DRAFT_BYTES.get()
}

/// Has snapshots written in pieces of so many bytes meanwhile.
pub(crate) fn drafting<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    DRAFT_BYTES.set(Some(bytes));
    let done = work();
    DRAFT_BYTES.set(None);
    done
}

/// Whether this thread's simulation has this bug.
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// What is simulated.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    voters: u64,
    clients: u64,
    /// For how long things go wrong.
    storm: Duration,
    bug: Option<Bug>,
}

impl Plan {
    fn of(seed: u64) -> Self {
        let voters = if seed.is_multiple_of(2) { 3 } else { 5 };
        Self { seed, voters, clients: 4, storm: Duration::from_secs(25), bug: None }
    }
}

/// What came of it.
#[derive(Debug)]
struct Report {
    /// The rules that were broken.
    broken: Vec<String>,
    counts: Counts,
    /// Answered, said not to be sent, and unknown.
    wishes: (usize, usize, u64),
    /// How often followers asked, and how many events they were told.
    told: (u64, usize),
    /// Equal for equal runs.
    trace: u64,
}

fn run(plan: Plan) -> Report {
    planned(plan.bug, simulate(plan))
}

/// Runs in virtual time, which passes when nothing else is to be done.
fn planned(bug: Option<Bug>, simulation: impl Future<Output = Report>) -> Report {
    PLANTED.set(bug);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let report = runtime.block_on(simulation);
    PLANTED.set(None);
    report
}

async fn simulate(plan: Plan) -> Report {
    let world = World::new(plan.seed);
    let history = History::default();
    world.found(plan.voters).await;
    clients::prepare(&world).await;
    let until = Instant::now() + plan.storm;
    let (told, followers) = followers::start(&world, plan.seed, until);
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| Client::new(world.clone(), history.clone(), number))
        .map(|client| tokio::spawn(client.run(until)))
        .collect();
    Faults::new(world.clone()).run(until).await;
    for client in clients.into_iter().chain(followers) {
        if client.await.is_err() {
            world.oracle.object("an answer is one that can be");
        }
    }
    world.heal().await;
    let mut report = judge(&world, &history);
    report.broken.extend(told.judge(&world.oracle.replay().1));
    report.told = told.counts();
    report
}

fn judge(world: &World, history: &History) -> Report {
    let wishes = history.counts();
    let (replayed, answers) = world.oracle.replay();
    let mut broken = world.oracle.objections();
    match world.leader() {
        Some(leader) => {
            let held = leader.node.ledger();
            if held.hash() != replayed.hash() {
                broken.push("the state is that of the committed log".to_owned());
            }
            broken.extend(history.judge(&answers, &held));
        }
        None => broken.push("a healed cluster has a leader".to_owned()),
    }
    let (counts, trace) = (world.oracle.counts(), world.oracle.trace());
    Report { broken, counts, wishes, told: (0, 0), trace }
}

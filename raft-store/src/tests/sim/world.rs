//! The simulated cluster: its machines, who of them is alive, and how they are started, killed, paused and asked.
//!
//! Not here: when that happens (`faults`) and what is asked (`clients`). Invariant: a life of a voter has what its last one
//! left on disk, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_ledger::Answer;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::disk::Platters;
use super::host::Host;
use super::network::{Network, Weather};
use super::oracle::Oracle;
use super::watched::Watched;
use crate::disk::{Disk, Fatal, Identity, OnFatal};
use crate::log::LogStore;
use crate::machine::Machine;
use crate::node::{Parts, Running};
use crate::tests::dice::Dice;
use crate::wire::peers::Way;
use crate::{Node, NodeError, Pace, ProposeError, Wish};

const CLUSTER: &str = "simulated";
/// How long whoever asks a machine waits before it takes it for dead.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a healed cluster may take to agree.
const HEALING: Duration = Duration::from_secs(120);

pub(crate) fn pace() -> Pace {
    Pace {
        heartbeat: Duration::from_millis(100),
        election: (Duration::from_millis(400), Duration::from_millis(800)),
        write: Duration::from_secs(2),
        snapshot_every: 40,
        ..Pace::default()
    }
}

/// What came of a command, as far as its client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Answer(Answer),
    /// It was said not to have been sent.
    NotSent,
    Nothing,
}

/// One life of a voter.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) host: Host,
    pub(crate) disk: Platters,
    pub(crate) node: Node,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) oracle: Oracle,
    pub(crate) network: Network,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    begun: Instant,
    dice: Dice,
    alive: BTreeMap<u64, Life>,
    /// What is on the disks of those that are not.
    dead: BTreeMap<u64, Vec<u8>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let (mut dice, oracle) = (Dice(seed), Oracle::default());
        let network = Network::new(dice.fork(), oracle.clone());
        let (alive, dead) = (BTreeMap::new(), BTreeMap::new());
        let inner = Inner { begun: Instant::now(), dice, alive, dead };
        Self { oracle, network, inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn dice(&self) -> Dice {
        self.inner.lock().dice.fork()
    }

    pub(crate) fn alive(&self) -> Vec<Life> {
        self.inner.lock().alive.values().cloned().collect()
    }

    pub(crate) fn life(&self, id: u64) -> Option<Life> {
        self.inner.lock().alive.get(&id).cloned()
    }

    pub(crate) fn dead(&self) -> Vec<u64> {
        self.inner.lock().dead.keys().copied().collect()
    }

    /// Of those that take themselves for the leader the latest: one that was taken out unheard takes itself for it for ever.
    pub(crate) fn leader(&self) -> Option<Life> {
        let leads = |life: &Life| life.node.status().leader == Some(life.host.node());
        let leaders = self.alive().into_iter().filter(leads);
        leaders.max_by_key(|life| life.node.status().term)
    }

    /// Founds a cluster and has others join it, in fair weather.
    pub(crate) async fn found(&self, voters: u64) {
        self.start(1).await;
        let node = self.life(1).unwrap().node;
        self.on(1, async move { node.found("1").await }).await.unwrap().unwrap();
        for _ in 1..voters {
            self.join().await.unwrap();
        }
    }

    /// Brings a new voter in; stops half-way where something fails.
    pub(crate) async fn join(&self) -> Option<u64> {
        let leader = self.leader()?;
        let (at, node) = (leader.host.node(), leader.node);
        let admitting = node.clone();
        let id = self.on(at, async move { admitting.admit("somewhere").await }).await?.ok()?;
        self.start(id).await;
        let teaching = node.clone();
        self.on(at, async move { teaching.teach(id).await }).await?.ok()?;
        self.on(at, async move { node.promote(id).await }).await?.ok()?;
        let joined = self.life(id)?.node;
        drop(self.on(id, async move { joined.say_level().await }).await);
        Some(id)
    }

    /// Runs on a machine, unless it dies over it.
    pub(crate) async fn on<T: Send + 'static>(
        &self,
        id: u64,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let task = self.life(id)?.host.spawn(work);
        timeout(PATIENCE, task).await.ok()?.ok()
    }

    pub(crate) async fn propose(&self, life: &Life, wish: Wish) -> Heard {
        let node = life.node.clone();
        let task = life.host.spawn(async move { node.propose(wish).await });
        match timeout(PATIENCE, task).await {
            Ok(Ok(Ok(answer))) => Heard::Answer(answer),
            Ok(Ok(Err(ProposeError::Unknown))) | Ok(Err(_)) | Err(_) => Heard::Nothing,
            Ok(Ok(Err(
                ProposeError::NoQuorum
                | ProposeError::Busy
                | ProposeError::TooLarge
                | ProposeError::Full
                | ProposeError::Level
                | ProposeError::Stopped,
            ))) => Heard::NotSent,
        }
    }

    /// Starts a voter on what its last life left.
    pub(crate) async fn start(&self, id: u64) {
        let (image, begun, mut dice) = {
            let mut inner = self.inner.lock();
            let image = inner.dead.remove(&id).unwrap_or_default();
            (image, inner.begun, inner.dice.fork())
        };
        let host = Host::new(id, begun, dice.fork(), self.oracle.clone());
        let disk = Platters::new(image, host.clone(), dice);
        let starting = self.clone().assemble(host.clone(), disk.clone());
        match host.spawn(starting).await.unwrap() {
            Ok(node) => {
                self.inner.lock().alive.insert(id, Life { host, disk, node });
            }
            Err(error) => self.oracle.object(&format!("a voter starts after a crash: {error:?}")),
        }
    }

    async fn assemble(self, host: Host, platters: Platters) -> Result<Node, NodeError> {
        let node = host.node();
        let identity = Identity { cluster: CLUSTER.into(), node };
        let (judge, mortal) = (self.oracle.clone(), host.clone());
        let on_fatal: OnFatal = Arc::new(move |fatal| {
            if !mortal.is_off() {
                judge.object(&format!("a voter goes on: {fatal}"));
            }
            if matches!(fatal, Fatal::Diverged { .. }) {
                mortal.power_off();
            }
        });
        let waiting = platters.clone();
        let opened =
            Disk::open_simulated(platters, identity.clone(), Arc::clone(&on_fatal), move || {
                waiting.turn()
            });
        let (disk, writing) = opened?;
        host.spawn(writing);
        let disk = Arc::new(disk);
        let machine = Machine::open(&disk)?;
        let shared = Arc::clone(machine.shared());
        let way = Way::Simulated(self.network.clone());
        let parts = Parts { identity, way, shared, pace: pace(), on_fatal };
        let oracle = self.oracle.clone();
        let log = Watched { node, inner: LogStore(disk), oracle: oracle.clone() };
        let machine = Watched { node, inner: machine, oracle };
        let (running, server) = Running::assemble(parts, log, machine).await?;
        self.network.open(&host, server);
        Ok(Node(Arc::new(running)))
    }

    /// The power of a machine fails.
    pub(crate) fn crash(&self, id: u64) {
        let Some(life) = self.inner.lock().alive.remove(&id) else { return };
        let image = life.disk.crash();
        self.network.close(id);
        self.oracle.crashed(id);
        self.inner.lock().dead.insert(id, image);
    }

    /// Ends everything that is wrong, and waits until all that belong to the cluster agree.
    pub(crate) async fn heal(&self) {
        self.network.set_weather(Weather::FAIR);
        self.network.set_cuts(std::collections::BTreeSet::new());
        // Whose power was about to fail in a write has had its time.
        for life in self.alive() {
            if !life.host.is_on() && !life.host.is_off() {
                life.host.resume();
            }
            if life.host.is_off() || life.disk.is_trapped() {
                self.crash(life.host.node());
            }
            life.disk.set_pace((1, 4));
        }
        for id in self.dead() {
            self.start(id).await;
        }
        let until = Instant::now() + HEALING;
        while !self.agrees().await {
            if Instant::now() > until {
                let all: Vec<_> = self.alive().iter().map(|life| life.node.status()).collect();
                self.oracle.object(&format!("a healed cluster agrees: {all:?}"));
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn agrees(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let status = leader.node.status();
        if status.is_joint {
            let node = leader.node.clone();
            drop(self.on(status.node, async move { node.finish_change().await }).await);
            return false;
        }
        // Who was taken out, or never quite brought in, does not count.
        let members: Vec<_> = status.voters.iter().filter_map(|id| self.life(*id)).collect();
        let applied: Vec<_> = members.iter().map(|life| life.node.status().applied).collect();
        let hashes: Vec<_> = members.iter().map(|life| life.node.ledger().hash()).collect();
        let is_same = applied.iter().all(|applied| *applied == status.last_entry)
            && hashes.windows(2).all(|pair| pair[0] == pair[1]);
        members.len() == status.voters.len() && is_same
    }
}

//! One voter: started, made a member, asked, and stopped.
//!
//! Not here: commands on their way (`propose`), who belongs (`members`). Invariant: a node answers only under the identity
//! that its file and its certificate name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aegis_ledger::{Answer, FEATURE_LEVEL, Ledger, Refusal};
use aegis_registry::{ClientId, Event};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{Config, SnapshotPolicy};
use parking_lot::MappedRwLockReadGuard;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::error;

use crate::clocks;
use crate::disk::{Disk, DiskError, Identity, OnFatal, Used};
use crate::host::{self, now};
use crate::log::LogStore;
use crate::machine::Machine;
use crate::propose::{Desk, ProposeError, Proposer, Wish};
use crate::reads::Reads;
use crate::state::Shared;
use crate::talk::Slot;
#[cfg(test)]
use crate::tests::sim::{Bug, planted};
use crate::types::{Metrics, Raft, Types};
use crate::wire::message::{Request, Response};
use crate::wire::peers::{Peers, Way};
use crate::wire::server::Server;
use crate::wire::tls::{Credentials, Current, Tls, TlsError};

/// The node that founds a cluster.
const FOUNDER: u64 = 1;
const SNAPSHOT_WITHIN_MS: u64 = 30_000;

/// Why a node cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the node's file cannot be used")]
    Disk(#[from] DiskError),
    #[error("the node cannot speak to others")]
    Tls(#[from] TlsError),
    #[error("the node cannot listen")]
    Listen(#[source] std::io::Error),
    #[error("the pace is not one that Raft can keep: {0}")]
    Pace(String),
    #[error("Raft has stopped or refused: {0}")]
    Raft(String),
    #[error("another node leads: {leader:?}")]
    NotLeader { leader: Option<u64> },
    #[error("the ledger has no voter of id {0}")]
    UnknownVoter(u64),
    #[error("only node {FOUNDER} founds a cluster")]
    NotFounder,
    #[error(
        "node {0} does not learn: it does not run, or cannot be reached at its address, or needs more time"
    )]
    Learning(u64),
    #[error("a node does not take itself out; ask another")]
    Itself,
    #[error("no other voter is there to lead")]
    NoHeir,
    #[error("node {0} was not elected; whoever leads now is told by the status")]
    NotElected(u64),
    #[error("the state cannot be written out")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// How long Raft waits for what, and how much log it keeps.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub heartbeat: Duration,
    /// An election begins when nothing was heard for some time between these.
    pub election: (Duration, Duration),
    /// After this a command's client hears that its fate is unknown.
    pub write: Duration,
    /// After so many entries there is a snapshot, and so many are kept behind it: a voter that lags less is sent entries,
    /// not the whole state (databendlabs/openraft#1706).
    pub snapshot_every: u64,
    /// How much log and snapshot may take before only what takes something back is taken.
    pub ledger_bytes_max: u64,
}

impl Default for Pace {
    /// For voters of one region on disks whose slowest syncs take tens of milliseconds.
    fn default() -> Self {
        let election = (Duration::from_millis(500), Duration::from_millis(1_000));
        let (heartbeat, write) = (Duration::from_millis(150), Duration::from_secs(5));
        let ledger_bytes_max = 2 * 1_024 * 1_024 * 1_024;
        Self { heartbeat, election, write, snapshot_every: 5_000, ledger_bytes_max }
    }
}

/// Where others reach a node.
#[derive(Debug)]
pub struct Door {
    pub listener: std::net::TcpListener,
    pub credentials: Credentials,
}

/// What a node needs to start.
pub struct Settings {
    pub identity: Identity,
    pub directory: PathBuf,
    /// `None` for a cluster of one.
    pub door: Option<Door>,
    pub pace: Pace,
    pub on_fatal: OnFatal,
}

/// A voter that runs.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Running>);

pub(crate) struct Running {
    identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) shared: Arc<Shared>,
    pub(crate) peers: Peers,
    reads: Reads,
    desk: Desk,
    pub(crate) within: Duration,
    tls: Option<Current>,
    pub(crate) used: Arc<Mutex<Used>>,
    pub(crate) bytes_max: u64,
    /// Who answers what other voters ask beside Raft.
    pub(crate) answers: Slot,
    address: Option<SocketAddr>,
    tasks: Vec<AbortHandle>,
}

/// What a node is made of, wherever it keeps its log and however it reaches others.
pub(crate) struct Parts {
    pub(crate) identity: Identity,
    pub(crate) way: Way,
    /// The state that its machine moves on.
    pub(crate) shared: Arc<Shared>,
    pub(crate) pace: Pace,
    pub(crate) on_fatal: OnFatal,
}

impl Running {
    /// Takes part from here on; others reach it once its server gets their messages.
    pub(crate) async fn assemble<L, M>(
        parts: Parts,
        mut log: L,
        machine: M,
    ) -> Result<(Self, Server), NodeError>
    where
        L: RaftLogStorage<Types>,
        M: RaftStateMachine<Types>,
    {
        let Parts { identity, way, shared, pace, on_fatal } = parts;
        let config = Arc::new(config(&identity, pace)?);
        let peers = Peers::new(identity.clone(), way, Arc::clone(&shared));
        let found = log.get_log_state().await.map_err(raft_failed)?.last_log_id;
        let raft = Raft::new(identity.node, config, peers.clone(), log, machine).await;
        let raft = raft.map_err(raft_failed)?;
        let reads = Reads::new(raft.clone(), found);
        // Two lives of a node must not number their commands under one name.
        let life = format!("{}/{}/{}", identity.cluster, identity.node, now().unix_ns());
        let proposer = Proposer {
            raft: raft.clone(),
            peers: peers.clone(),
            shared: Arc::clone(&shared),
            client: ClientId::of(life.as_bytes()),
            sent: 0,
            lease: pace.election.1,
            within: pace.write,
        };
        let (desk, work) = proposer.open();
        let resigning = resign(raft.clone(), Arc::clone(&shared));
        let comparing = clocks::compare(identity.node, peers.clone(), Arc::clone(&shared));
        let tasks = vec![
            host::spawn(work).abort_handle(),
            host::spawn(resigning).abort_handle(),
            host::spawn(comparing).abort_handle(),
        ];
        let answers = Slot::default();
        let server = Server {
            own: identity.clone(),
            raft: raft.clone(),
            shared: Arc::clone(&shared),
            peers: peers.clone(),
            reads: reads.clone(),
            answers: Arc::clone(&answers),
            within: pace.write,
            on_fatal,
            incoming: Arc::default(),
        };
        let running = Self {
            identity,
            raft,
            shared,
            peers,
            reads,
            desk,
            within: pace.write,
            tls: None,
            used: Arc::default(),
            bytes_max: pace.ledger_bytes_max,
            answers,
            address: None,
            tasks,
        };
        Ok((running, server))
    }
}

/// Stands for election no more once this voter was taken out. Nobody tells it so but those whom it asks for votes, and a voter that
/// lags would go on granting them: terms would outrun whoever the others want to elect, and the cluster could stay without a
/// leader for as long as this one runs.
async fn resign(raft: Raft, shared: Arc<Shared>) {
    shared.dismissal().await;
    raft.runtime_config().elect(false);
    error!("this voter was taken out of its cluster and takes no part in it any more: stop it");
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("identity", &self.0.identity).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the node's file and takes part. A new node does nothing until it founds a cluster or is made a member.
    pub async fn start(settings: Settings) -> Result<Self, NodeError> {
        let Settings { identity, directory, door, pace, on_fatal } = settings;
        let (own, callback) = (identity.clone(), Arc::clone(&on_fatal));
        let opened = host::blocking(move || {
            let disk = Arc::new(Disk::open(&directory, &own, callback)?.0);
            Machine::open(&disk).map(|machine| (disk, machine))
        });
        let (disk, machine) =
            opened.await.map_err(|error| NodeError::Raft(error.to_string()))??;
        let shared = Arc::clone(machine.shared());
        let tls = door.as_ref().map(|door| Tls::new(&door.credentials, &identity)).transpose()?;
        let tls = tls.map(Current::new);
        let way = tls.clone().map_or(Way::Alone, Way::Tls);
        let parts = Parts { identity, way, shared, pace, on_fatal };
        let used = disk.used();
        let (mut running, server) = Running::assemble(parts, LogStore(disk), machine).await?;
        running.used = used;
        running.tls = tls.clone();
        if let (Some(door), Some(tls)) = (door, tls) {
            door.listener.set_nonblocking(true).map_err(NodeError::Listen)?;
            let listener = TcpListener::from_std(door.listener).map_err(NodeError::Listen)?;
            running.address = Some(listener.local_addr().map_err(NodeError::Listen)?);
            running.tasks.push(tokio::spawn(server.run(listener, tls)).abort_handle());
        }
        Ok(Self(Arc::new(running)))
    }

    /// A cluster of one on a directory: what a laptop runs. Returns when it can be written.
    pub async fn alone(
        cluster: &str,
        directory: &Path,
        on_fatal: OnFatal,
    ) -> Result<Self, NodeError> {
        let identity = Identity { cluster: cluster.to_owned(), node: FOUNDER };
        let (directory, pace) = (directory.to_owned(), Pace::default());
        let settings = Settings { identity, directory, door: None, pace, on_fatal };
        let node = Self::start(settings).await?;
        node.stand_alone("alone").await?;
        Ok(node)
    }

    /// For a node that is all of its cluster: founds it where it is new, and returns when it can be written. Others will
    /// reach it at `address`.
    pub async fn stand_alone(&self, address: &str) -> Result<(), NodeError> {
        if !self.is_new().await? {
            // Nobody else could lead, so the wait for a sign of life would be for nothing.
            self.0.raft.trigger().elect().await.map_err(raft_failed)?;
        }
        self.found(address).await?;
        self.settle_at(address).await
    }

    /// Returns when this node belongs to a cluster.
    pub async fn belongs(&self) -> Result<(), NodeError> {
        let mut metrics = self.0.raft.metrics();
        let belongs =
            |metrics: &Metrics| metrics.membership_config.membership().voter_ids().next().is_some();
        metrics.wait_for(belongs).await.map(drop).map_err(raft_failed)
    }

    /// Proves itself with these on every connection made from now on.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), NodeError> {
        let renewed = Tls::new(credentials, &self.0.identity)?;
        if let Some(current) = &self.0.tls {
            current.renew(renewed);
            self.0.peers.forget();
        }
        Ok(())
    }

    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    pub(crate) fn running(&self) -> &Running {
        &self.0
    }

    /// Whether it belongs to no cluster yet.
    pub async fn is_new(&self) -> Result<bool, NodeError> {
        self.0.raft.is_initialized().await.map(|it| !it).map_err(raft_failed)
    }

    /// Makes a cluster of this node alone, which others reach at `address`; goes on where it was stopped half-way.
    pub async fn found(&self, address: &str) -> Result<(), NodeError> {
        if self.is_new().await? {
            if self.0.identity.node != FOUNDER {
                return Err(NodeError::NotFounder);
            }
            let members = BTreeMap::from([(FOUNDER, openraft::BasicNode::new(address))]);
            self.0.raft.initialize(members).await.map_err(raft_failed)?;
        }
        self.led().await?;
        self.catch_up().await?;
        let is_empty = self.ledger().voters().iter().next().is_none();
        if is_empty {
            // The first id that a ledger gives out is the founder's.
            self.admit(address).await?;
        }
        self.say_level().await?;
        if is_empty {
            // Nobody of a version before this one is there.
            self.raise().await?;
        }
        Ok(())
    }

    /// Waits until somebody leads.
    async fn led(&self) -> Result<(), NodeError> {
        let wait = self.0.raft.wait(Some(self.0.within));
        let led = wait.metrics(|metrics| metrics.current_leader.is_some(), "somebody leads").await;
        led.map(drop).map_err(raft_failed)
    }

    /// Tells the others what this version can read; to be called once a node is a member, and after each start.
    pub async fn say_level(&self) -> Result<(), NodeError> {
        let id = self.0.identity.node;
        let known = self.ledger().voters().get(id).map(|voter| voter.level);
        if known != Some(FEATURE_LEVEL) {
            let level = FEATURE_LEVEL;
            self.command(aegis_ledger::VoterAct::Reads { id, level }).await?;
        }
        Ok(())
    }

    /// Has a command applied, once, and says what came of it. When it returns, this node has applied it. The level never
    /// falls, so what is let through here can be read wherever it arrives.
    pub async fn propose(&self, wish: Wish) -> Result<Answer, ProposeError> {
        if self.ledger().voters().level() < wish.action.level() {
            return Err(ProposeError::Level);
        }
        if self.ledger_bytes() >= self.0.bytes_max && !wish.action.takes_back() {
            return Err(ProposeError::Full);
        }
        self.0.desk.propose(wish).await
    }

    /// The state this node has applied. Entries wait while it is held, so it is never held across an await.
    pub fn ledger(&self) -> MappedRwLockReadGuard<'_, Ledger> {
        self.0.shared.ledger()
    }

    /// Returns when this node has applied whatever was acknowledged anywhere before the call.
    pub async fn catch_up(&self) -> Result<(), NodeError> {
        let caught_up = async {
            let index = self.read_index().await?;
            let wait = self.0.raft.wait(Some(self.0.within));
            let waited = wait.applied_index_at_least(index, "as far as the leader").await;
            waited.map(drop).map_err(|_| ProposeError::NoQuorum)
        };
        let within = tokio::time::timeout(self.0.within, caught_up).await;
        Ok(within.map_err(|_| ProposeError::NoQuorum)??)
    }

    async fn read_index(&self) -> Result<Option<u64>, ProposeError> {
        let metrics = self.0.raft.metrics().borrow().clone();
        let leader = metrics.current_leader.ok_or(ProposeError::NoQuorum)?;
        #[cfg(test)]
        if leader == metrics.id && planted(Bug::ReadWithoutQuorum) {
            return Ok(metrics.last_applied.map(|id| id.index));
        }
        if leader == metrics.id {
            return self.0.reads.index().await.map_err(|_| ProposeError::NoQuorum);
        }
        let members = metrics.membership_config.membership();
        let node = members.get_node(&leader).ok_or(ProposeError::NoQuorum)?;
        match self.0.peers.ask((leader, &node.addr), Request::ReadIndex, &[]).await {
            Ok(Response::ReadIndex(index)) => Ok(index),
            Ok(_) | Err(_) => Err(ProposeError::NoQuorum),
        }
    }

    /// The serial of the registry's last event, as it changes.
    pub fn serial(&self) -> watch::Receiver<u64> {
        self.0.shared.serial()
    }

    /// The revision that last changed what is released where, as it changes.
    pub fn released(&self) -> watch::Receiver<u64> {
        self.0.shared.released()
    }

    /// The registry's events after a serial, at most `max`; `None` where they are no longer at hand.
    pub fn events_after(&self, serial: u64, max: usize) -> Option<Vec<Event>> {
        self.0.shared.events_after(serial, max)
    }

    /// Folds the log into a snapshot now.
    pub async fn snapshot(&self) -> Result<(), NodeError> {
        self.0.raft.trigger().snapshot().await.map_err(raft_failed)
    }

    /// Folds what is applied into a snapshot and gives up the log behind it. A voter that lags will be sent the whole state.
    pub async fn shrink(&self) -> Result<(), NodeError> {
        let applied = self.status().applied;
        self.snapshot().await?;
        let wait = self.0.raft.wait(Some(Duration::from_millis(SNAPSHOT_WITHIN_MS)));
        let holds = |metrics: &Metrics| metrics.snapshot.map(|id| id.index) >= applied;
        let held = wait.metrics(holds, "what is applied is in a snapshot").await;
        let snapshot = held.map_err(raft_failed)?.snapshot.map_or(0, |id| id.index);
        self.0.raft.trigger().purge_log(snapshot).await.map_err(raft_failed)
    }

    /// Takes no part any more. The file can be opened again once every clone is dropped.
    pub async fn stop(&self) -> Result<(), NodeError> {
        self.0.tasks.iter().for_each(AbortHandle::abort);
        self.0.raft.shutdown().await.map_err(|error| NodeError::Raft(error.to_string()))
    }
}

pub(crate) fn raft_failed(error: impl std::error::Error) -> NodeError {
    NodeError::Raft(error.to_string())
}

fn config(identity: &Identity, pace: Pace) -> Result<Config, NodeError> {
    let ms = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: identity.cluster.clone(),
        heartbeat_interval: ms(pace.heartbeat),
        election_timeout_min: ms(pace.election.0),
        election_timeout_max: ms(pace.election.1),
        install_snapshot_timeout: SNAPSHOT_WITHIN_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(pace.snapshot_every),
        max_in_snapshot_log_to_keep: pace.snapshot_every,
        ..Config::default()
    };
    config.validate().map_err(|error| NodeError::Pace(error.to_string()))
}

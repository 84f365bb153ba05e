//! Leadership handed over: a leader that stops, or is told to, has another voter elected while it still votes.
//!
//! openraft 0.9 has no transfer. A follower grants no vote while the leader's lease lasts, but the leader itself does, once it
//! has led for longer than that: so in a cluster of three the heir has its quorum at once. In a larger one the leader falls
//! silent and lets the lease run out first, before anyone's patience does.
//! Not here: elections after a crash (openraft). Invariant: the heir holds every entry of the leader's log before it stands,
//! and whatever fails leaves the cluster to its own elections.

use std::sync::Arc;
use std::time::Duration;

use aegis_ledger::Batch;
use openraft::RaftMetrics;

use crate::host::now;
use crate::members::{MemberAct, Members};
use crate::node::{Node, NodeError, raft_failed};
use crate::propose::ProposeError;
use crate::state::Shared;
use crate::types::{Metrics, Raft};
use crate::wire::message::{Request, Response};

/// One, and another where a vote was lost on its way.
const ELECTIONS_MAX: u32 = 2;
/// What an election takes beyond the lease: two round trips and a sync of each disk.
const ELECTION: Duration = Duration::from_millis(500);

/// A leader and an heir are a quorum of so many.
const VOTERS_OF_TWO: usize = 3;

/// While it lives, this leader takes no command.
struct Pause<'a> {
    shared: &'a Arc<Shared>,
    raft: &'a Raft,
}

impl<'a> Pause<'a> {
    fn begin(shared: &'a Arc<Shared>, raft: &'a Raft) -> Self {
        shared.set_handing_over(true);
        Self { shared, raft }
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.raft.runtime_config().heartbeat(true);
        self.shared.set_handing_over(false);
    }
}

impl Members<'_> {
    /// Returns when another leads: the one that is wanted, or the voter that holds most of the log.
    pub(crate) async fn hand_over(&self, to: Option<u64>) -> Result<(), NodeError> {
        let metrics = self.raft.metrics().borrow().clone();
        if to == Some(metrics.id) {
            return Ok(());
        }
        let (heir, address) = heir(&metrics, to)?;
        let _pause = Pause::begin(self.shared, self.raft);
        // An entry of no commands, behind whatever Raft was given before the pause.
        let written = self.raft.client_write(Batch { at: now(), commands: Vec::new() });
        let written = tokio::time::timeout(self.within, written).await;
        let last = written.map_err(|_| ProposeError::NoQuorum)?.map_err(raft_failed)?.log_id;
        let holds_all = |metrics: &Metrics| {
            let held = metrics.replication.as_ref().and_then(|all| all.get(&heir));
            held.is_some_and(|held| *held >= Some(last))
        };
        let wait = self.raft.wait(Some(self.within));
        let held = wait.metrics(holds_all, "the heir holds all").await;
        held.map_err(|_| NodeError::Learning(heir))?;
        if metrics.membership_config.membership().voter_ids().count() > VOTERS_OF_TWO {
            self.raft.runtime_config().heartbeat(false);
            tokio::time::sleep(self.lease()).await;
        }
        let asked = self.peers.ask((heir, &address), Request::Members(MemberAct::Lead), &[]);
        match tokio::time::timeout(self.within, asked).await {
            Ok(Ok(Response::Done)) => {}
            Ok(_) | Err(_) => return Err(NodeError::NotElected(heir)),
        }
        let follows = |metrics: &Metrics| metrics.current_leader == Some(heir);
        let heard = self.raft.wait(Some(self.within)).metrics(follows, "the heir is heard").await;
        heard.map(drop).map_err(|_| NodeError::NotElected(heir))
    }

    /// Stands for election, as the leader wishes.
    pub(crate) async fn lead(&self) -> Result<(), NodeError> {
        let id = self.raft.metrics().borrow().id;
        for _ in 0..ELECTIONS_MAX {
            self.raft.trigger().elect().await.map_err(raft_failed)?;
            let wait = self.raft.wait(Some(self.lease().saturating_add(ELECTION)));
            let leads = |metrics: &Metrics| metrics.current_leader == Some(id);
            if wait.metrics(leads, "it leads").await.is_ok() {
                return Ok(());
            }
        }
        Err(NodeError::NotElected(id))
    }

    /// For how long a voter that heard a leader votes for nobody else.
    fn lease(&self) -> Duration {
        Duration::from_millis(self.raft.config().election_timeout_max)
    }
}

fn heir(metrics: &Metrics, to: Option<u64>) -> Result<(u64, String), NodeError> {
    let RaftMetrics { id, membership_config, replication, .. } = metrics;
    let members = membership_config.membership();
    let held = |voter: &u64| replication.as_ref().and_then(|all| all.get(voter).copied());
    let mut others = members.voter_ids().filter(|voter| voter != id);
    let heir = match to {
        Some(to) => others.find(|voter| *voter == to).ok_or(NodeError::UnknownVoter(to))?,
        None => others.max_by_key(held).ok_or(NodeError::NoHeir)?,
    };
    let node = members.get_node(&heir).ok_or(NodeError::UnknownVoter(heir))?;
    Ok((heir, node.addr.clone()))
}

impl Node {
    /// Has another voter lead, whichever voter is asked; returns when it does.
    pub async fn hand_over(&self, to: Option<u64>) -> Result<(), NodeError> {
        if let Some(id) = to {
            self.known(id)?;
        }
        self.by_leader(MemberAct::HandOver(to)).await
    }

    /// Before it stops: a leader with other voters hands over, so that the region waits for no election.
    pub async fn step_down(&self) -> Result<(), NodeError> {
        let status = self.status();
        if status.leader != Some(status.node) || status.voters == [status.node] {
            return Ok(());
        }
        let within = self.running().within;
        let handed = tokio::time::timeout(within, self.hand_over(None)).await;
        handed.map_err(|_| NodeError::Propose(ProposeError::Unknown))?
    }
}

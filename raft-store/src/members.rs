//! Who belongs to the cluster: admitted, learning, voting, gone.
//!
//! Not here: what the ledger says of voters (`ledger`). Invariant: a node is a member only under an id that the ledger gave
//! out and has not taken back; one change is made at a time.

use std::collections::BTreeSet;

use aegis_ledger::{Action, Outcome, VoterAct};
use aegis_registry::Actor;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};

use crate::node::{Node, NodeError, raft_failed};
use crate::propose::Wish;

type Metrics = openraft::RaftMetrics<u64, BasicNode>;

impl Node {
    /// Gives out the id of a node that will be reached at `address`. Its certificate is made for this id.
    pub async fn admit(&self, address: &str) -> Result<u64, NodeError> {
        match self.command(VoterAct::Admit { address: address.into() }).await? {
            Outcome::Voter(id) => Ok(id),
            Outcome::Registry(_) | Outcome::Version(_) | Outcome::Epoch(_) | Outcome::Done => {
                Err(NodeError::Raft("the ledger answered another question".into()))
            }
        }
    }

    /// Has an admitted node learn what the others know; returns when it is up to date. Only the leader can.
    pub async fn teach(&self, id: u64) -> Result<(), NodeError> {
        let address = self.ledger().voters().get(id).map(|voter| voter.address.to_string());
        let node = BasicNode::new(address.ok_or(NodeError::UnknownVoter(id))?);
        let running = self.running();
        let added = running.raft.add_learner(id, node, false).await.map_err(refused)?;
        // Raft's own wait is over as soon as it lags by less than a threshold, even if nothing has reached it.
        let has_learnt = |metrics: &Metrics| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&id));
            matched.is_some_and(|matched| *matched >= Some(added.log_id))
        };
        let learnt = running.raft.wait(Some(running.within)).metrics(has_learnt, "learnt").await;
        learnt.map(drop).map_err(raft_failed)
    }

    /// Lets a node that has learnt vote. Only the leader can.
    pub async fn promote(&self, id: u64) -> Result<(), NodeError> {
        if self.ledger().voters().get(id).is_none() {
            return Err(NodeError::UnknownVoter(id));
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
    }

    /// Takes a node out, for good: its id is never given out again. Only the leader can.
    pub async fn remove(&self, id: u64) -> Result<(), NodeError> {
        let status = self.status();
        if status.voters.contains(&id) {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id]))).await?;
        } else if status.learners.contains(&id) {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id]))).await?;
        }
        self.command(VoterAct::Dismiss { id }).await.map(drop)
    }

    /// Ends a change of voters that a leader began and did not live to finish. Only the leader can.
    pub async fn finish_change(&self) -> Result<(), NodeError> {
        let metrics = self.running().raft.metrics().borrow().clone();
        let configs = metrics.membership_config.membership().get_joint_config().clone();
        match configs.as_slice() {
            [_, .., wanted] => self.change(ChangeMembers::ReplaceAllVoters(wanted.clone())).await,
            [] | [_] => Ok(()),
        }
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>) -> Result<(), NodeError> {
        let running = self.running();
        let changed = running.raft.change_membership(change, false);
        let changed = tokio::time::timeout(running.within, changed).await;
        let changed = changed.map_err(|_| NodeError::Raft("no quorum answers".into()))?;
        changed.map(drop).map_err(refused)
    }

    /// A command of this node's own.
    pub(crate) async fn command(&self, act: VoterAct) -> Result<Outcome, NodeError> {
        let by = format!("voter {}", self.identity().node);
        let by = Actor::parse(&by).map_err(raft_failed)?;
        let wish = Wish { by, action: Action::Voter(act), once: None };
        Ok(self.propose(wish).await??)
    }
}

fn refused(error: RaftError<u64, ClientWriteError<u64, BasicNode>>) -> NodeError {
    match error.forward_to_leader() {
        Some(forward) => NodeError::NotLeader { leader: forward.leader_id },
        None => raft_failed(error),
    }
}

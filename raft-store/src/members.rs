//! Who belongs to the cluster: admitted, learning, voting, gone.
//!
//! Not here: what the ledger says of voters (`ledger`). Invariant: a node is a member only under an id that the ledger gave
//! out and has not taken back; one change is made at a time, by the leader, whoever is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aegis_ledger::{Action, Outcome, VoterAct};
use aegis_registry::Actor;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};
use serde::{Deserialize, Serialize};

use crate::node::{Node, NodeError, Running, raft_failed};
use crate::propose::{ProposeError, Wish};
use crate::state::Shared;
use crate::types::{Metrics, Raft};
use crate::wire::message::{Request, Response};
use crate::wire::peers::Peers;

/// How long a node may take to learn what the others know. Whoever asks again goes on where it stopped.
const LEARNING: Duration = Duration::from_secs(20);

/// What only the leader can do about members.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum MemberAct {
    Teach(u64),
    Promote(u64),
    TakeOut(u64),
    Finish,
    /// The leader is to have another lead: this one, or whoever it likes best.
    HandOver(Option<u64>),
    /// The leader wants this very voter to lead.
    Lead,
}

/// Where the leader does it.
pub(crate) struct Members<'a> {
    pub(crate) raft: &'a Raft,
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) peers: &'a Peers,
    pub(crate) within: Duration,
}

impl Members<'_> {
    pub(crate) async fn act(&self, act: MemberAct) -> Result<(), NodeError> {
        match act {
            MemberAct::Teach(id) => self.teach(id).await,
            MemberAct::Promote(id) => {
                self.address(id)?;
                self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
            }
            MemberAct::TakeOut(id) => self.take_out(id).await,
            MemberAct::Finish => self.finish().await,
            MemberAct::HandOver(to) => self.hand_over(to).await,
            MemberAct::Lead => self.lead().await,
        }
    }

    fn address(&self, id: u64) -> Result<String, NodeError> {
        let address = self.shared.ledger().voters().get(id).map(|voter| voter.address.to_string());
        address.ok_or(NodeError::UnknownVoter(id))
    }

    async fn teach(&self, id: u64) -> Result<(), NodeError> {
        let node = BasicNode::new(self.address(id)?);
        let added = self.raft.add_learner(id, node, false).await.map_err(refused)?;
        // Raft's own wait is over as soon as it lags by less than a threshold, even if nothing has reached it.
        let has_learnt = |metrics: &Metrics| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&id));
            matched.is_some_and(|matched| *matched >= Some(added.log_id))
        };
        let learnt = self.raft.wait(Some(LEARNING)).metrics(has_learnt, "learnt").await;
        learnt.map(drop).map_err(|_| NodeError::Learning(id))
    }

    async fn take_out(&self, id: u64) -> Result<(), NodeError> {
        let metrics = self.raft.metrics().borrow().clone();
        let members = metrics.membership_config.membership();
        if members.voter_ids().any(|voter| voter == id) {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id]))).await
        } else if members.get_node(&id).is_some() {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id]))).await
        } else {
            Ok(())
        }
    }

    async fn finish(&self) -> Result<(), NodeError> {
        let metrics = self.raft.metrics().borrow().clone();
        let configs = metrics.membership_config.membership().get_joint_config().clone();
        match configs.as_slice() {
            [_, .., wanted] => self.change(ChangeMembers::ReplaceAllVoters(wanted.clone())).await,
            [] | [_] => Ok(()),
        }
    }

    pub(crate) async fn change(
        &self,
        change: ChangeMembers<u64, BasicNode>,
    ) -> Result<(), NodeError> {
        let changed = self.raft.change_membership(change, false);
        let changed = tokio::time::timeout(self.within, changed).await;
        let changed = changed.map_err(|_| NodeError::Propose(ProposeError::Unknown))?;
        changed.map(drop).map_err(refused)
    }
}

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

    /// Has an admitted node learn what the others know; returns when it is up to date.
    pub async fn teach(&self, id: u64) -> Result<(), NodeError> {
        self.known(id)?;
        self.by_leader(MemberAct::Teach(id)).await
    }

    /// Lets a node that has learnt vote.
    pub async fn promote(&self, id: u64) -> Result<(), NodeError> {
        self.known(id)?;
        self.by_leader(MemberAct::Promote(id)).await
    }

    /// Takes a node out, for good: its id is never given out again.
    pub async fn remove(&self, id: u64) -> Result<(), NodeError> {
        self.known(id)?;
        if id == self.identity().node {
            return Err(NodeError::Itself);
        }
        self.by_leader(MemberAct::TakeOut(id)).await?;
        self.command(VoterAct::Dismiss { id }).await.map(drop)
    }

    /// Ends a change of voters that a leader began and did not live to finish.
    pub async fn finish_change(&self) -> Result<(), NodeError> {
        self.by_leader(MemberAct::Finish).await
    }

    /// From here on commands of this version's level may be proposed; refused while a voter cannot read them.
    pub async fn raise(&self) -> Result<(), NodeError> {
        self.command(VoterAct::Raise { level: aegis_ledger::FEATURE_LEVEL }).await.map(drop)
    }

    pub(crate) fn known(&self, id: u64) -> Result<(), NodeError> {
        let is_known = self.ledger().voters().get(id).is_some();
        if is_known { Ok(()) } else { Err(NodeError::UnknownVoter(id)) }
    }

    pub(crate) async fn by_leader(&self, act: MemberAct) -> Result<(), NodeError> {
        let running = self.running();
        let metrics = running.raft.metrics().borrow().clone();
        let leader = metrics.current_leader.ok_or(ProposeError::NoQuorum)?;
        if leader == metrics.id {
            let Running { raft, shared, peers, within, .. } = running;
            let members = Members { raft, shared, peers, within: *within };
            // Each step has its time, but for those that wait until most voters have written something.
            let done =
                tokio::time::timeout(LEARNING.saturating_add(*within), members.act(act)).await;
            return done.map_err(|_| NodeError::Propose(ProposeError::Unknown))?;
        }
        let members = metrics.membership_config.membership();
        let node = members.get_node(&leader).ok_or(ProposeError::NoQuorum)?;
        let asked = running.peers.ask((leader, &node.addr), Request::Members(act), &[]);
        match tokio::time::timeout(LEARNING.saturating_add(running.within), asked).await {
            Ok(Ok(Response::Done)) => Ok(()),
            Ok(Ok(_)) => Err(NodeError::Raft("the leader answered another question".into())),
            Ok(Err(error)) => Err(NodeError::Raft(error.to_string())),
            Err(_) => Err(NodeError::Propose(ProposeError::Unknown)),
        }
    }

    /// Says where a node that is alone is reached, before there are others who look for it there.
    pub(crate) async fn settle_at(&self, address: &str) -> Result<(), NodeError> {
        let id = self.identity().node;
        let metrics = self.running().raft.metrics().borrow().clone();
        let own = metrics.membership_config.membership().get_node(&id).map(|own| own.addr.clone());
        if own.as_deref() != Some(address) {
            let Running { raft, shared, peers, within, .. } = self.running();
            let node = BTreeMap::from([(id, BasicNode::new(address))]);
            let members = Members { raft, shared, peers, within: *within };
            members.change(ChangeMembers::SetNodes(node)).await?;
        }
        let told = self.ledger().voters().get(id).map(|voter| voter.address.clone());
        if told.is_some_and(|told| *told != *address) {
            self.command(VoterAct::Move { id, address: address.into() }).await?;
        }
        Ok(())
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

//! What may be asked of the ledger, and what comes of it.
//!
//! Not here: whether it may happen (each part says so), and who numbers commands (`raft-store`). Invariant: a command that
//! this version cannot read is never skipped; whoever reads it stops.

use aegis_domain::Timestamp;
use aegis_registry::{Actor, Event, Origin};
use serde::{Deserialize, Serialize};

use crate::ledger::OVERTAKES;
use crate::wire::instant;
use crate::{
    ApprovalAct, ApprovalRefusal, ReleaseAct, ReleaseRefusal, SessionAct, SessionRefusal,
    StreamAct, StreamRefusal, TenantAct, TenantRefusal, VoterAct, VoterRefusal,
};

/// Commands that one entry of the log holds: what was asked for while the entry before was being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// By the leader's clock.
    #[serde(with = "instant")]
    pub at: Timestamp,
    pub commands: Vec<Command>,
}

/// A wish, numbered by whoever has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    pub origin: Origin,
    /// On whose behalf.
    pub by: Actor,
    pub action: Action,
}

/// What can be done, by the part that does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Registry(Box<aegis_registry::Action>),
    Release(ReleaseAct),
    Approval(ApprovalAct),
    Session(SessionAct),
    Tenant(TenantAct),
    Stream(StreamAct),
    Voter(VoterAct),
}

impl Action {
    /// The feature level from which on voters can read it; none is sent to voters of a lower one.
    pub fn level(&self) -> u32 {
        match self {
            Action::Registry(act) if matches!(**act, aegis_registry::Action::Define { .. }) => 3,
            Action::Release(ReleaseAct::Overtake { .. }) => OVERTAKES,
            Action::Registry(_)
            | Action::Release(_)
            | Action::Approval(_)
            | Action::Session(_)
            | Action::Tenant(_)
            | Action::Stream(_)
            | Action::Voter(_) => 1,
        }
    }

    /// Whether it takes something away from somebody, which must be possible also where nothing more fits.
    pub fn takes_back(&self) -> bool {
        match self {
            Action::Registry(act) => act.takes_back(),
            Action::Voter(_) | Action::Session(SessionAct::End { .. }) => true,
            Action::Release(_)
            | Action::Approval(_)
            | Action::Session(SessionAct::Open { .. })
            | Action::Tenant(_)
            | Action::Stream(_) => false,
        }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Registry(Box<Event>),
    /// The number a release got.
    Version(u32),
    /// The epoch a pointer is at now.
    Epoch(u64),
    /// The id a voter got.
    Voter(u64),
    Done,
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error(transparent)]
    Registry(#[from] aegis_registry::Refusal),
    #[error(transparent)]
    Release(#[from] ReleaseRefusal),
    #[error(transparent)]
    Approval(#[from] ApprovalRefusal),
    #[error(transparent)]
    Session(#[from] SessionRefusal),
    #[error(transparent)]
    Tenant(#[from] TenantRefusal),
    #[error(transparent)]
    Stream(#[from] StreamRefusal),
    #[error(transparent)]
    Voter(#[from] VoterRefusal),
    #[error("a later command of this client was applied")]
    Stale,
    #[error("another command of this client had this number")]
    SerialReused,
    #[error("the ledger remembers all the clients it can")]
    ClientsFull,
}

/// What came of a command.
pub type Answer = Result<Outcome, Refusal>;

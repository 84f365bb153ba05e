//! What a test and the voter it started say to each other, a line of JSON each.
//!
//! Not here: what voters say among themselves (`raft-store`). Invariant: a line that was not answered says nothing of what came
//! of it; `NotSent` says that nothing did.

use aegis_ledger::{Action, Answer, Ledger};
use serde::{Deserialize, Serialize};

/// What a voter is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    Found {
        address: String,
    },
    Admit {
        address: String,
    },
    Teach {
        id: u64,
    },
    Promote {
        id: u64,
    },
    Remove {
        id: u64,
    },
    FinishChange,
    Propose {
        by: String,
        action: Action,
    },
    /// The ledger, after catching up with what was acknowledged before; the first number is the last entry it has applied.
    Read,
    /// A pointer after catching up: its epoch and the active version.
    Pointer(aegis_ledger::LineKey),
    /// How an override stands after catching up.
    Override(aegis_ledger::ApprovalKey),
    Status,
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Done,
    Admitted(u64),
    Answer(Answer),
    NotSent,
    /// Nobody knows what came of it.
    Unknown,
    Ledger(Box<Ledger>),
    Pointer {
        epoch: u64,
        active: u32,
    },
    Override(Option<aegis_ledger::ApprovalState>),
    Status(Standing),
    Failed(String),
}

/// How a voter sees the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub node: u64,
    pub leader: Option<u64>,
    pub applied: Option<u64>,
    pub voters: Vec<u64>,
    pub is_joint: bool,
    /// Whether it leads and a quorum answered it within its lease.
    pub leads: bool,
}

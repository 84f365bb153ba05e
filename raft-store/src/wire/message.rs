//! What voters say to each other.
//!
//! Not here: how it travels (`frame`). Invariant: a message says who speaks to whom in which cluster, and an answer is to
//! the question before it.

use aegis_ledger::{Checkpoint, Command};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::members::MemberAct;
use crate::types::{SnapshotMeta, Types, Vote};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) cluster: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The sender's state after an entry, to compare.
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) request: Request,
}

/// SHA-256 over a snapshot.
pub(crate) type Digest = [u8; 32];

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<u64>),
    /// How much of this snapshot is there already?
    Offer {
        digest: Digest,
        bytes: u64,
    },
    /// The bytes that go with it come after `from` bytes that are there.
    Piece {
        digest: Digest,
        from: u64,
    },
    /// All of it is there.
    Install {
        vote: Vote,
        meta: Box<SnapshotMeta>,
        digest: Digest,
    },
    /// A follower's clients want this.
    Propose(Vec<Command>),
    /// A follower's administrator wants this.
    Members(MemberAct),
    /// Up to which entry has what was acknowledged before now been committed?
    ReadIndex,
    /// Whoever runs a voter asks whoever runs another.
    Ask(String),
    /// What time is it? Asked of no voter of a version that did not know the question.
    Clock,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    /// That many bytes of the snapshot are there.
    Held(u64),
    Installed(SnapshotResponse<u64>),
    Proposed,
    Done,
    ReadIndex(Option<u64>),
    Said(String),
    /// By the voter's own clock, in nanoseconds since 1970.
    Clock(u64),
    /// It could not be done; the text is for a log.
    Failed(String),
    /// Whoever asks was taken out, and ids are never given out twice.
    Dismissed,
}

/// Why nothing is taken from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("it is of another cluster")]
    Cluster,
    #[error("its certificate names another voter")]
    Certificate,
    #[error("it is meant for another voter")]
    Meant,
    #[error("it was dismissed")]
    Dismissed,
    #[error("the states differ")]
    State,
}

impl From<Wrong> for Response {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Dismissed => Response::Dismissed,
            Wrong::Cluster | Wrong::Certificate | Wrong::Meant | Wrong::State => {
                Response::Failed(wrong.to_string())
            }
        }
    }
}

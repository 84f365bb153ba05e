//! Where commands become events: the seam between the API and whatever agrees on the registry.
//!
//! Not here: the rules (`agents/registry`). Invariant: an event that was given out is kept, and whoever watches sees every
//! event once it is.

use std::fmt;
use std::ops::Deref;

use aegis_raft_store::ProposeError;
use aegis_registry::{Action, Actor, ClientId, Event, Fingerprint, Refusal, Registry};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::chronicle::ChronicleError;

/// Why a command did not become an event.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the writer of the registry is gone")]
    Gone,
    #[error("no leader is in touch with a quorum; nothing was changed")]
    NoQuorum,
    #[error(
        "it is not known whether the change was made; the same request under the same key tells"
    )]
    Unknown,
    #[error("the command is longer than the ledger takes")]
    TooLarge,
    #[error(
        "the ledger's disk space is used up: only what takes something back is taken; see `aegisctl cluster status`"
    )]
    Full,
    #[error(
        "not all voters are up to date, so nothing was changed: run `aegisctl cluster raise` once they are"
    )]
    Level,
    #[error(
        "more clients than the ledger can remember have sent commands; nothing was changed: send it again in some minutes"
    )]
    Crowded,
    #[error("nothing was changed")]
    NoRecord(#[source] ChronicleError),
    #[error(
        "the change was made, and it is not known whether it will be on record: the audit log's disk does not answer; the same request under the same Idempotency-Key tells"
    )]
    RecordUnknown,
    #[error("the change was made, but it is not on record")]
    Unrecorded(#[source] ChronicleError),
}

impl From<ProposeError> for LedgerError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Unknown => LedgerError::Unknown,
            ProposeError::NoQuorum | ProposeError::Busy => LedgerError::NoQuorum,
            ProposeError::TooLarge => LedgerError::TooLarge,
            ProposeError::Full => LedgerError::Full,
            ProposeError::Level => LedgerError::Level,
            ProposeError::Stopped => LedgerError::Gone,
        }
    }
}

impl From<aegis_ledger::Refusal> for LedgerError {
    /// Of a part of the ledger that was not asked, nothing is expected.
    fn from(refusal: aegis_ledger::Refusal) -> Self {
        use aegis_ledger::Refusal as Part;
        match refusal {
            Part::Registry(refusal) => LedgerError::Refused(refusal),
            Part::Stale => LedgerError::Refused(Refusal::Stale),
            Part::SerialReused => LedgerError::Refused(Refusal::SerialReused),
            Part::ClientsFull => LedgerError::Crowded,
            Part::Release(_)
            | Part::Approval(_)
            | Part::Session(_)
            | Part::Tenant(_)
            | Part::Stream(_)
            | Part::Voter(_) => LedgerError::Gone,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub by: Actor,
    pub action: Action,
    /// Who numbers it, where that is not this process: an `Idempotency-Key`, and what was asked under it.
    pub once: Option<(ClientId, Fingerprint)>,
}

/// The registry while it is held.
pub type Reading<'a> = Box<dyn Deref<Target = Registry> + 'a>;

/// The registry as the API uses it, wherever it is agreed on.
#[async_trait]
pub trait Ledger: Send + Sync + fmt::Debug {
    /// Has a command applied, once; returns when it is kept.
    async fn propose(&self, proposal: Proposal) -> Result<Event, LedgerError>;

    /// The registry as it is. Changes wait while this is held, so it is never held across an await.
    fn read(&self) -> Reading<'_>;

    /// The serial of the last event, as it changes.
    fn watch(&self) -> watch::Receiver<u64>;

    /// The events after a serial, at most `max`; `None` where they are no longer at hand.
    fn events_after(&self, serial: u64, max: usize) -> Option<Vec<Event>>;
}

//! Where commands become events: the seam between the API and whatever agrees on the registry.
//!
//! Not here: the rules (`agents/registry`). Invariant: an event that was given out is kept, and whoever watches sees every
//! event once it is.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aegis_registry::{
    Action, Actor, ClientId, Command, Event, Fingerprint, Origin, Refusal, Registry,
};
use aegis_registry_store::{Shared, Store, StoreError};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock;

/// How many events a follower may be behind before it is sent the whole view.
const EVENTS_KEPT: usize = 4_096;

/// Why a command did not become an event.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the registry cannot be written")]
    Store(#[source] StoreError),
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

/// A ledger of one voter: this process.
#[derive(Debug)]
pub struct Local {
    registry: Shared,
    writer: Arc<Mutex<Writer>>,
    recent: Arc<Mutex<VecDeque<Event>>>,
    serial: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
struct Writer {
    store: Store,
    client: ClientId,
    sent: u64,
}

impl Local {
    /// Opens the registry of a directory. Blocks on the disk.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let store = Store::open(directory)?;
        let registry = store.registry();
        let serial = registry.read().view().serial();
        // A process numbers its own commands, so two of them must not have one name.
        let mark = format!("{}-{}", std::process::id(), clock::now().unix_ns());
        let writer = Writer { store, client: ClientId::of(mark.as_bytes()), sent: 0 };
        Ok(Self {
            registry,
            writer: Arc::new(Mutex::new(writer)),
            recent: Arc::default(),
            serial: Arc::new(watch::Sender::new(serial)),
        })
    }
}

#[async_trait]
impl Ledger for Local {
    async fn propose(&self, proposal: Proposal) -> Result<Event, LedgerError> {
        let (writer, recent) = (Arc::clone(&self.writer), Arc::clone(&self.recent));
        let serial = Arc::clone(&self.serial);
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let event = writer.apply(proposal)?;
            remember(&recent, &event);
            serial.send_if_modified(|serial| {
                let later = event.serial > *serial;
                *serial = event.serial.max(*serial);
                later
            });
            Ok(event)
        });
        written.await.map_err(|_| LedgerError::Gone)?
    }

    fn read(&self) -> Reading<'_> {
        Box::new(self.registry.read())
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.serial.subscribe()
    }

    fn events_after(&self, serial: u64, max: usize) -> Option<Vec<Event>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let next = serial.saturating_add(1);
        let Some(first) = recent.front() else {
            return (serial == *self.serial.borrow()).then(Vec::new);
        };
        if next < first.serial {
            return None;
        }
        Some(recent.iter().filter(|event| event.serial >= next).take(max).cloned().collect())
    }
}

impl Writer {
    fn apply(&mut self, proposal: Proposal) -> Result<Event, LedgerError> {
        let origin = match proposal.once {
            Some((client, request)) => Origin { client, serial: 1, request },
            None => {
                self.sent = self.sent.saturating_add(1);
                let request = Fingerprint::of(&self.sent.to_be_bytes());
                Origin { client: self.client.clone(), serial: self.sent, request }
            }
        };
        let command = Command { origin, by: proposal.by, action: proposal.action };
        self.store.apply(&command, clock::now()).map_err(|error| match error {
            StoreError::Refused(refusal) => LedgerError::Refused(refusal),
            other => LedgerError::Store(other),
        })
    }
}

/// A command that was sent again brings an event that is known.
fn remember(recent: &Mutex<VecDeque<Event>>, event: &Event) {
    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
    if recent.back().is_some_and(|last| event.serial <= last.serial) {
        return;
    }
    if recent.len() >= EVENTS_KEPT {
        recent.pop_front();
    }
    recent.push_back(event.clone());
}

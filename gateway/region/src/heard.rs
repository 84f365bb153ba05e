//! A ledger whose events are heard in this process at once.
//!
//! Not here: agreeing on events (`raft-store`). Invariant: a command is answered only when the roster has what it
//! changed, and what other voters' commands change is in it as soon as this one has applied them.

use std::sync::Arc;

use aegis_control::{Ledger, LedgerError, Proposal, Reading};
use aegis_corridor::clock;
use aegis_corridor::roster::Roster;
use aegis_registry::Event;
use async_trait::async_trait;
use tokio::sync::watch;

/// As many events as a ledger has at hand.
const EVENTS_MAX: usize = 4_096;

/// Tells the roster what a ledger did.
#[derive(Debug)]
pub(crate) struct Heard {
    ledger: Arc<dyn Ledger>,
    roster: Arc<Roster>,
}

impl Heard {
    pub(crate) fn new(ledger: Arc<dyn Ledger>, roster: Arc<Roster>) -> Self {
        let heard = Self { ledger, roster };
        heard.all();
        heard
    }

    /// Hears what comes through other voters.
    pub(crate) async fn listen(self: Arc<Self>) {
        let mut serial = self.ledger.watch();
        self.news();
        while serial.changed().await.is_ok() {
            self.news();
        }
    }

    fn all(&self) {
        self.roster.replace(self.ledger.read().view().clone(), clock::now());
    }

    fn news(&self) {
        let held = self.roster.read().view.serial();
        let events = self.ledger.events_after(held, EVENTS_MAX);
        let is_known = events.is_some_and(|it| self.roster.extend(&it, clock::now()).is_ok());
        if !is_known {
            self.all();
        }
    }
}

#[async_trait]
impl Ledger for Heard {
    async fn propose(&self, proposal: Proposal) -> Result<Event, LedgerError> {
        let event = self.ledger.propose(proposal).await?;
        self.news();
        Ok(event)
    }

    fn read(&self) -> Reading<'_> {
        self.ledger.read()
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.ledger.watch()
    }

    fn events_after(&self, serial: u64, max: usize) -> Option<Vec<Event>> {
        self.ledger.events_after(serial, max)
    }
}

//! A ledger whose events are heard in this process at once.
//!
//! Not here: agreeing on events (`raft-store`). Invariant: a command is answered only when the roster has what it
//! changed, and what other voters' commands change is in it as soon as this one has applied them.

use std::sync::Arc;

use aegis_control::{HotPurse, Ledger, LedgerError, Proposal, Reading};
use aegis_corridor::clock;
use aegis_corridor::roster::Roster;
use aegis_corridor::tenants::{Tenants, Told};
use aegis_registry::Event;
use async_trait::async_trait;
use tokio::sync::watch;

/// As many events as a ledger has at hand.
const EVENTS_MAX: usize = 4_096;

/// Tells those who decide about calls what a ledger did.
#[derive(Debug)]
pub(crate) struct Heard {
    ledger: Arc<dyn Ledger>,
    hearers: Hearers,
}

/// Who is told.
#[derive(Debug)]
pub(crate) struct Hearers {
    pub(crate) roster: Arc<Roster>,
    pub(crate) tenants: Arc<Tenants>,
    /// Knows the budgets that tenants have.
    pub(crate) purse: Arc<HotPurse>,
}

impl Heard {
    pub(crate) fn new(ledger: Arc<dyn Ledger>, hearers: Hearers) -> Self {
        let heard = Self { ledger, hearers };
        heard.news();
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

    fn news(&self) {
        let Hearers { roster, tenants, purse } = &self.hearers;
        let held = roster.read().view.serial();
        let events = self.ledger.events_after(held, EVENTS_MAX);
        let is_known = events.is_some_and(|it| roster.extend(&it, clock::now()).is_ok());
        if !is_known {
            roster.replace(self.ledger.read().view().clone(), clock::now());
        }
        let events = self.ledger.events_after(tenants.serial(), EVENTS_MAX);
        let told = events.and_then(|it| tenants.extend(&it).ok());
        if told.unwrap_or_else(|| tenants.replace(&self.ledger.read().defined())) == Told::News {
            purse.configure(tenants.budgets());
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

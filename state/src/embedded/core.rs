//! What one process does under its one lock: look, write down, then change.
//!
//! Not here: the lock, syncing, and waiting for either (`embedded`, `keeper`). Invariant: nothing changes in
//! memory unless its record was appended first, so an error leaves the state as it was.

use aegis_domain::{Grant, HotAnswer, HotRefusal, MicroUsd, Timestamp};

use super::Limits;
use super::journal::Journal;
use super::ledger::{Ledger, Standing};
use super::rates::{Arrivals, Pace};
use super::record::Record;
use super::tokens::{FirstUse, Token};
use crate::{Ask, Hold, LATE_SETTLE, Settled, StateError};

/// Closed calls forgotten with each new one: more than one, so that forgetting keeps up.
const FORGOTTEN_PER_CALL: usize = 2;

pub(super) struct Core {
    pub(super) ledger: Ledger,
    pub(super) journal: Journal,
    /// The journal has bytes that no sync has begun to cover.
    pub(super) dirty: bool,
    pub(super) closing: bool,
    pace: Pace,
    limits: Limits,
}

/// What a grant would change.
struct Offer {
    grant: Grant,
    arrivals: Arrivals,
    first_use: Option<FirstUse>,
}

impl Core {
    pub(super) fn new(ledger: Ledger, journal: Journal, limits: Limits) -> Self {
        let pace = Pace::new(limits.agents_max);
        Self { ledger, journal, dirty: false, closing: false, pace, limits }
    }

    pub(super) fn decide(&mut self, ask: &Ask) -> Result<HotAnswer, StateError> {
        if let Some(grant) = self.ledger.granted(&ask.id) {
            return Ok(HotAnswer::Granted(grant));
        }
        self.ledger.forget(ask.now, FORGOTTEN_PER_CALL);
        let offer = match self.judge(ask) {
            Ok(offer) => offer,
            Err(refusal) => return Ok(HotAnswer::Refused(refusal)),
        };
        self.make_room(ask.now)?;
        let hold = ask.hold();
        let grant = offer.grant;
        let lasting = Ledger::must_last(&hold, offer.first_use.as_ref());
        let record = Record::Grant { hold, grant, first_use: offer.first_use };
        if lasting {
            self.append([&record])?;
        }
        self.ledger.apply(record);
        self.pace.take(ask, offer.arrivals);
        Ok(HotAnswer::Granted(grant))
    }

    fn judge(&self, ask: &Ask) -> Result<Offer, HotRefusal> {
        let first_use = match self.ledger.tokens.check(ask) {
            Token::New(first_use) => Some(first_use),
            Token::Known => None,
            Token::Replayed => return Err(HotRefusal::Replayed),
        };
        let arrivals = self.pace.check(ask)?;
        let grant = self.ledger.check_budgets(ask)?;
        Ok(Offer { grant, arrivals, first_use })
    }

    /// Fails closed: what cannot be remembered is not granted.
    fn make_room(&mut self, now: Timestamp) -> Result<(), StateError> {
        while self.ledger.tokens.len() >= self.limits.tokens_max {
            if !self.ledger.tokens.forget_some(now) {
                return Err(StateError::Full);
            }
        }
        if self.ledger.calls() >= self.limits.calls_max || !self.pace.has_room(now) {
            return Err(StateError::Full);
        }
        Ok(())
    }

    pub(super) fn settle(
        &mut self,
        hold: &Hold,
        actual: MicroUsd,
        now: Timestamp,
    ) -> Result<Settled, StateError> {
        let hold = match self.ledger.standing(&hold.id) {
            Standing::Settled => return Ok(Settled::Duplicate),
            Standing::Held(known) => known.clone(),
            Standing::Unknown => self.believe(hold, now)?,
        };
        let changes_nothing = actual == MicroUsd::ZERO && hold.estimate == MicroUsd::ZERO;
        let lasting = !hold.budgets.is_empty() && !changes_nothing;
        let record = Record::Settle { hold, actual, now };
        if lasting {
            self.append([&record])?;
        }
        self.ledger.apply(record);
        Ok(Settled::Applied)
    }

    /// A hold nobody remembers was lost, unless it is so old that it may have been settled and forgotten.
    fn believe(&self, hold: &Hold, now: Timestamp) -> Result<Hold, StateError> {
        if hold.expires_at.plus(LATE_SETTLE) <= now {
            return Err(StateError::TooLate { ago_s: now.since(hold.expires_at).s_ceil() });
        }
        if self.ledger.calls() >= self.limits.calls_max {
            return Err(StateError::Full);
        }
        Ok(hold.clone())
    }

    pub(super) fn reap(&mut self, now: Timestamp, max: usize) -> Result<usize, StateError> {
        self.ledger.forget(now, max);
        let overdue: Vec<Record> = self
            .ledger
            .overdue(now)
            .take(max)
            .map(|hold| Record::Expire { id: hold.id, now })
            .collect();
        if !overdue.is_empty() {
            self.append(&overdue)?;
        }
        let charged = overdue.len();
        overdue.into_iter().for_each(|record| self.ledger.apply(record));
        Ok(charged)
    }

    /// Whether a decision could be kept; an append that failed is tried again.
    pub(super) fn health(&mut self) -> Result<(), StateError> {
        if !self.journal.is_sound() {
            self.append([&Record::Probe])?;
        }
        let Limits { tokens_max, calls_max, agents_max: _ } = self.limits;
        if self.ledger.tokens.len() >= tokens_max || self.ledger.calls() >= calls_max {
            return Err(StateError::Full);
        }
        Ok(())
    }

    fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<(), StateError> {
        self.journal.append(records)?;
        self.dirty = true;
        Ok(())
    }
}

//! What one process does under its one lock: look, write down, then change.
//!
//! Not here: the lock, syncing, and waiting for either (`embedded`, `keeper`). Invariant: nothing changes in
//! memory unless its record was appended first, so an error leaves the state as it was.

use aegis_domain::{Grant, HotAnswer, HotRefusal, MicroUsd, Timestamp};

use super::Limits;
use super::journal::Journal;
use super::ledger::{Ledger, Standing};
use super::rates::{Pace, Paced};
use super::record::Record;
use super::sums::{Room, Short};
use super::tokens::{FirstUse, Token};
use aegis_state::When;
use aegis_state::{Adjustment, Ask, Extended, Hold, LATE_SETTLE, Settled, Spend, StateError};

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
    paced: Paced,
    first_use: Option<FirstUse>,
}

/// Longer together than any change, and than what is left of the file's last block: where they have room, a decision has.
const PROBES: usize = 1_024;

impl Core {
    pub(super) fn new(ledger: Ledger, journal: Journal, limits: Limits) -> Self {
        let pace = Pace::new(limits.paced_max);
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
        self.pace.take(&ask.tenant, offer.paced);
        Ok(HotAnswer::Granted(grant))
    }

    fn judge(&self, ask: &Ask) -> Result<Offer, HotRefusal> {
        let first_use = match self.ledger.tokens.check(ask, self.ledger.forgotten()) {
            Token::New(first_use) => Some(first_use),
            Token::Known => None,
            Token::Replayed => return Err(HotRefusal::Replayed),
        };
        let (paced, rate) = self.pace.check(ask)?;
        self.ledger.flight.check(ask)?;
        let when = When { decided_at: ask.now, now: ask.now };
        let room = self.ledger.sums.room(&ask.budgets, ask.estimate, when);
        let Room { left, tightest, warned } = room.map_err(Short::refusal)?;
        let grant = Grant { held: ask.estimate, budget_left: left, tightest, warned, rate };
        Ok(Offer { grant, paced, first_use })
    }

    /// Fails closed: what cannot be remembered is not granted.
    fn make_room(&mut self, now: Timestamp) -> Result<(), StateError> {
        while self.ledger.tokens.len() >= self.limits.tokens_max {
            if !self.ledger.forget_tokens(now) {
                return Err(StateError::Full);
            }
        }
        if self.ledger.entries() >= self.limits.calls_max || !self.pace.has_room(now) {
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
            Standing::Open(known) | Standing::Expired(known) => known.clone(),
            Standing::Unknown => self.believe(hold, now)?,
        };
        let changes_nothing = actual == MicroUsd::ZERO && hold.estimate == MicroUsd::ZERO;
        let is_money = !hold.budgets.is_empty() && !changes_nothing;
        let lasting = is_money || !hold.in_flight.is_none();
        let record = Record::Settle { hold, actual, now };
        if lasting {
            self.append([&record])?;
        }
        self.ledger.apply(record);
        Ok(Settled::Applied)
    }

    /// A hold nobody remembers was lost, unless it is so old that it may have been settled and forgotten.
    fn believe(&self, hold: &Hold, now: Timestamp) -> Result<Hold, StateError> {
        let due = hold.expires_at.plus(LATE_SETTLE);
        if due <= now || self.ledger.may_have_forgotten(due) {
            return Err(StateError::TooLate { ago_s: now.since(hold.expires_at).s_ceil() });
        }
        self.check_entries()?;
        Ok(hold.clone())
    }

    fn check_entries(&self) -> Result<(), StateError> {
        if self.ledger.entries() < self.limits.calls_max { Ok(()) } else { Err(StateError::Full) }
    }

    pub(super) fn extend(
        &mut self,
        hold: &Hold,
        total: MicroUsd,
        now: Timestamp,
    ) -> Result<Extended, StateError> {
        let Standing::Open(known) = self.ledger.standing(&hold.id) else {
            return Err(StateError::NotHeld);
        };
        if known.expires_at <= now {
            return Err(StateError::NotHeld);
        }
        if total <= known.estimate {
            return Ok(Extended::Granted);
        }
        let when = When { decided_at: known.decided_at, now };
        let more = total.saturating_sub(known.estimate);
        if let Err(Short { nth, left, .. }) = self.ledger.sums.room(&known.budgets, more, when) {
            return Ok(Extended::Refused { nth, left });
        }
        let record = Record::Extend { hold: known.clone(), total, now };
        self.append([&record])?;
        self.ledger.apply(record);
        Ok(Extended::Granted)
    }

    pub(super) fn adjust(&mut self, adjustment: &Adjustment) -> Result<Spend, StateError> {
        if !self.ledger.is_adjusted(&adjustment.id) {
            self.check_entries()?;
            let record = Record::Adjust(adjustment.clone());
            self.append([&record])?;
            self.ledger.apply(record);
        }
        Ok(self.ledger.sums.spend(&adjustment.key, adjustment.now))
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
            self.append(std::iter::repeat_n(&Record::Probe, PROBES))?;
        }
        if self.ledger.tokens.len() >= self.limits.tokens_max {
            return Err(StateError::Full);
        }
        self.check_entries()
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

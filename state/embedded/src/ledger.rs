//! What is spent, held and used: the state that the journal rebuilds.
//!
//! Not here: files, locks, rates. Invariant: `apply` is the only way the ledger changes its sums, live and in
//! recovery alike, so a recovered ledger is the one that was lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aegis_domain::{DecisionId, Grant, MicroUsd, Timestamp};

use super::flight::Flight;
use super::record::{Phase, Record};
use super::sums::Sums;
use super::tokens::{FirstUse, Tokens};
use aegis_state::{Adjustment, Change, Hold, LATE_SETTLE, Period};

/// One call that was granted, until it is forgotten.
#[derive(Debug)]
struct Call {
    grant: Grant,
    expires_at: Timestamp,
    phase: Phase,
}

impl Call {
    fn due_at(&self) -> Timestamp {
        match self.phase {
            Phase::Open(_) => self.expires_at,
            Phase::Expired(_) | Phase::Settled => self.expires_at.plus(LATE_SETTLE),
        }
    }
}

/// What is known of the hold that a caller names.
pub(super) enum Standing<'a> {
    Open(&'a Hold),
    Expired(&'a Hold),
    Settled,
    Unknown,
}

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) sums: Sums,
    calls: HashMap<DecisionId, Call>,
    pub(super) flight: Flight,
    /// Open holds by expiry.
    open: BTreeSet<(Timestamp, DecisionId)>,
    /// Settled and expired calls by when they may be forgotten.
    closed: BTreeSet<(Timestamp, DecisionId)>,
    pub(super) tokens: Tokens,
    /// Adjustments that were made, by id, and how long each is told from a new one.
    adjusted: BTreeMap<DecisionId, Timestamp>,
    /// The latest time any record told.
    latest: Timestamp,
    /// Calls and tokens due until then may have been forgotten, whatever a clock that stepped back says.
    forgotten: Timestamp,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            sums: Sums::default(),
            calls: HashMap::new(),
            flight: Flight::default(),
            open: BTreeSet::new(),
            closed: BTreeSet::new(),
            tokens: Tokens::new(),
            adjusted: BTreeMap::new(),
            latest: Timestamp::from_unix_ns(0),
            forgotten: Timestamp::from_unix_ns(0),
        }
    }

    pub(super) fn granted(&self, id: &DecisionId) -> Option<Grant> {
        self.calls.get(id).map(|call| call.grant)
    }

    /// Entries that only time removes.
    pub(super) fn entries(&self) -> usize {
        self.calls.len().saturating_add(self.adjusted.len())
    }

    pub(super) fn is_adjusted(&self, id: &DecisionId) -> bool {
        self.adjusted.contains_key(id)
    }

    pub(super) fn standing(&self, id: &DecisionId) -> Standing<'_> {
        match self.calls.get(id).map(|call| &call.phase) {
            Some(Phase::Open(hold)) => Standing::Open(hold),
            Some(Phase::Expired(hold)) => Standing::Expired(hold),
            Some(Phase::Settled) => Standing::Settled,
            None => Standing::Unknown,
        }
    }

    pub(super) fn open_holds(&self) -> impl Iterator<Item = &Hold> {
        self.open.iter().filter_map(|(_, id)| match self.standing(id) {
            Standing::Open(hold) => Some(hold),
            Standing::Expired(_) | Standing::Settled | Standing::Unknown => None,
        })
    }

    /// The oldest open holds whose time is over.
    pub(super) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = &Hold> {
        self.open_holds().take_while(move |hold| hold.expires_at <= now)
    }

    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Grant { hold, grant, first_use } => {
                self.see(hold.decided_at);
                let estimate = hold.estimate;
                self.sums.change_all(&hold, |sum| sum.held = sum.held.saturating_add(estimate));
                let (id, expires_at) = (hold.id, hold.expires_at);
                self.put(id, Call { grant, expires_at, phase: Phase::Open(Box::new(hold)) });
                first_use.into_iter().for_each(|first| self.tokens.remember(first));
            }
            Record::Extend { hold, total, now } => self.extend(hold, total, now),
            Record::Settle { hold, actual, now } => self.settle(hold, actual, now),
            Record::Expire { id, now } => self.expire(&id, now),
            Record::Adjust(adjustment) => self.adjust(&adjustment),
            Record::Probe => {}
            Record::Sum { key, index, spend } => {
                self.sums.change(&key, index, |sum| *sum = spend);
            }
            Record::Call { id, grant, expires_at, phase } => {
                self.put(id, Call { grant, expires_at, phase });
            }
            Record::Token(first) => self.tokens.remember(first),
            Record::Adjusted { id, forget_at } => {
                self.adjusted.insert(id, forget_at);
            }
            Record::End { latest, forgotten, .. } => {
                self.see(latest);
                self.forgotten = self.forgotten.max(forgotten);
            }
        }
    }

    /// A hold whose grant was not kept, because it held nothing, is kept from here on.
    fn extend(&mut self, hold: Hold, total: MicroUsd, now: Timestamp) {
        self.see(now);
        let known = self.take(&hold.id);
        let (mut hold, held, grant) = match known {
            Some(Call { phase: Phase::Open(hold), grant, .. }) => {
                let held = hold.estimate;
                (hold, held, grant)
            }
            Some(closed) => return self.put(hold.id, closed),
            None => {
                let grant = unheard(&hold);
                (Box::new(hold), MicroUsd::ZERO, grant)
            }
        };
        let more = total.saturating_sub(held);
        self.sums.change_all(&hold, |sum| sum.held = sum.held.saturating_add(more));
        hold.estimate = hold.estimate.max(total);
        let (id, expires_at, held) = (hold.id, hold.expires_at, hold.estimate);
        let grant = Grant { held, ..grant };
        self.put(id, Call { grant, expires_at, phase: Phase::Open(hold) });
    }

    fn settle(&mut self, hold: Hold, actual: MicroUsd, now: Timestamp) {
        self.see(now);
        let known = self.take(&hold.id);
        let before = known.as_ref().map(|call| &call.phase);
        let estimate = hold.estimate;
        self.sums.change_all(&hold, |sum| {
            match before {
                Some(Phase::Open(_)) => sum.held = sum.held.saturating_sub(estimate),
                Some(Phase::Expired(_)) => sum.spent = sum.spent.saturating_sub(estimate),
                Some(Phase::Settled) | None => {}
            }
            sum.spent = sum.spent.saturating_add(actual);
        });
        let (grant, expires_at) = match known {
            Some(call) => (call.grant, call.expires_at),
            None => (unheard(&hold), hold.expires_at),
        };
        self.put(hold.id, Call { grant, expires_at, phase: Phase::Settled });
    }

    fn expire(&mut self, id: &DecisionId, now: Timestamp) {
        self.see(now);
        let Some(call) = self.take(id) else { return };
        let phase = match call.phase {
            Phase::Open(hold) => {
                let estimate = hold.estimate;
                self.sums.change_all(&hold, |sum| {
                    sum.held = sum.held.saturating_sub(estimate);
                    sum.spent = sum.spent.saturating_add(estimate);
                });
                Phase::Expired(hold)
            }
            closed @ (Phase::Expired(_) | Phase::Settled) => closed,
        };
        self.put(*id, Call { phase, ..call });
    }

    fn adjust(&mut self, adjustment: &Adjustment) {
        let Adjustment { id, key, change, now } = adjustment;
        self.see(*now);
        let index = Period::of(key.window, *now).index;
        match change {
            Change::Add(more) => {
                self.sums.change(key, index, |sum| sum.spent = sum.spent.saturating_add(*more));
            }
            Change::Subtract(less) => self.sums.give_back(key, *now, *less),
        }
        self.adjusted.insert(*id, Period::kept_until(key.window, index));
    }

    fn put(&mut self, id: DecisionId, call: Call) {
        self.take(&id);
        let due = (call.due_at(), id);
        match &call.phase {
            Phase::Open(hold) => {
                self.flight.begin(hold);
                self.open.insert(due);
            }
            Phase::Expired(_) | Phase::Settled => {
                self.closed.insert(due);
            }
        }
        self.calls.insert(id, call);
    }

    fn take(&mut self, id: &DecisionId) -> Option<Call> {
        let call = self.calls.remove(id)?;
        let due = (call.due_at(), *id);
        match &call.phase {
            Phase::Open(hold) => {
                self.flight.end(hold);
                self.open.remove(&due);
            }
            Phase::Expired(_) | Phase::Settled => {
                self.closed.remove(&due);
            }
        }
        Some(call)
    }

    fn see(&mut self, time: Timestamp) {
        self.latest = self.latest.max(time);
    }

    /// Whether a call whose hold ended then may have been settled and forgotten.
    pub(super) fn may_have_forgotten(&self, due: Timestamp) -> bool {
        due <= self.forgotten
    }

    pub(super) fn forgotten(&self) -> Timestamp {
        self.forgotten
    }

    /// Forgets at most `max` closed calls, one second's tokens, and once a day what is of no use any more.
    pub(super) fn forget(&mut self, now: Timestamp, max: usize) {
        for _ in 0..max {
            let Some((due, id)) = self.closed.first().copied() else { break };
            if due > now {
                break;
            }
            self.take(&id);
            self.forgotten = self.forgotten.max(due);
        }
        self.forget_tokens(now);
        if self.sums.sweep(now) {
            self.adjusted.retain(|_, forget_at| *forget_at > now);
        }
    }

    /// Forgets the tokens of one second that is over, if there is one.
    pub(super) fn forget_tokens(&mut self, now: Timestamp) -> bool {
        let over = self.tokens.forget_some(now);
        self.forgotten = self.forgotten.max(over.unwrap_or(self.forgotten));
        over.is_some()
    }

    /// Forgets all that was too old at the latest time any record told.
    pub(super) fn forget_old(&mut self) {
        self.forget(self.latest, usize::MAX);
        while self.forget_tokens(self.latest) {}
    }

    /// The ledger as the records that rebuild it.
    pub(super) fn image(&self) -> impl Iterator<Item = Record> {
        let sums = self.sums.iter().map(|(key, index, spend)| Record::Sum {
            key: key.clone(),
            index,
            spend,
        });
        let calls = self.calls.iter().map(|(id, call)| Record::Call {
            id: *id,
            grant: call.grant,
            expires_at: call.expires_at,
            phase: call.phase.clone(),
        });
        let adjusted = self.adjusted.iter();
        let adjusted =
            adjusted.map(|(id, forget_at)| Record::Adjusted { id: *id, forget_at: *forget_at });
        sums.chain(calls).chain(self.tokens.iter().map(Record::Token)).chain(adjusted)
    }

    pub(super) fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Whether a grant of this hold must outlive the process: money is held, the call is counted, or a token is used up.
    pub(super) fn must_last(hold: &Hold, first_use: Option<&FirstUse>) -> bool {
        let is_money = !hold.budgets.is_empty() && hold.estimate > MicroUsd::ZERO;
        first_use.is_some() || is_money || !hold.in_flight.is_none()
    }
}

/// What a grant nobody remembers is told as.
fn unheard(hold: &Hold) -> Grant {
    let (held, budget_left) = (hold.estimate, hold.estimate);
    Grant { held, budget_left, tightest: None, warned: 0, rate: None }
}

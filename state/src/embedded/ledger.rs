//! What is spent, held and used: the state that the journal rebuilds.
//!
//! Not here: files, locks, rates. Invariant: `apply` is the only way the ledger changes its sums, live and in
//! recovery alike, so a recovered ledger is the one that was lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aegis_domain::{
    BudgetKey, BudgetWindow, DecisionId, Grant, HotRefusal, MicroUsd, Timestamp, Ttl,
};

use super::record::{Phase, Record};
use super::tokens::{FirstUse, Tokens};
use crate::{Ask, Budget, Hold, LATE_SETTLE, Overrun, Period, Spend};

/// How long after its end a window's sums are kept, for reports.
const WINDOW_KEPT: Ttl = Ttl::from_s(7 * 86_400);

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

/// What is known of the hold that a settlement names.
pub(super) enum Standing<'a> {
    Held(&'a Hold),
    Settled,
    Unknown,
}

#[derive(Debug)]
pub(super) struct Ledger {
    /// The sums of each budget by window index.
    budgets: HashMap<BudgetKey, BTreeMap<u32, Spend>>,
    calls: HashMap<DecisionId, Call>,
    /// Open holds by expiry.
    open: BTreeSet<(Timestamp, DecisionId)>,
    /// Settled and expired calls by when they may be forgotten.
    closed: BTreeSet<(Timestamp, DecisionId)>,
    pub(super) tokens: Tokens,
    /// The latest time any record told.
    latest: Timestamp,
    /// The last day on which old windows were dropped.
    swept_day: u32,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            budgets: HashMap::new(),
            calls: HashMap::new(),
            open: BTreeSet::new(),
            closed: BTreeSet::new(),
            tokens: Tokens::new(),
            latest: Timestamp::from_unix_ns(0),
            swept_day: 0,
        }
    }

    pub(super) fn granted(&self, id: &DecisionId) -> Option<Grant> {
        self.calls.get(id).map(|call| call.grant)
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn spend(&self, key: &BudgetKey, at: Timestamp) -> Spend {
        let index = Period::of(key.window, at).index;
        self.budgets.get(key).and_then(|sums| sums.get(&index)).copied().unwrap_or_default()
    }

    /// The grant the budgets have room for, or the refusal of the one that resets last.
    pub(super) fn check_budgets(&self, ask: &Ask) -> Result<Grant, HotRefusal> {
        let mut grant = Grant {
            held: ask.estimate,
            budget_left: MicroUsd::MAX,
            tightest: None,
            warned: 0,
            rate: None,
        };
        let mut refusal: Option<(Ttl, u8, MicroUsd)> = None;
        for (nth, budget) in (0..).zip(ask.budgets.iter()) {
            let Budget { key, limit, warn_at, overrun } = budget;
            let Spend { spent, held } = self.spend(key, ask.now);
            let used = spent.saturating_add(held);
            let then = used.saturating_add(ask.estimate);
            let left = limit.saturating_sub(used);
            let is_over = then > *limit;
            if is_over && *overrun == Overrun::Refuse {
                let resets_in = Period::of(key.window, ask.now).left(ask.now);
                if refusal.is_none_or(|(longest, ..)| resets_in > longest) {
                    refusal = Some((resets_in, nth, left));
                }
            }
            if *overrun == Overrun::Refuse && *limit < MicroUsd::MAX && left < grant.budget_left {
                (grant.budget_left, grant.tightest) = (left, Some(nth));
            }
            if is_over || warn_at.is_some_and(|warn_at| then >= warn_at) {
                grant.warned |= 1 << nth;
            }
        }
        match refusal {
            Some((resets_in, nth, left)) => Err(HotRefusal::Budget { nth, left, resets_in }),
            None => Ok(grant),
        }
    }

    pub(super) fn standing(&self, id: &DecisionId) -> Standing<'_> {
        match self.calls.get(id).map(|call| &call.phase) {
            Some(Phase::Open(hold) | Phase::Expired(hold)) => Standing::Held(hold),
            Some(Phase::Settled) => Standing::Settled,
            None => Standing::Unknown,
        }
    }

    pub(super) fn open_holds(&self) -> impl Iterator<Item = &Hold> {
        self.open.iter().filter_map(|(_, id)| match self.standing(id) {
            Standing::Held(hold) => Some(hold),
            Standing::Settled | Standing::Unknown => None,
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
                self.each_sum(&hold, |sum| sum.held = sum.held.saturating_add(estimate));
                let (id, expires_at) = (hold.id, hold.expires_at);
                self.put(id, Call { grant, expires_at, phase: Phase::Open(Box::new(hold)) });
                first_use.into_iter().for_each(|first| self.tokens.remember(first));
            }
            Record::Settle { hold, actual, now } => self.settle(hold, actual, now),
            Record::Expire { id, now } => self.expire(&id, now),
            Record::Probe => {}
            Record::Sum { key, index, spend } => self.change_sum(&key, index, |sum| *sum = spend),
            Record::Call { id, grant, expires_at, phase } => {
                self.put(id, Call { grant, expires_at, phase });
            }
            Record::Token(first) => self.tokens.remember(first),
            Record::End { latest, .. } => self.see(latest),
        }
    }

    fn settle(&mut self, hold: Hold, actual: MicroUsd, now: Timestamp) {
        self.see(now);
        let known = self.take(&hold.id);
        let before = known.as_ref().map(|call| &call.phase);
        let estimate = hold.estimate;
        self.each_sum(&hold, |sum| {
            match before {
                Some(Phase::Open(_)) => sum.held = sum.held.saturating_sub(estimate),
                Some(Phase::Expired(_)) => sum.spent = sum.spent.saturating_sub(estimate),
                Some(Phase::Settled) | None => {}
            }
            sum.spent = sum.spent.saturating_add(actual);
        });
        let (grant, expires_at) = match known {
            Some(call) => (call.grant, call.expires_at),
            None => {
                let (held, budget_left) = (estimate, estimate);
                (
                    Grant { held, budget_left, tightest: None, warned: 0, rate: None },
                    hold.expires_at,
                )
            }
        };
        self.put(hold.id, Call { grant, expires_at, phase: Phase::Settled });
    }

    fn expire(&mut self, id: &DecisionId, now: Timestamp) {
        self.see(now);
        let Some(call) = self.take(id) else { return };
        let phase = match call.phase {
            Phase::Open(hold) => {
                let estimate = hold.estimate;
                self.each_sum(&hold, |sum| {
                    sum.held = sum.held.saturating_sub(estimate);
                    sum.spent = sum.spent.saturating_add(estimate);
                });
                Phase::Expired(hold)
            }
            closed @ (Phase::Expired(_) | Phase::Settled) => closed,
        };
        self.put(*id, Call { phase, ..call });
    }

    fn put(&mut self, id: DecisionId, call: Call) {
        self.take(&id);
        let due = (call.due_at(), id);
        match call.phase {
            Phase::Open(_) => self.open.insert(due),
            Phase::Expired(_) | Phase::Settled => self.closed.insert(due),
        };
        self.calls.insert(id, call);
    }

    fn take(&mut self, id: &DecisionId) -> Option<Call> {
        let call = self.calls.remove(id)?;
        let due = (call.due_at(), *id);
        match call.phase {
            Phase::Open(_) => self.open.remove(&due),
            Phase::Expired(_) | Phase::Settled => self.closed.remove(&due),
        };
        Some(call)
    }

    fn see(&mut self, time: Timestamp) {
        self.latest = self.latest.max(time);
    }

    fn change_sum(&mut self, key: &BudgetKey, index: u32, change: impl FnOnce(&mut Spend)) {
        if let Some(sums) = self.budgets.get_mut(key) {
            change(sums.entry(index).or_default());
        } else {
            let mut sum = Spend::default();
            change(&mut sum);
            self.budgets.insert(key.clone(), BTreeMap::from([(index, sum)]));
        }
    }

    fn each_sum(&mut self, hold: &Hold, change: impl Fn(&mut Spend)) {
        for budget in hold.budgets.iter() {
            let index = Period::of(budget.key.window, hold.decided_at).index;
            self.change_sum(&budget.key, index, &change);
        }
    }

    /// Forgets at most `max` closed calls, one second's tokens, and once a day the windows that are too old.
    pub(super) fn forget(&mut self, now: Timestamp, max: usize) {
        for _ in 0..max {
            let Some((due, id)) = self.closed.first().copied() else { break };
            if due > now {
                break;
            }
            self.take(&id);
        }
        self.tokens.forget_some(now);
        let day = Period::of(BudgetWindow::Day, now).index;
        if day > self.swept_day {
            self.swept_day = day;
            self.drop_old_windows(now);
        }
    }

    fn drop_old_windows(&mut self, now: Timestamp) {
        self.budgets.retain(|key, sums| {
            sums.retain(|index, spend| {
                let kept_until = Period::nth(key.window, *index).ends_at.plus(WINDOW_KEPT);
                kept_until > now || spend.held > MicroUsd::ZERO
            });
            !sums.is_empty()
        });
    }

    /// Forgets all that was too old at the latest time any record told.
    pub(super) fn forget_old(&mut self) {
        self.forget(self.latest, usize::MAX);
        while self.tokens.forget_some(self.latest) {}
    }

    /// The ledger as the records that rebuild it.
    pub(super) fn image(&self) -> impl Iterator<Item = Record> {
        let sums = self.budgets.iter().flat_map(|(key, sums)| {
            sums.iter().map(|(index, spend)| Record::Sum {
                key: key.clone(),
                index: *index,
                spend: *spend,
            })
        });
        let calls = self.calls.iter().map(|(id, call)| Record::Call {
            id: *id,
            grant: call.grant,
            expires_at: call.expires_at,
            phase: call.phase.clone(),
        });
        sums.chain(calls).chain(self.tokens.iter().map(Record::Token))
    }

    pub(super) fn latest(&self) -> Timestamp {
        self.latest
    }

    /// Whether a grant of this hold must outlive the process: money is held, or a token is used up.
    pub(super) fn must_last(hold: &Hold, first_use: Option<&FirstUse>) -> bool {
        first_use.is_some() || (!hold.budgets.is_empty() && hold.estimate > MicroUsd::ZERO)
    }
}

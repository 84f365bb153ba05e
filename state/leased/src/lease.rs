//! One lease: money of one list of budgets that the inner home holds, and how much of it calls have taken.
//!
//! Not here: which call may take from which lease (`books`), asking and telling the inner home (`lib`). Invariant: what
//! calls took and may still take is never more than the inner home holds, while costs do not pass estimates.

use aegis_domain::{DecisionId, Grant, MicroUsd, Timestamp, Ttl};
use aegis_state::{Ask, Hold, LATE_SETTLE, Period};

/// How long before the inner home stops correcting it a lease is settled, whoever has not told a cost by then.
const SPARE: Ttl = Ttl::from_s(30);

/// What may still become of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Calls may be paid out of it.
    Open,
    /// No more calls; those under way end.
    Closing,
    /// It costs this, whatever is told of its calls from now on: the inner home believes the first settlement.
    Told(MicroUsd),
    /// The inner home knows.
    Over,
}

#[derive(Debug)]
pub(crate) struct Lease {
    hold: Hold,
    grant: Grant,
    /// When it takes no more calls: its time is over, or a window of its budgets is.
    until: Timestamp,
    /// What the inner home granted.
    amount: MicroUsd,
    /// What it was asked for, as far as it did not refuse.
    asked: MicroUsd,
    /// The estimates of calls under way, and the costs of those that ended.
    taken: MicroUsd,
    /// Calls under way.
    open: usize,
    standing: Standing,
    /// All of its calls, to be forgotten with it.
    pub(crate) draws: Vec<DecisionId>,
}

impl Lease {
    pub(crate) fn new(hold: Hold, grant: Grant, ttl: Ttl) -> Self {
        let ends = hold.budgets.iter().map(|it| Period::of(it.key.window, hold.decided_at).ends_at);
        Self {
            until: ends.fold(hold.decided_at.plus(ttl), Timestamp::min),
            amount: grant.held,
            asked: grant.held,
            grant,
            hold,
            taken: MicroUsd::ZERO,
            open: 0,
            standing: Standing::Open,
            draws: Vec::new(),
        }
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    pub(crate) fn room(&self) -> MicroUsd {
        self.amount.saturating_sub(self.taken)
    }

    /// The least left of its budgets, as far as this process knows.
    pub(crate) fn left(&self) -> MicroUsd {
        match self.grant.budget_left {
            MicroUsd::MAX => MicroUsd::MAX,
            left => left.saturating_sub(self.taken),
        }
    }

    /// A call is in the very windows of the lease, and its hold ends before the lease's does.
    fn suits(&self, ask: &Ask) -> bool {
        self.standing == Standing::Open
            && (self.hold.decided_at..self.until).contains(&ask.now)
            && ask.now.plus(ask.hold_ttl) <= self.hold.expires_at
    }

    /// Takes a call's estimate, if all of it is there.
    pub(crate) fn draw(&mut self, ask: &Ask) -> Option<Grant> {
        if !self.suits(ask) || self.room() < ask.estimate {
            return None;
        }
        let grant = Grant { held: ask.estimate, budget_left: self.left(), ..self.grant };
        self.take(ask.estimate);
        self.open += 1;
        self.draws.push(ask.id);
        Some(grant)
    }

    /// Half of its room or of its time is used.
    pub(crate) fn is_half_used(&self, now: Timestamp) -> bool {
        let half = MicroUsd::new(self.amount.micro_usd() / 2);
        let (gone, whole) =
            (now.since(self.hold.decided_at), self.until.since(self.hold.decided_at));
        self.room() < half || gone.ms() >= whole.ms() / 2
    }

    /// Replaces the estimate of one call by its cost; not once the lease's own cost was told.
    pub(crate) fn end(&mut self, held: MicroUsd, cost: MicroUsd) -> Option<()> {
        match self.standing {
            Standing::Open | Standing::Closing => {}
            Standing::Told(_) | Standing::Over => return None,
        }
        self.taken = self.taken.saturating_sub(held);
        self.take(cost);
        self.open = self.open.saturating_sub(1);
        Some(())
    }

    pub(crate) fn take(&mut self, more: MicroUsd) {
        self.taken = self.taken.saturating_add(more);
    }

    /// Asks for more: what the inner home must hold in all.
    ///
    /// Totals may arrive in any order. The last asked of those that are granted counted all the others before it that
    /// were not refused, so the inner home holds at least what was granted here.
    pub(crate) fn ask_more(&mut self, more: MicroUsd) -> MicroUsd {
        self.asked = self.asked.saturating_add(more);
        self.asked
    }

    pub(crate) fn grow(&mut self, more: MicroUsd) {
        self.amount = self.amount.saturating_add(more);
    }

    pub(crate) fn refuse(&mut self, more: MicroUsd) {
        self.asked = self.asked.saturating_sub(more);
    }

    pub(crate) fn close(&mut self) {
        if self.standing == Standing::Open {
            self.standing = Standing::Closing;
        }
    }

    /// What it costs, once nothing can change that: all of its calls ended, or it is almost too late to tell. A call
    /// whose cost nobody told by then costs its estimate.
    pub(crate) fn ripe(&mut self, now: Timestamp) -> Option<MicroUsd> {
        if self.until <= now {
            self.close();
        }
        let last = self.hold.expires_at.plus(LATE_SETTLE);
        match self.standing {
            Standing::Closing if self.open == 0 || last <= now.plus(SPARE) => {
                self.standing = Standing::Told(self.taken);
                Some(self.taken)
            }
            Standing::Told(cost) => Some(cost),
            Standing::Open | Standing::Closing | Standing::Over => None,
        }
    }

    pub(crate) fn over(&mut self) {
        self.standing = Standing::Over;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.standing == Standing::Over
    }

    /// Nothing that is told of its calls from now on can count: the inner home calls all of it too late.
    pub(crate) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.is_over() && self.hold.expires_at.plus(LATE_SETTLE) <= now
    }
}

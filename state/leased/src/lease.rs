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

    /// What a call is told.
    pub(crate) fn grant(&self, held: MicroUsd, budget_left: MicroUsd) -> Grant {
        Grant { held, budget_left, ..self.grant }
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
        let grant = self.grant(ask.estimate, self.left());
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

#[cfg(test)]
mod tests {
    use aegis_domain::{AgentId, TenantId, ToolName};
    use aegis_state::{Budgets, InFlight};
    use proptest::prelude::*;

    use super::*;

    fn lease(amount: u64) -> Lease {
        let at = Timestamp::from_unix_s(1_000);
        let hold = Hold {
            id: DecisionId::new(1, [0; 10]),
            tenant: TenantId::parse("acme").unwrap(),
            agent: AgentId::parse("bot").unwrap(),
            tool: ToolName::parse("pay").unwrap(),
            in_flight: InFlight::default(),
            budgets: Budgets::none(),
            estimate: MicroUsd::new(amount),
            decided_at: at,
            expires_at: at.plus(Ttl::from_s(40)),
        };
        let (held, budget_left) = (MicroUsd::new(amount), MicroUsd::MAX);
        let grant = Grant { held, budget_left, tightest: None, warned: 0, rate: None };
        Lease::new(hold, grant, Ttl::from_s(10))
    }

    proptest! {
        /// The inner home raises what it holds to the highest total it granted; each answer may come at any time.
        #[test]
        fn what_a_lease_grew_by_is_held_whatever_the_order(
            steps in proptest::collection::vec((1u64..50, any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 1..40)
        ) {
            let (mut lease, mut held) = (lease(100), 100);
            let mut under_way: Vec<(u64, u64)> = Vec::new();
            for (more, nth, asks, is_granted) in steps {
                if asks || under_way.is_empty() {
                    under_way.push((more, lease.ask_more(MicroUsd::new(more)).micro_usd()));
                    continue;
                }
                let (more, total) = under_way.remove(nth.index(under_way.len()));
                // No more than is held already is never refused.
                if is_granted || total <= held {
                    held = held.max(total);
                    lease.grow(MicroUsd::new(more));
                } else {
                    lease.refuse(MicroUsd::new(more));
                }
                prop_assert!(lease.room().micro_usd() <= held, "{lease:?}, {held} held");
            }
        }
    }

    #[test]
    fn a_lease_that_was_told_its_cost_keeps_it() {
        let mut lease = lease(100);
        lease.take(MicroUsd::new(7));
        lease.open = 1;
        let last = lease.hold.expires_at.plus(LATE_SETTLE);
        assert_eq!(lease.ripe(lease.until), None, "a call is under way");
        assert_eq!(lease.ripe(last), Some(MicroUsd::new(7)));
        assert_eq!(lease.end(MicroUsd::new(7), MicroUsd::ZERO), None);
        assert_eq!(lease.ripe(last), Some(MicroUsd::new(7)));
    }
}

//! What each budget has spent and holds, period by period, and whether there is room for more.
//!
//! Not here: whose money it was (`ledger`). Invariant: a window's sum is added up from its periods when it is asked
//! for, so no clock has to move it along.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use aegis_domain::{BudgetKey, BudgetWindow, HotRefusal, MicroUsd, Timestamp, Ttl};

use aegis_state::When;
use aegis_state::{Budget, Budgets, Hold, Overrun, Period, Spend};

/// What budgets with room for an amount tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) left: MicroUsd,
    pub(super) tightest: Option<u8>,
    pub(super) warned: u16,
}

/// The budget without room that has some again last: it says when trying again is of use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) nth: u8,
    pub(super) left: MicroUsd,
    pub(super) resets_in: Ttl,
}

impl Short {
    pub(super) fn refusal(self) -> HotRefusal {
        let Short { nth, left, resets_in } = self;
        HotRefusal::Budget { nth, left, resets_in }
    }
}

#[derive(Debug, Default)]
pub(super) struct Sums {
    by_key: HashMap<BudgetKey, BTreeMap<u32, Spend>>,
    /// The last day on which old periods were dropped.
    swept_day: u32,
}

impl Sums {
    pub(super) fn spend(&self, key: &BudgetKey, at: Timestamp) -> Spend {
        self.sum(key, Period::all_of(key.window, at))
    }

    fn sum(&self, key: &BudgetKey, periods: RangeInclusive<u32>) -> Spend {
        let Some(all) = self.by_key.get(key) else { return Spend::default() };
        let counted = all.range(periods);
        counted.fold(Spend::default(), |sum, (_, more)| Spend {
            spent: sum.spent.saturating_add(more.spent),
            held: sum.held.saturating_add(more.held),
        })
    }

    pub(super) fn room(
        &self,
        budgets: &Budgets,
        amount: MicroUsd,
        when: When,
    ) -> Result<Room, Short> {
        let mut room = Room { left: MicroUsd::MAX, tightest: None, warned: 0 };
        let mut short: Option<Short> = None;
        for (nth, budget) in (0..).zip(budgets.iter()) {
            let Budget { key, limit, warn_at, overrun } = budget;
            let weighed = Period::weighed(key.window, when.of(key.window));
            let Spend { spent, held } = self.sum(key, weighed);
            let used = spent.saturating_add(held);
            let then = used.saturating_add(amount);
            let left = limit.saturating_sub(used);
            if *overrun == Overrun::Refuse && then > *limit {
                let resets_in = self.resets_in(key, when);
                if short.as_ref().is_none_or(|short| resets_in > short.resets_in) {
                    short = Some(Short { nth, left, resets_in });
                }
            }
            if *overrun == Overrun::Refuse && *limit < MicroUsd::MAX && left < room.left {
                (room.left, room.tightest) = (left, Some(nth));
            }
            if then > *limit || warn_at.is_some_and(|warn_at| then >= warn_at) {
                room.warned |= 1 << nth;
            }
        }
        short.map_or(Ok(room), Err)
    }

    /// How long until the oldest period that holds money leaves the window.
    fn resets_in(&self, key: &BudgetKey, when: When) -> Ttl {
        let at = when.of(key.window);
        let weighed = Period::weighed(key.window, at);
        let mut counted =
            self.by_key.get(key).into_iter().flat_map(|periods| periods.range(weighed.clone()));
        let oldest = counted.find(|(_, sum)| **sum != Spend::default());
        let oldest = oldest.map_or(Period::of(key.window, at).index, |(index, _)| *index);
        Period::last_counting(key.window, oldest).left(when.now)
    }

    pub(super) fn change(&mut self, key: &BudgetKey, index: u32, change: impl FnOnce(&mut Spend)) {
        let periods = match self.by_key.get_mut(key) {
            Some(periods) => periods,
            None => self.by_key.entry(key.clone()).or_default(),
        };
        change(periods.entry(index).or_default());
    }

    /// Changes the sum of every budget a hold counts in.
    pub(super) fn change_all(&mut self, hold: &Hold, change: impl Fn(&mut Spend)) {
        for Budget { key, .. } in hold.budgets.iter() {
            self.change(key, Period::of(key.window, hold.decided_at).index, &change);
        }
    }

    /// Takes what was spent out of the window again, the newest first, as far as there is any.
    pub(super) fn give_back(&mut self, key: &BudgetKey, at: Timestamp, mut amount: MicroUsd) {
        let Some(periods) = self.by_key.get_mut(key) else { return };
        for (_, sum) in periods.range_mut(Period::all_of(key.window, at)).rev() {
            let taken = amount.min(sum.spent);
            sum.spent = sum.spent.saturating_sub(taken);
            amount = amount.saturating_sub(taken);
        }
    }

    /// Drops, once a day, the periods that are too old; says whether it is the first time today.
    pub(super) fn sweep(&mut self, now: Timestamp) -> bool {
        let day = Period::of(BudgetWindow::Day, now).index;
        if day <= self.swept_day {
            return false;
        }
        self.swept_day = day;
        self.by_key.retain(|key, periods| {
            periods.retain(|index, sum| {
                Period::kept_until(key.window, *index) > now || sum.held > MicroUsd::ZERO
            });
            !periods.is_empty()
        });
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&BudgetKey, u32, Spend)> {
        self.by_key
            .iter()
            .flat_map(|(key, periods)| periods.iter().map(move |(index, sum)| (key, *index, *sum)))
    }
}

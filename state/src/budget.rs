//! Budgets: up to which limit, and which stretch of the calendar an instant falls into.
//!
//! Not here: whose money and over which window (`aegis_domain::BudgetKey`), and what is spent (the homes).
//! Invariant: periods are days, months and hours of UTC, so every gateway of a region means the same by one instant.

use std::ops::RangeInclusive;
use std::sync::Arc;

use aegis_domain::{BudgetKey, BudgetWindow, MicroUsd, Overrun, Timestamp, Ttl};

/// A budget and the most that may be spent and held in one window. `MicroUsd::MAX` counts without limiting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub key: BudgetKey,
    pub limit: MicroUsd,
    /// From how much spent and held on grants tell that the budget runs out.
    pub warn_at: Option<MicroUsd>,
    pub overrun: Overrun,
}

impl Budget {
    /// A budget that refuses what it cannot cover, without a warning before.
    pub fn hard(key: BudgetKey, limit: MicroUsd) -> Self {
        Self { key, limit, warn_at: None, overrun: Overrun::Refuse }
    }
}

/// Why a list of budgets cannot be asked about in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error("a call counts against at most {max} budgets")]
    TooMany { max: usize },
    #[error("a budget is listed twice")]
    Twice,
    #[error("the budgets of one call belong to different tenants")]
    Mixed,
}

/// The budgets one call counts against: at most `MAX`, of one tenant, each once. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Budgets(Arc<[Budget]>);

impl Budgets {
    /// Agent, team, tenant and tool by day, by month and by hours, and room for more.
    pub const MAX: usize = 16;

    pub fn new(list: Vec<Budget>) -> Result<Self, BudgetError> {
        if list.len() > Self::MAX {
            return Err(BudgetError::TooMany { max: Self::MAX });
        }
        for (at, budget) in list.iter().enumerate() {
            let mut others = list.iter().skip(at.saturating_add(1));
            if others.any(|other| other.key == budget.key) {
                return Err(BudgetError::Twice);
            }
        }
        let tenant = list.first().map(|budget| &budget.key.tenant);
        if list.iter().any(|budget| Some(&budget.key.tenant) != tenant) {
            return Err(BudgetError::Mixed);
        }
        Ok(Self(list.into()))
    }

    pub fn none() -> Self {
        Self(Arc::new([]))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Budget> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One stretch of the calendar over which money is summed up: a day or a month, and for a rolling window an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Days, months or hours since 1970-01-01.
    pub index: u32,
    /// The first instant after it.
    pub ends_at: Timestamp,
}

/// How long after the end of its window a sum is kept, for reports.
const WINDOW_KEPT: Ttl = Ttl::from_s(7 * 86_400);
const S_PER_HOUR: u64 = 3_600;
const S_PER_DAY: u64 = 24 * S_PER_HOUR;

impl Period {
    /// The period that `at` falls into.
    pub fn of(window: BudgetWindow, at: Timestamp) -> Self {
        let nth = |length_s| u32::try_from(at.unix_s() / length_s).unwrap_or(u32::MAX);
        match window {
            BudgetWindow::Day => Self::nth(window, nth(S_PER_DAY)),
            BudgetWindow::Month => Self::nth(window, month_of_day(nth(S_PER_DAY))),
            BudgetWindow::Rolling(_) => Self::nth(window, nth(S_PER_HOUR)),
        }
    }

    /// The period with that index.
    pub fn nth(window: BudgetWindow, index: u32) -> Self {
        let next = index.saturating_add(1);
        let ends_s = match window {
            BudgetWindow::Day => u64::from(next).saturating_mul(S_PER_DAY),
            BudgetWindow::Month => u64::from(first_day_of_month(next)).saturating_mul(S_PER_DAY),
            BudgetWindow::Rolling(_) => u64::from(next).saturating_mul(S_PER_HOUR),
        };
        Self { index, ends_at: Timestamp::from_unix_s(ends_s) }
    }

    /// How long from `now` until the period is over, rounded up to whole milliseconds.
    pub fn left(&self, now: Timestamp) -> Ttl {
        ttl_ceil(self.ends_at.unix_ns().saturating_sub(now.unix_ns()))
    }

    /// The periods whose sums make up what the window has at an instant.
    pub fn all_of(window: BudgetWindow, at: Timestamp) -> RangeInclusive<u32> {
        let last = Self::of(window, at).index;
        last.saturating_sub(older(window))..=last
    }

    /// The periods that must have room together for a call of that instant. Of a rolling window the hour after counts too: a
    /// gateway whose clock is ahead, or a call that was faster, may have filled it, and both hours are in its window.
    pub fn weighed(window: BudgetWindow, at: Timestamp) -> RangeInclusive<u32> {
        let (first, last) = Self::all_of(window, at).into_inner();
        match window {
            BudgetWindow::Day | BudgetWindow::Month => first..=last,
            BudgetWindow::Rolling(_) => first..=last.saturating_add(1),
        }
    }

    /// The last period whose window still counts this one.
    pub fn last_counting(window: BudgetWindow, index: u32) -> Self {
        Self::nth(window, index.saturating_add(older(window)))
    }

    /// Until when its sums are of use.
    pub fn kept_until(window: BudgetWindow, index: u32) -> Timestamp {
        Self::last_counting(window, index).ends_at.plus(WINDOW_KEPT)
    }
}

/// How many periods a window adds up beside the one under way.
fn older(window: BudgetWindow) -> u32 {
    match window {
        BudgetWindow::Day | BudgetWindow::Month => 0,
        BudgetWindow::Rolling(hours) => u32::from(hours.get().saturating_sub(1)),
    }
}

/// When an amount is to be held, for a call of which instant.
#[derive(Clone, Copy)]
pub struct When {
    pub decided_at: Timestamp,
    pub now: Timestamp,
}

impl When {
    /// Whose windows must have room: a day or a month is the decision's, hours roll on while the call is under way.
    pub fn of(self, window: BudgetWindow) -> Timestamp {
        match window {
            BudgetWindow::Day | BudgetWindow::Month => self.decided_at,
            BudgetWindow::Rolling(_) => self.now.max(self.decided_at),
        }
    }
}

// Days between 0000-03-01 and 1970-01-01 in the proleptic Gregorian calendar, and months likewise. Counting
// years from March puts the leap day last: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
const EPOCH_DAY: u64 = 719_468;
const EPOCH_MONTH: u64 = 1_969 * 12 + 10;
const DAYS_PER_ERA: u64 = 146_097;

/// Months since January 1970 of a day since 1970-01-01.
fn month_of_day(day: u32) -> u32 {
    let day = u64::from(day) + EPOCH_DAY;
    let (era, day_of_era) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let months = (era * 400 + year_of_era) * 12 + month;
    u32::try_from(months.saturating_sub(EPOCH_MONTH)).unwrap_or(u32::MAX)
}

/// Days since 1970-01-01 of the first day of a month since January 1970.
fn first_day_of_month(month: u32) -> u32 {
    let months = u64::from(month) + EPOCH_MONTH;
    let (year, month) = (months / 12, months % 12);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * DAYS_PER_ERA + day_of_era).saturating_sub(EPOCH_DAY);
    u32::try_from(days).unwrap_or(u32::MAX)
}

/// Nanoseconds as a `Ttl`, rounded up: who waits that long has waited long enough.
pub fn ttl_ceil(ns: u64) -> Ttl {
    Ttl::from_ms(ns.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use aegis_domain::{AgentId, BudgetScope, Hours, TenantId};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_month_ends_at_the_next_first_at_midnight_utc() {
        // 2028-02-29T23:59:59Z, a leap day.
        let leap = Timestamp::from_unix_s(1_835_481_599);
        let month = Period::of(BudgetWindow::Month, leap);
        assert_eq!(month.index, 58 * 12 + 1);
        assert_eq!(month.ends_at, Timestamp::from_unix_s(1_835_481_600));
        assert_eq!(month.left(leap), Ttl::from_ms(1_000));
        assert_eq!(Period::of(BudgetWindow::Month, Timestamp::from_unix_s(0)).index, 0);
    }

    proptest! {
        #[test]
        fn windows_follow_each_other_without_gap_or_overlap(ns in any::<u64>()) {
            let at = Timestamp::from_unix_ns(ns);
            let rolling = BudgetWindow::Rolling(Hours::new(24).unwrap());
            for window in [BudgetWindow::Day, BudgetWindow::Month, rolling] {
                let period = Period::of(window, at);
                prop_assert!(at < period.ends_at || ns > u64::MAX - 40 * 86_400_000_000_000);
                prop_assert_eq!(Period::nth(window, period.index), period);
                if let Some(before) = period.index.checked_sub(1) {
                    prop_assert!(Period::nth(window, before).ends_at <= at);
                }
            }
        }

        #[test]
        fn a_month_is_the_calendar_month(s in 0u64..=18_000_000_000) {
            let period = Period::of(BudgetWindow::Month, Timestamp::from_unix_s(s));
            let date = jiff::Timestamp::from_second(i64::try_from(s).unwrap())
                .unwrap()
                .to_zoned(jiff::tz::TimeZone::UTC);
            let months = (i64::from(date.year()) - 1970) * 12 + i64::from(date.month()) - 1;
            prop_assert_eq!(i64::from(period.index), months);
        }
    }

    #[test]
    fn a_call_counts_against_few_distinct_budgets_of_one_tenant() {
        let budget = |tenant: &str, agent: usize| {
            let key = BudgetKey {
                tenant: TenantId::parse(tenant).unwrap(),
                scope: BudgetScope::Agent(AgentId::parse(&format!("a{agent}")).unwrap()),
                window: BudgetWindow::Day,
            };
            Budget::hard(key, MicroUsd::MAX)
        };
        let too_many = (0..17).map(|agent| budget("t", agent)).collect();
        assert_eq!(Budgets::new(too_many), Err(BudgetError::TooMany { max: 16 }));
        assert_eq!(Budgets::new(vec![budget("t", 1), budget("t", 1)]), Err(BudgetError::Twice));
        assert_eq!(Budgets::new(vec![budget("t", 1), budget("u", 1)]), Err(BudgetError::Mixed));
        assert_eq!(Budgets::new(vec![budget("t", 1), budget("t", 2)]).unwrap().len(), 2);
    }
}

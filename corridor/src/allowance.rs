//! What a caller is told of the limits that its call counts against.
//!
//! Not here: header lines (the gateway's door), and what the limits are (`config`). Invariant: it names the caller's own
//! agent, team, tenant and tool, never those of others.

use aegis_domain::{BudgetKey, CountScope, HotAnswer, HotRefusal, MicroUsd, RateLeft, Ttl};
use aegis_state::{Ask, Budget, Period};

/// Budgets and calls, as far as they are limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The budget that will refuse first, or did; soft ones never do.
    pub tightest: Option<BudgetLeft>,
    /// Budgets that are past their warning, or over a limit that only warns.
    pub warned: Vec<BudgetKey>,
    pub calls: Option<CallsLeft>,
}

/// What is left of one budget once this call is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLeft {
    pub key: BudgetKey,
    pub limit: MicroUsd,
    pub left: MicroUsd,
    /// Until some of it comes back.
    pub resets_in: Ttl,
}

/// What is left of the limit on calls that will refuse first, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallsLeft {
    Rate(RateLeft),
    /// As many are under way as may be.
    Busy {
        of: CountScope,
        limit: u32,
    },
}

impl Allowance {
    /// What an answer of the hot state tells about the limits it was asked with.
    pub fn of(ask: &Ask, answer: HotAnswer) -> Self {
        match answer {
            HotAnswer::Granted(grant) => Self {
                tightest: nth(ask, grant.tightest).map(|budget| BudgetLeft {
                    key: budget.key.clone(),
                    limit: budget.limit,
                    left: grant.budget_left.saturating_sub(grant.held),
                    resets_in: Period::of(budget.key.window, ask.now).left(ask.now),
                }),
                warned: warned(ask, grant.warned).map(|budget| budget.key.clone()).collect(),
                calls: grant.rate.map(CallsLeft::Rate),
            },
            HotAnswer::Refused(refusal) => Self::refused(ask, refusal),
            HotAnswer::Unanswered(_) => Self::default(),
        }
    }

    fn refused(ask: &Ask, refusal: HotRefusal) -> Self {
        match refusal {
            HotRefusal::Replayed => Self::default(),
            HotRefusal::Budget { nth: place, left, resets_in } => {
                let tightest = nth(ask, Some(place)).map(|budget| {
                    let (key, limit) = (budget.key.clone(), budget.limit);
                    BudgetLeft { key, limit, left, resets_in }
                });
                Self { tightest, ..Self::default() }
            }
            HotRefusal::Rate { of, window, retry_after } => {
                let limit = ask.rates.get(of).get(window).map_or(0, |limit| limit.calls.get());
                let rate = RateLeft { of, window, limit, left: 0, resets_in: retry_after };
                Self { calls: Some(CallsLeft::Rate(rate)), ..Self::default() }
            }
            HotRefusal::Busy { of, limit } => {
                Self { calls: Some(CallsLeft::Busy { of, limit }), ..Self::default() }
            }
        }
    }
}

fn nth(ask: &Ask, place: Option<u8>) -> Option<&Budget> {
    ask.budgets.iter().nth(usize::from(place?))
}

/// The budgets whose bits are set.
pub(crate) fn warned(ask: &Ask, bits: u16) -> impl Iterator<Item = &Budget> {
    let is_set = move |place: usize| {
        bits.checked_shr(u32::try_from(place).unwrap_or(u32::MAX)).is_some_and(|bits| bits & 1 == 1)
    };
    let budgets = ask.budgets.iter().enumerate();
    budgets.filter(move |(place, _)| is_set(*place)).map(|(_, budget)| budget)
}

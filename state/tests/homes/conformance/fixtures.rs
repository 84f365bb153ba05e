//! Short words for asks, budgets and times.
//!
//! Not here: cases. Invariant: every id is made from a number, so a case reads as numbers.

use std::num::NonZeroU32;
use std::ops::Deref;

use aegis_domain::{AgentId, DecisionId, HotAnswer, HotRefusal, Jti, MicroUsd, TenantId};
use aegis_domain::{Timestamp, TokenUse, ToolName, Ttl};
use aegis_state::{Ask, Binding, Budget, BudgetKey, BudgetScope, BudgetWindow, Budgets, HotState};
use aegis_state::{Counted, InFlight, RateLimit, Spend, TokenCheck};

/// A home under test: it derefs to the state and keeps alive what the state needs.
pub(crate) trait Home: Deref<Target: HotState + Sized> + Sync {}
impl<T: Deref<Target: HotState + Sized> + Sync> Home for T {}

pub(crate) fn run<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case)
}

/// 2026-11-10T12:00:00Z and so many seconds.
pub(crate) fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_s(1_794_312_000 + s)
}

/// Seconds from `at(0)` to the end of its day and of its month.
pub(crate) const DAY_ENDS: u64 = 12 * 3_600;
pub(crate) const MONTH_ENDS: u64 = DAY_ENDS + 20 * 86_400;

pub(crate) fn usd(micro: u64) -> MicroUsd {
    MicroUsd::new(micro)
}

pub(crate) fn id(n: u64) -> DecisionId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    DecisionId::new(1, random)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn agent() -> AgentId {
    AgentId::parse("agent-1").unwrap()
}

pub(crate) fn tool() -> ToolName {
    ToolName::parse("pay").unwrap()
}

pub(crate) fn tenant_day() -> BudgetKey {
    BudgetKey { tenant: tenant(), scope: BudgetScope::Tenant, window: BudgetWindow::Day }
}

pub(crate) fn agent_month() -> BudgetKey {
    BudgetKey { tenant: tenant(), scope: BudgetScope::Agent(agent()), window: BudgetWindow::Month }
}

pub(crate) fn budgets<const N: usize>(limits: [(BudgetKey, u64); N]) -> Budgets {
    let budget = |(key, limit)| Budget::hard(key, usd(limit));
    Budgets::new(limits.into_iter().map(budget).collect()).unwrap()
}

/// A call estimated at 10 with 1,000 a day for its tenant, a token of its own kind, and 30 s to settle.
pub(crate) fn ask(n: u64) -> Ask {
    Ask {
        id: id(n),
        tenant: tenant(),
        agent: agent(),
        tool: tool(),
        token: TokenCheck {
            jti: Jti::parse("shared").unwrap(),
            token_use: TokenUse::Bound,
            binding: Binding::from_bytes([1; 32]),
            issued_at: None,
            // Later than any case comes.
            expires_at: at(10 * 365 * 86_400),
        },
        rates: Counted::default(),
        in_flight: InFlight::default(),
        budgets: budgets([(tenant_day(), 1_000)]),
        estimate: usd(10),
        hold_ttl: Ttl::from_s(30),
        now: at(0),
    }
}

pub(crate) fn once(n: u64, jti: &str) -> Ask {
    let token =
        TokenCheck { jti: Jti::parse(jti).unwrap(), token_use: TokenUse::Once, ..ask(n).token };
    Ask { token, ..ask(n) }
}

pub(crate) fn limit(calls: u32, burst: u32) -> Option<RateLimit> {
    let count = |n| NonZeroU32::new(n).unwrap();
    Some(RateLimit { calls: count(calls), burst: count(burst) })
}

/// What most cases look at in an answer.
#[derive(Debug)]
pub(crate) enum Gist {
    Granted { held: MicroUsd, budget_left: MicroUsd },
    OutOfBudget { left: MicroUsd, resets_in: Ttl },
}

impl PartialEq<Gist> for HotAnswer {
    fn eq(&self, gist: &Gist) -> bool {
        match (self, gist) {
            (HotAnswer::Granted(grant), Gist::Granted { held, budget_left }) => {
                (grant.held, grant.budget_left) == (*held, *budget_left)
            }
            (
                HotAnswer::Refused(HotRefusal::Budget { nth: _, left: had, resets_in: until }),
                Gist::OutOfBudget { left, resets_in },
            ) => (had, until) == (left, resets_in),
            _ => false,
        }
    }
}

pub(crate) fn granted(held: u64, budget_left: u64) -> Gist {
    Gist::Granted { held: usd(held), budget_left: usd(budget_left) }
}

pub(crate) fn out_of_budget(left: u64, resets_in: Ttl) -> Gist {
    Gist::OutOfBudget { left: usd(left), resets_in }
}

pub(crate) fn is_granted(answer: &HotAnswer) -> bool {
    matches!(answer, HotAnswer::Granted(_))
}

/// What the tenant has spent and holds on the day of `now`.
pub(crate) async fn today(home: &impl Home, now: Timestamp) -> (u64, u64) {
    let Spend { spent, held } = home.spend(&tenant_day(), now).await.unwrap();
    (spent.micro_usd(), held.micro_usd())
}

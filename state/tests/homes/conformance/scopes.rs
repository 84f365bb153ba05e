//! Whose budgets a call counts against, over which windows, and what budgets tell before they refuse.
//!
//! Not here: holds and their ends (`settlement`). Invariant: see `super`.

use aegis_domain::{AgentId, HotAnswer, HotRefusal, MicroUsd, TeamId, Ttl};
use aegis_state::{Ask, Budget, BudgetKey, BudgetScope, BudgetWindow, Budgets, Hours};
use aegis_state::{HotState as _, Overrun, Settled};

use super::fixtures::*;

const HOUR: u64 = 3_600;

fn rolling(hours: u16) -> BudgetKey {
    BudgetKey { window: BudgetWindow::Rolling(Hours::new(hours).unwrap()), ..tenant_day() }
}

fn of(scope: BudgetScope) -> BudgetKey {
    BudgetKey { scope, ..tenant_day() }
}

fn every_scope() -> [BudgetScope; 4] {
    let team = TeamId::parse("ops").unwrap();
    [
        BudgetScope::Agent(agent()),
        BudgetScope::Team(team),
        BudgetScope::Tenant,
        BudgetScope::Tool(tool()),
    ]
}

async fn refused_by(home: &impl Home, ask: &Ask) -> Option<u8> {
    match home.decide(ask).await {
        HotAnswer::Refused(HotRefusal::Budget { nth, .. }) => Some(nth),
        _ => None,
    }
}

async fn used(home: &impl Home, key: &BudgetKey, s: u64) -> (u64, u64) {
    let spend = home.spend(key, at(s)).await.unwrap();
    (spend.spent.micro_usd(), spend.held.micro_usd())
}

pub(crate) async fn a_call_counts_in_every_scope_and_any_of_them_refuses(home: &impl Home) {
    for (nth, tight) in (0..).zip(every_scope()) {
        let limit = |scope: &BudgetScope| if *scope == tight { 15 } else { 1_000 };
        let all = every_scope().map(|scope| (of(scope.clone()), limit(&scope)));
        let call = |n| Ask { budgets: budgets(all.clone()), ..ask(u64::from(nth) * 10 + n) };
        assert!(is_granted(&home.decide(&call(1)).await));
        for (key, _) in &all {
            assert_eq!(used(home, key, 0).await, (0, 10), "{key}");
        }
        assert_eq!(refused_by(home, &call(2)).await, Some(nth), "{tight}");
        for (key, _) in &all {
            assert_eq!(used(home, key, 0).await, (0, 10), "{key}: a refusal held money");
        }
        home.release(&call(1).hold(), at(0)).await.unwrap();
    }
}

pub(crate) async fn budgets_of_other_names_are_other_budgets(home: &impl Home) {
    let other = AgentId::parse("agent-2").unwrap();
    let team = |name| BudgetScope::Team(TeamId::parse(name).unwrap());
    let first = budgets([(of(BudgetScope::Agent(agent())), 10), (of(team("a")), 10)]);
    let second = budgets([(of(BudgetScope::Agent(other)), 10), (of(team("b")), 10)]);
    assert!(is_granted(&home.decide(&Ask { budgets: first, ..ask(1) }).await));
    assert!(is_granted(&home.decide(&Ask { budgets: second, ..ask(2) }).await));
}

pub(crate) async fn a_rolling_window_adds_up_its_hours(home: &impl Home) {
    for (n, hours) in (0..).zip([1, 2, 24, 30, 49, 744]) {
        let key = rolling(hours);
        // Whatever the time of day, the window is as long.
        for start in [0, 11 * HOUR, 20 * HOUR] {
            let begins = start + n * 100 * 86_400;
            let call = |i: u64, s| Ask {
                now: at(s),
                budgets: budgets([(key.clone(), 25)]),
                ..ask(n * 1_000 + start + i)
            };
            assert!(is_granted(&home.decide(&call(1, begins)).await));
            let last = begins + u64::from(hours - 1) * HOUR;
            assert!(is_granted(&home.decide(&call(2, last)).await));
            assert_eq!(used(home, &key, last).await, (0, 20), "{key}");
            assert_eq!(used(home, &key, last + HOUR).await.1, if hours == 1 { 0 } else { 10 });
            // For the next start.
            for (i, s) in [(1, begins), (2, last)] {
                home.release(&call(i, s).hold(), at(s)).await.unwrap();
            }
        }
    }
}

pub(crate) async fn a_rolling_window_frees_money_hour_by_hour(home: &impl Home) {
    let key = rolling(30);
    let call = |n, s| Ask { now: at(s), budgets: budgets([(key.clone(), 25)]), ..ask(n) };
    assert!(is_granted(&home.decide(&call(1, 2 * HOUR)).await));
    assert!(is_granted(&home.decide(&call(2, 4 * HOUR)).await));
    home.settle(&call(1, 2 * HOUR).hold(), usd(10), at(2 * HOUR)).await.unwrap();
    // At 31 h the first call's hour is the oldest that counts; it leaves at 32 h.
    let refused = home.decide(&call(3, 31 * HOUR + 600)).await;
    assert_eq!(refused, out_of_budget(5, Ttl::from_s(HOUR - 600)));
    assert_eq!(home.decide(&call(3, 32 * HOUR)).await, granted(10, 15));
    assert_eq!(home.decide(&call(4, 33 * HOUR)).await, out_of_budget(5, Ttl::from_s(HOUR)));
}

pub(crate) async fn a_long_window_knows_its_oldest_hour_too(home: &impl Home) {
    let call = |n, s| Ask { now: at(s), budgets: budgets([(rolling(60), 25)]), ..ask(n) };
    assert!(is_granted(&home.decide(&call(1, 14 * HOUR)).await));
    assert!(is_granted(&home.decide(&call(2, 16 * HOUR)).await));
    // The window begins at 20:00 of the first day, so all of the second is in it, also the first call at 02:00.
    assert_eq!(home.decide(&call(3, 67 * HOUR)).await, out_of_budget(5, Ttl::from_s(7 * HOUR)));
    assert_eq!(home.decide(&call(3, 74 * HOUR)).await, granted(10, 15));
}

pub(crate) async fn a_rolling_window_that_holds_nothing_says_its_whole_length(home: &impl Home) {
    let call = Ask { budgets: budgets([(rolling(24), 5)]), ..ask(1) };
    assert_eq!(home.decide(&call).await, out_of_budget(5, Ttl::from_s(24 * HOUR)));
}

pub(crate) async fn a_rolling_window_counts_a_cost_in_the_hour_of_its_call(home: &impl Home) {
    let key = rolling(2);
    let call = Ask { now: at(HOUR - 1), budgets: budgets([(key.clone(), 100)]), ..ask(1) };
    assert!(is_granted(&home.decide(&call).await));
    let settled = home.settle(&call.hold(), usd(7), at(HOUR + 1)).await.unwrap();
    assert_eq!(settled, Settled::Applied);
    assert_eq!(used(home, &key, HOUR + 1).await, (7, 0));
    assert_eq!(used(home, &key, 2 * HOUR).await, (0, 0));
    // The reaper as well.
    let lost = Ask { now: at(3 * HOUR - 1), budgets: budgets([(key.clone(), 100)]), ..ask(2) };
    assert!(is_granted(&home.decide(&lost).await));
    assert_eq!(home.reap(at(3 * HOUR + 60), 10).await.unwrap(), 1);
    assert_eq!(used(home, &key, 3 * HOUR + 60).await, (10, 0));
    assert_eq!(used(home, &key, 4 * HOUR).await, (0, 0));
}

/// Gateways' clocks differ, so a call of the hour before may come after calls of the hour after: both are in one window.
pub(crate) async fn a_rolling_window_is_not_passed_out_of_order(home: &impl Home) {
    for (n, hours) in (0..).zip([1, 2, 24, 49]) {
        let key = rolling(hours);
        // Also where a day ends.
        for start in [HOUR, 24 * HOUR] {
            let begins = start + n * 100 * 86_400;
            let call = |i: u64, s| Ask {
                now: at(s),
                budgets: budgets([(key.clone(), 15)]),
                ..ask(n * 1_000 + start + i)
            };
            assert!(is_granted(&home.decide(&call(1, begins)).await), "{key}");
            assert_eq!(refused_by(home, &call(2, begins - 1)).await, Some(0), "{key}");
            home.release(&call(1, begins).hold(), at(begins)).await.unwrap();
            assert!(is_granted(&home.decide(&call(3, begins - 1)).await), "{key}");
            assert_eq!(used(home, &key, begins - 1).await, (0, 10), "{key}");
            home.release(&call(3, begins - 1).hold(), at(begins)).await.unwrap();
        }
    }
}

fn soft(key: BudgetKey, limit: u64) -> Budget {
    Budget { overrun: Overrun::Warn, ..Budget::hard(key, usd(limit)) }
}

async fn told(home: &impl Home, ask: &Ask) -> (MicroUsd, Option<u8>, u16) {
    match home.decide(ask).await {
        HotAnswer::Granted(grant) => (grant.budget_left, grant.tightest, grant.warned),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_grant_names_its_tightest_budget(home: &impl Home) {
    let [agent, team, tenant, tool] = every_scope().map(of);
    let list = |limit: u64| {
        let unlimited = Budget::hard(agent.clone(), MicroUsd::MAX);
        let budgets = vec![
            unlimited,
            soft(team.clone(), 1),
            Budget::hard(BudgetKey { window: BudgetWindow::Month, ..agent.clone() }, usd(limit)),
            Budget::hard(tenant.clone(), usd(80)),
            Budget::hard(rolling(24), usd(90)),
            Budget::hard(tool.clone(), usd(80)),
        ];
        Budgets::new(budgets).unwrap()
    };
    let call = |n, limit| Ask { budgets: list(limit), ..ask(n) };
    // Of two with as little left, the first.
    assert_eq!(told(home, &call(1, 100)).await, (usd(80), Some(3), 0b10));
    assert_eq!(told(home, &call(2, 30)).await, (usd(20), Some(2), 0b10));
    // A retry hears the same.
    assert_eq!(told(home, &call(1, 100)).await, (usd(80), Some(3), 0b10));
    let none = Ask { budgets: Budgets::none(), ..ask(3) };
    assert_eq!(told(home, &none).await, (MicroUsd::MAX, None, 0));
}

pub(crate) async fn warnings_begin_where_they_are_set(home: &impl Home) {
    let warns =
        |key: BudgetKey, at| Budget { warn_at: Some(usd(at)), ..Budget::hard(key, usd(100)) };
    let month = BudgetKey { window: BudgetWindow::Month, ..tenant_day() };
    let list = vec![warns(tenant_day(), 21), warns(month, 20), warns(rolling(24), 30)];
    let call = |n| Ask { budgets: Budgets::new(list.clone()).unwrap(), ..ask(n) };
    assert_eq!(told(home, &call(1)).await.2, 0b000);
    assert_eq!(told(home, &call(2)).await.2, 0b010);
    assert_eq!(told(home, &call(3)).await.2, 0b111);
}

pub(crate) async fn a_soft_budget_lets_pass_and_tells(home: &impl Home) {
    let list =
        vec![soft(tenant_day(), 15), soft(rolling(24), 10), Budget::hard(agent_month(), usd(25))];
    let call = |n| Ask { budgets: Budgets::new(list.clone()).unwrap(), ..ask(n) };
    assert_eq!(told(home, &call(1)).await, (usd(25), Some(2), 0b00));
    assert_eq!(told(home, &call(2)).await, (usd(15), Some(2), 0b11));
    assert_eq!(refused_by(home, &call(3)).await, Some(2));
    assert_eq!(today(home, at(0)).await, (0, 20));
}

pub(crate) async fn as_many_budgets_as_there_may_be_count_at_once(home: &impl Home) {
    let mut list = Vec::new();
    for scope in every_scope() {
        for window in
            [BudgetWindow::Day, BudgetWindow::Month, rolling(24).window, rolling(744).window]
        {
            let key = BudgetKey { scope: scope.clone(), window, ..tenant_day() };
            list.push(Budget { warn_at: Some(usd(1)), ..Budget::hard(key, usd(1_000)) });
        }
    }
    assert_eq!(list.len(), Budgets::MAX);
    let call = Ask { budgets: Budgets::new(list.clone()).unwrap(), ..ask(1) };
    assert_eq!(told(home, &call).await, (usd(1_000), Some(0), u16::MAX));
    home.settle(&call.hold(), usd(4), at(1)).await.unwrap();
    for Budget { key, .. } in &list {
        assert_eq!(used(home, key, 1).await, (4, 0), "{key}");
    }
}

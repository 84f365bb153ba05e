//! Holds that grow while a call is under way, and sums that people correct.
//!
//! Not here: how holds end (`settlement`). Invariant: see `super`.

use aegis_domain::MicroUsd;
use aegis_state::{Adjustment, Ask, BudgetKey, BudgetWindow, Change, Extended, HotState as _};
use aegis_state::{Hours, Spend, StateError};

use super::fixtures::*;

fn rolling(hours: u16) -> BudgetKey {
    BudgetKey { window: BudgetWindow::Rolling(Hours::new(hours).unwrap()), ..tenant_day() }
}

async fn extend(home: &impl Home, ask: &Ask, total: u64, s: u64) -> Extended {
    home.extend(&ask.hold(), usd(total), at(s)).await.unwrap()
}

pub(crate) async fn a_hold_grows_to_what_is_asked_for_once(home: &impl Home) {
    let call = ask(1);
    assert!(is_granted(&home.decide(&call).await));
    assert_eq!(extend(home, &call, 40, 1).await, Extended::Granted);
    assert_eq!(today(home, at(1)).await, (0, 40));
    // A retry, and one that came late, raise nothing.
    assert_eq!(extend(home, &call, 40, 1).await, Extended::Granted);
    assert_eq!(extend(home, &call, 30, 2).await, Extended::Granted);
    assert_eq!(today(home, at(2)).await, (0, 40));
    home.settle(&call.hold(), usd(33), at(3)).await.unwrap();
    assert_eq!(today(home, at(3)).await, (33, 0));
}

pub(crate) async fn a_hold_that_grew_is_charged_in_full_when_it_is_overdue(home: &impl Home) {
    // Also one that held nothing at first.
    for (n, estimate) in [(1, 10), (2, 0)] {
        let call = Ask { estimate: usd(estimate), ..ask(n) };
        assert!(is_granted(&home.decide(&call).await));
        assert_eq!(extend(home, &call, 50, 1).await, Extended::Granted);
    }
    assert_eq!(home.reap(at(30), 10).await.unwrap(), 2);
    assert_eq!(today(home, at(30)).await, (100, 0));
    home.settle(&ask(1).hold(), usd(20), at(31)).await.unwrap();
    assert_eq!(today(home, at(31)).await, (70, 0));
}

pub(crate) async fn a_budget_without_room_refuses_growth_and_keeps_the_hold(home: &impl Home) {
    let all = budgets([(tenant_day(), 1_000), (agent_month(), 100), (rolling(24), 60)]);
    let call = |n| Ask { budgets: all.clone(), ..ask(n) };
    assert!(is_granted(&home.decide(&call(1)).await));
    assert!(is_granted(&home.decide(&call(2)).await));
    let refused = extend(home, &call(1), 51, 1).await;
    assert_eq!(refused, Extended::Refused { nth: 2, left: usd(40) });
    assert_eq!(today(home, at(1)).await, (0, 20));
    assert_eq!(extend(home, &call(1), 50, 1).await, Extended::Granted);
    assert_eq!(today(home, at(1)).await, (0, 60));
}

pub(crate) async fn growth_counts_in_the_windows_of_the_decision(home: &impl Home) {
    let all = budgets([(tenant_day(), 100), (rolling(2), 60)]);
    let now = at(DAY_ENDS - 1);
    let call = |n| Ask { budgets: all.clone(), now, ..ask(n) };
    assert!(is_granted(&home.decide(&call(1)).await));
    assert_eq!(extend(home, &call(1), 30, DAY_ENDS + 1).await, Extended::Granted);
    assert_eq!(today(home, now).await, (0, 30));
    assert_eq!(today(home, at(DAY_ENDS + 1)).await, (0, 0));
    // Hours roll on: what others spend in the new one counts as well.
    let other = Ask { now: at(DAY_ENDS + 2), estimate: usd(25), ..call(2) };
    assert!(is_granted(&home.decide(&other).await));
    let refused = extend(home, &call(1), 36, DAY_ENDS + 3).await;
    assert_eq!(refused, Extended::Refused { nth: 1, left: usd(5) });
}

pub(crate) async fn a_hold_that_ended_does_not_grow(home: &impl Home) {
    let is_error = async |n, s| {
        let extended = home.extend(&ask(n).hold(), usd(40), at(s)).await;
        matches!(extended, Err(StateError::NotHeld))
    };
    assert!(is_error(1, 0).await, "nobody knows it");
    for n in [1, 2, 3] {
        assert!(is_granted(&home.decide(&ask(n)).await));
    }
    home.settle(&ask(1).hold(), usd(4), at(1)).await.unwrap();
    assert!(is_error(1, 2).await, "it is settled");
    assert_eq!(extend(home, &ask(2), 20, 2).await, Extended::Granted);
    assert!(is_error(2, 30).await, "it is overdue");
    home.reap(at(30), 10).await.unwrap();
    assert!(is_error(3, 31).await, "it was charged");
    assert_eq!(today(home, at(31)).await, (34, 0));
}

async fn adjust(home: &impl Home, n: u64, key: &BudgetKey, change: Change, s: u64) -> (u64, u64) {
    let adjustment = Adjustment { id: id(n), key: key.clone(), change, now: at(s) };
    let Spend { spent, held } = home.adjust(&adjustment).await.unwrap();
    (spent.micro_usd(), held.micro_usd())
}

pub(crate) async fn a_correction_counts_once(home: &impl Home) {
    let day = tenant_day();
    assert!(is_granted(&home.decide(&ask(1)).await));
    assert_eq!(adjust(home, 11, &day, Change::Add(usd(900)), 0).await, (900, 10));
    assert_eq!(adjust(home, 11, &day, Change::Add(usd(900)), 1).await, (900, 10));
    assert!(is_granted(&home.decide(&Ask { estimate: usd(90), ..ask(2) }).await));
    assert!(!is_granted(&home.decide(&Ask { estimate: usd(1), ..ask(3) }).await));
    assert_eq!(adjust(home, 12, &day, Change::Subtract(usd(300)), 2).await, (600, 100));
    assert_eq!(adjust(home, 12, &day, Change::Subtract(usd(300)), 2).await, (600, 100));
    assert_eq!(today(home, at(2)).await, (600, 100));
    // Nothing below zero, and what is held stays.
    assert_eq!(adjust(home, 13, &day, Change::Subtract(MicroUsd::MAX), 3).await, (0, 100));
    assert_eq!(
        adjust(home, 14, &day, Change::Add(MicroUsd::MAX), 3).await,
        (MicroUsd::MAX.micro_usd(), 100)
    );
}

pub(crate) async fn a_rolling_window_is_corrected_as_a_whole(home: &impl Home) {
    for (n, hours) in [(0, 3), (100, 60)] {
        let key = rolling(hours);
        let hour = 3_600;
        let last = (u64::from(hours) - 1) * hour;
        assert_eq!(adjust(home, n + 1, &key, Change::Add(usd(50)), 0).await, (50, 0));
        assert_eq!(adjust(home, n + 2, &key, Change::Add(usd(30)), last).await, (80, 0));
        // The newest hour first.
        assert_eq!(adjust(home, n + 3, &key, Change::Subtract(usd(40)), last).await, (40, 0));
        assert_eq!(home.spend(&key, at(last)).await.unwrap().spent, usd(40));
        assert_eq!(home.spend(&key, at(last + hour)).await.unwrap().spent, usd(0));
        assert_eq!(home.spend(&key, at(0)).await.unwrap().spent, usd(40));
    }
}

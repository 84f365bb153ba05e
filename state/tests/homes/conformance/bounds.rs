//! The ends of what is counted: the largest amounts, and budgets without a limit.
//!
//! Not here: everyday money (`money`). Invariant: see `super`.

use aegis_domain::MicroUsd;
use aegis_state::{Ask, HotState as _};

use super::fixtures::*;

const MAX: u64 = MicroUsd::MAX.micro_usd();

pub(crate) async fn sums_at_the_top_of_what_counts_exactly_stay_there(home: &impl Home) {
    let all = budgets([(tenant_day(), MAX)]);
    let call = |n, estimate| Ask { budgets: all.clone(), estimate: usd(estimate), ..ask(n) };
    assert_eq!(home.decide(&call(1, MAX - 3)).await, granted(MAX - 3, MAX));
    assert_eq!(home.decide(&call(2, 2)).await, granted(2, MAX));
    assert_eq!(today(home, at(0)).await, (0, MAX - 1));
    home.settle(&call(1, MAX - 3).hold(), usd(MAX - 4), at(1)).await.unwrap();
    assert_eq!(today(home, at(1)).await, (MAX - 4, 2));
    home.settle(&call(2, 2).hold(), usd(MAX), at(1)).await.unwrap();
    assert_eq!(today(home, at(1)).await, (MAX, 0));
}

pub(crate) async fn an_unlimited_budget_counts_without_refusing(home: &impl Home) {
    let unlimited = budgets([(tenant_day(), MAX)]);
    let call = |n| Ask { budgets: unlimited.clone(), estimate: usd(MAX), ..ask(n) };
    assert_eq!(home.decide(&call(1)).await, granted(MAX, MAX));
    assert_eq!(home.decide(&call(2)).await, granted(MAX, MAX));
    assert_eq!(today(home, at(0)).await, (0, MAX));
}

//! Budgets: what may be held, and in which window.
//!
//! Not here: what becomes of a hold (`settlement`). Invariant: see `super`.

use aegis_domain::Ttl;
use aegis_state::{Ask, HotState as _};

use super::fixtures::*;

pub(crate) async fn every_budget_must_have_room(home: &impl Home) {
    let both = budgets([(tenant_day(), 1_000), (agent_month(), 25)]);
    let call = |n| Ask { budgets: both.clone(), ..ask(n) };
    assert!(is_granted(&home.decide(&call(1)).await));
    assert!(is_granted(&home.decide(&call(2)).await));
    assert_eq!(home.decide(&call(3)).await, out_of_budget(5, Ttl::from_s(MONTH_ENDS)));
    assert_eq!(today(home, at(0)).await, (0, 20));
    // Exactly what is left may still be held.
    assert_eq!(home.decide(&Ask { estimate: usd(5), ..call(4) }).await, granted(5, 5));
}

pub(crate) async fn a_grant_tells_the_least_left_before_its_hold(home: &impl Home) {
    let both = budgets([(tenant_day(), 1_000), (agent_month(), 100)]);
    assert_eq!(home.decide(&Ask { budgets: both.clone(), ..ask(1) }).await, granted(10, 100));
    assert_eq!(home.decide(&Ask { budgets: both, ..ask(2) }).await, granted(10, 90));
}

pub(crate) async fn a_refusal_tells_when_the_budget_resets(home: &impl Home) {
    let both = budgets([(tenant_day(), 5), (agent_month(), 7)]);
    let now = at(DAY_ENDS - 1).plus(Ttl::from_ms(1));
    let day = budgets([(tenant_day(), 5)]);
    let refused = home.decide(&Ask { budgets: day, now, ..ask(1) }).await;
    assert_eq!(refused, out_of_budget(5, Ttl::from_ms(999)));
    // Where several refuse, the one that resets last says when trying again is of use.
    let refused = home.decide(&Ask { budgets: both, now: at(0), ..ask(2) }).await;
    assert_eq!(refused, out_of_budget(7, Ttl::from_s(MONTH_ENDS)));
}

pub(crate) async fn an_overspent_budget_refuses_even_free_calls(home: &impl Home) {
    assert!(is_granted(&home.decide(&ask(1)).await));
    home.settle(&ask(1).hold(), usd(1_001), at(1)).await.unwrap();
    let free = home.decide(&Ask { estimate: usd(0), ..ask(2) }).await;
    assert_eq!(free, out_of_budget(0, Ttl::from_s(DAY_ENDS)));
}

/// BerriAI/litellm#30460: a retried request was counted twice.
pub(crate) async fn a_retry_counts_once(home: &impl Home) {
    let first = home.decide(&ask(1)).await;
    assert_eq!(first, granted(10, 1_000));
    assert!(is_granted(&home.decide(&ask(2)).await));
    assert_eq!(home.decide(&Ask { now: at(3), ..ask(1) }).await, first);
    assert_eq!(today(home, at(0)).await, (0, 20));
}

/// BerriAI/litellm#24682 and #34732: N pods spent N budgets; check and increment were two steps.
pub(crate) async fn many_gateways_do_not_multiply_a_budget(home: &impl Home) {
    let gateway = |g: u64| async move {
        let mut grants = 0;
        for n in 0..100 {
            grants += u64::from(is_granted(&home.decide(&ask(g * 100 + n)).await));
        }
        grants
    };
    let grants: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|g| scope.spawn(move || run(gateway(g)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(grants, 100);
    assert_eq!(today(home, at(0)).await, (0, 1_000));
}

/// BerriAI/litellm#34733: at the edge of a window the last writer's reset won.
pub(crate) async fn windows_begin_empty_and_leave_the_last_one_as_it_was(home: &impl Home) {
    let last = at(DAY_ENDS - 1);
    let first = at(DAY_ENDS);
    assert!(is_granted(&home.decide(&Ask { estimate: usd(1_000), now: last, ..ask(1) }).await));
    assert!(!is_granted(&home.decide(&Ask { now: last, ..ask(2) }).await));
    assert_eq!(home.decide(&Ask { now: first, ..ask(3) }).await, granted(10, 1_000));
    // A gateway whose clock is behind still meets the old window as it was.
    assert!(!is_granted(&home.decide(&Ask { now: last, ..ask(4) }).await));
    assert_eq!(today(home, last).await, (0, 1_000));
    assert_eq!(today(home, first).await, (0, 10));
}

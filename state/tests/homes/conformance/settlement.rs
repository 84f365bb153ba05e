//! What becomes of a hold: settled, released, overdue, corrected, lost.
//!
//! Not here: who gets one (`money`). Invariant: see `super`.

use aegis_state::{Ask, HotState as _, LATE_SETTLE, Settled, StateError};

use super::fixtures::*;

pub(crate) async fn a_settlement_replaces_the_estimate(home: &impl Home) {
    assert!(is_granted(&home.decide(&ask(1)).await));
    assert_eq!(today(home, at(0)).await, (0, 10));
    let settled = home.settle(&ask(1).hold(), usd(4), at(1)).await.unwrap();
    assert_eq!(settled, Settled::Applied);
    assert_eq!(today(home, at(1)).await, (4, 0));
}

/// BerriAI/litellm#40002: tiered prices made the estimate too low, and the difference was lost.
pub(crate) async fn a_cost_above_the_estimate_is_charged_in_full(home: &impl Home) {
    assert!(is_granted(&home.decide(&ask(1)).await));
    home.settle(&ask(1).hold(), usd(995), at(1)).await.unwrap();
    assert_eq!(today(home, at(1)).await, (995, 0));
    assert!(!is_granted(&home.decide(&ask(2)).await));
}

/// BerriAI/litellm#27639 and #36592: leaked reservations refused calls although the money was there.
pub(crate) async fn a_released_hold_frees_its_money(home: &impl Home) {
    let all = Ask { estimate: usd(1_000), ..ask(1) };
    assert!(is_granted(&home.decide(&all).await));
    assert!(!is_granted(&home.decide(&ask(2)).await));
    assert_eq!(home.release(&all.hold(), at(1)).await.unwrap(), Settled::Applied);
    assert_eq!(home.decide(&ask(2)).await, granted(10, 1_000));
}

pub(crate) async fn a_second_settlement_changes_nothing(home: &impl Home) {
    assert!(is_granted(&home.decide(&ask(1)).await));
    home.settle(&ask(1).hold(), usd(4), at(1)).await.unwrap();
    let again = home.settle(&ask(1).hold(), usd(9), at(2)).await.unwrap();
    assert_eq!(again, Settled::Duplicate);
    assert_eq!(home.release(&ask(1).hold(), at(3)).await.unwrap(), Settled::Duplicate);
    assert_eq!(today(home, at(3)).await, (4, 0));
}

pub(crate) async fn an_unsettled_hold_is_charged_once_it_is_overdue(home: &impl Home) {
    for n in 0..3 {
        assert!(is_granted(&home.decide(&ask(n)).await));
    }
    assert_eq!(home.reap(at(29), 10).await.unwrap(), 0);
    assert_eq!(home.reap(at(30), 2).await.unwrap(), 2);
    assert_eq!(today(home, at(30)).await, (20, 10));
    assert_eq!(home.reap(at(30), 2).await.unwrap(), 1);
    assert_eq!(home.reap(at(31), 2).await.unwrap(), 0);
    assert_eq!(today(home, at(31)).await, (30, 0));
}

pub(crate) async fn a_late_settlement_corrects_the_estimate(home: &impl Home) {
    for (n, actual) in [(1, 3), (2, 12), (3, 0)] {
        assert!(is_granted(&home.decide(&ask(n)).await));
        assert_eq!(home.reap(at(30), 10).await.unwrap(), 1);
        let hold = ask(n).hold();
        assert_eq!(home.settle(&hold, usd(actual), at(40)).await.unwrap(), Settled::Applied);
        let again = home.settle(&hold, usd(actual), at(50)).await.unwrap();
        assert_eq!(again, Settled::Duplicate);
    }
    assert_eq!(today(home, at(50)).await, (15, 0));
}

pub(crate) async fn a_lost_hold_is_charged_once(home: &impl Home) {
    let lost = ask(1).hold();
    assert_eq!(home.settle(&lost, usd(6), at(1)).await.unwrap(), Settled::Applied);
    assert_eq!(home.settle(&lost, usd(6), at(2)).await.unwrap(), Settled::Duplicate);
    assert_eq!(today(home, at(2)).await, (6, 0));
}

pub(crate) async fn a_settlement_too_late_to_tell_is_refused(home: &impl Home) {
    assert!(is_granted(&home.decide(&ask(1)).await));
    home.settle(&ask(1).hold(), usd(4), at(1)).await.unwrap();
    let forgotten = at(30).plus(LATE_SETTLE);
    assert_eq!(home.reap(forgotten, 10).await.unwrap(), 0);
    let late = home.settle(&ask(1).hold(), usd(4), forgotten).await;
    assert!(matches!(late, Err(StateError::TooLate { ago_s: 600 })));
    assert_eq!(today(home, at(1)).await, (4, 0));
}

pub(crate) async fn a_settlement_after_midnight_counts_on_the_day_of_its_call(home: &impl Home) {
    let evening = Ask { now: at(DAY_ENDS - 1), ..ask(1) };
    assert!(is_granted(&home.decide(&evening).await));
    home.settle(&evening.hold(), usd(8), at(DAY_ENDS + 1)).await.unwrap();
    assert_eq!(today(home, at(DAY_ENDS - 1)).await, (8, 0));
    assert_eq!(today(home, at(DAY_ENDS + 1)).await, (0, 0));
}

pub(crate) async fn a_settled_call_asked_again_gets_its_grant_and_no_hold(home: &impl Home) {
    let grant = home.decide(&once(1, "j")).await;
    home.settle(&ask(1).hold(), usd(4), at(1)).await.unwrap();
    assert_eq!(home.decide(&once(1, "j")).await, grant);
    assert_eq!(today(home, at(1)).await, (4, 0));
}

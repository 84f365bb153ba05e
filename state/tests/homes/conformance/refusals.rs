//! Tokens and rates: who is refused, and that a refusal leaves no trace.
//!
//! Not here: money (`money`). Invariant: see `super`.

use aegis_domain::{AgentId, CountScope, HotAnswer, HotRefusal, RateWindow, TenantId, Ttl};
use aegis_state::{Ask, Binding, Budgets, Counted, HotState as _, Rates, TokenCheck};

use super::fixtures::*;

fn by_agent(agent: Rates) -> Counted {
    Counted { agent, ..Counted::default() }
}

const REPLAYED: HotAnswer = HotAnswer::Refused(HotRefusal::Replayed);

pub(crate) async fn a_refusal_changes_nothing(home: &impl Home) {
    let rates = by_agent(Rates { minute: limit(1, 1), ..Rates::NONE });
    let dear = Ask { estimate: usd(2_000), rates, ..once(1, "j") };
    assert_eq!(home.decide(&dear).await, out_of_budget(1_000, Ttl::from_s(DAY_ENDS)));
    assert_eq!(today(home, at(0)).await, (0, 0));
    // Neither the token nor the one call a minute was used up.
    let cheap = Ask { rates, ..once(2, "j") };
    assert_eq!(home.decide(&cheap).await, granted(10, 1_000));
    // A call refused for its rate keeps its token, and its id may be granted later.
    let soon = Ask { rates, ..once(3, "k") };
    assert!(!is_granted(&home.decide(&soon).await));
    assert!(is_granted(&home.decide(&Ask { now: at(60), ..soon }).await));
}

pub(crate) async fn a_bound_token_belongs_to_its_first_user(home: &impl Home) {
    let thief = |n| {
        let token = TokenCheck { binding: Binding::from_bytes([2; 32]), ..ask(n).token };
        Ask { token, ..ask(n) }
    };
    assert!(is_granted(&home.decide(&ask(1)).await));
    assert!(is_granted(&home.decide(&ask(2)).await));
    assert_eq!(home.decide(&thief(3)).await, REPLAYED);
    assert!(is_granted(&home.decide(&ask(4)).await));
}

pub(crate) async fn a_once_token_is_good_for_one_call(home: &impl Home) {
    assert_eq!(home.decide(&once(1, "j")).await, granted(10, 1_000));
    assert_eq!(home.decide(&once(2, "j")).await, REPLAYED);
    assert_eq!(home.decide(&once(1, "j")).await, granted(10, 1_000));
    // Until no gateway can accept it any more.
    assert_eq!(home.decide(&Ask { now: at(330), ..once(3, "j") }).await, REPLAYED);
}

pub(crate) async fn a_token_is_one_tenants(home: &impl Home) {
    let tenant = TenantId::parse("other").unwrap();
    assert!(is_granted(&home.decide(&once(1, "j")).await));
    let other = Ask { tenant, budgets: Budgets::none(), ..once(2, "j") };
    assert!(is_granted(&home.decide(&other).await));
}

pub(crate) async fn a_clock_that_steps_makes_no_token_good_twice(home: &impl Home) {
    let use_of = |n, jti: &str, s, expires_s| {
        let call = once(n, jti);
        Ask { now: at(s), token: TokenCheck { expires_at: at(expires_s), ..call.token }, ..call }
    };
    assert!(is_granted(&home.decide(&use_of(1, "before", 0, 300)).await));
    // Ten minutes forward, for long enough to forget what is over by then.
    for n in 2..6 {
        let ahead = use_of(n, &format!("ahead-{n}"), 600, 660);
        assert!(is_granted(&home.decide(&ahead).await));
        assert_eq!(home.decide(&Ask { id: id(10 + n), ..ahead }).await, REPLAYED);
    }
    // And back.
    assert_eq!(home.decide(&use_of(20, "before", 1, 300)).await, REPLAYED);
    for n in 2..6 {
        let again = use_of(20 + n, &format!("ahead-{n}"), 1, 660);
        assert_eq!(home.decide(&again).await, REPLAYED);
    }
    assert!(is_granted(&home.decide(&use_of(30, "new", 601, 900)).await));
}

pub(crate) async fn a_rate_refusal_says_exactly_how_long_to_wait(home: &impl Home) {
    let rates = by_agent(Rates { minute: limit(6, 2), ..Rates::NONE });
    let call = |n, ms| Ask { rates, now: at(0).plus(Ttl::from_ms(ms)), ..ask(n) };
    let refused = |ms| {
        let retry_after = Ttl::from_ms(ms);
        HotAnswer::Refused(HotRefusal::Rate {
            of: CountScope::Agent,
            window: RateWindow::Minute,
            retry_after,
        })
    };
    assert!(is_granted(&home.decide(&call(1, 0)).await));
    assert!(is_granted(&home.decide(&call(2, 0)).await));
    assert_eq!(home.decide(&call(3, 0)).await, refused(10_000));
    assert_eq!(home.decide(&call(4, 9_999)).await, refused(1));
    assert!(is_granted(&home.decide(&call(5, 10_000)).await));
    // Another agent of the tenant has a rate of its own.
    let other = AgentId::parse("agent-2").unwrap();
    assert!(is_granted(&home.decide(&Ask { agent: other, ..call(6, 10_000) }).await));
}

pub(crate) async fn a_rate_counts_over_the_longest_refusing_window(home: &impl Home) {
    let rates = by_agent(Rates { second: limit(1, 1), minute: limit(60, 60), hour: limit(1, 1) });
    assert!(is_granted(&home.decide(&Ask { rates, ..ask(1) }).await));
    let wait = HotRefusal::Rate {
        of: CountScope::Agent,
        window: RateWindow::Hour,
        retry_after: Ttl::from_s(3_600),
    };
    assert_eq!(home.decide(&Ask { rates, ..ask(2) }).await, HotAnswer::Refused(wait));
}

pub(crate) async fn a_call_that_costs_nothing_still_counts(home: &impl Home) {
    let rates = by_agent(Rates { hour: limit(1, 1), ..Rates::NONE });
    let free = |n| Ask { rates, estimate: usd(0), ..ask(n) };
    assert_eq!(home.decide(&free(1)).await, granted(0, 1_000));
    assert_eq!(home.decide(&free(1)).await, granted(0, 1_000));
    assert!(!is_granted(&home.decide(&free(2)).await));
    // What it did cost is charged all the same.
    home.settle(&free(1).hold(), usd(7), at(1)).await.unwrap();
    assert_eq!(today(home, at(0)).await, (7, 0));
}

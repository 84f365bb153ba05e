//! Calls that are counted: how many in a window, and how many at once.
//!
//! Not here: money (`money`, `scopes`). Invariant: see `super`.

use std::num::NonZeroU32;

use aegis_domain::{AgentId, CountScope, HotAnswer, HotRefusal, RateLeft, RateWindow, TenantId};
use aegis_domain::{ToolName, Ttl};
use aegis_state::{Ask, Budgets, Counted, HotState as _, InFlight, InFlightName, Rates};

use super::fixtures::*;

fn minute(calls: u32, burst: u32) -> Rates {
    Rates { minute: limit(calls, burst), ..Rates::NONE }
}

fn of(scope: CountScope, rates: Rates) -> Counted {
    match scope {
        CountScope::Agent => Counted { agent: rates, ..Counted::default() },
        CountScope::Tenant => Counted { tenant: rates, ..Counted::default() },
        CountScope::Tool => Counted { tool: rates, ..Counted::default() },
    }
}

fn other_agent() -> AgentId {
    AgentId::parse("agent-2").unwrap()
}

fn other_tool() -> ToolName {
    ToolName::parse("mail").unwrap()
}

pub(crate) async fn agents_tenants_and_tools_are_counted_apart(home: &impl Home) {
    for (n, scope) in (0_u64..).map(|n| n * 10).zip(CountScope::ALL) {
        let rates = of(scope, minute(1, 1));
        let call = |i: u64| Ask { rates, ..ask(n + i) };
        assert!(is_granted(&home.decide(&call(1)).await));
        let refused = HotRefusal::Rate {
            of: scope,
            window: RateWindow::Minute,
            retry_after: Ttl::from_s(60),
        };
        assert_eq!(home.decide(&call(2)).await, HotAnswer::Refused(refused));
        let stranger = Ask { agent: other_agent(), ..call(3) };
        let elsewhere = Ask { tool: other_tool(), ..call(4) };
        let (stranger, elsewhere) = (home.decide(&stranger).await, home.decide(&elsewhere).await);
        assert_eq!(is_granted(&stranger), scope == CountScope::Agent);
        assert_eq!(is_granted(&elsewhere), scope == CountScope::Tool);
    }
}

pub(crate) async fn rates_are_counted_all_or_none(home: &impl Home) {
    let rates = Counted { agent: minute(60, 5), tenant: minute(60, 5), tool: minute(1, 1) };
    let call = |n| Ask { rates, ..ask(n) };
    let left = |answer| match answer {
        HotAnswer::Granted(grant) => grant.rate,
        other => panic!("{other:?}"),
    };
    assert!(is_granted(&home.decide(&call(1)).await));
    for n in 2..10 {
        assert!(!is_granted(&home.decide(&call(n)).await));
    }
    // Nothing but the first call was counted anywhere.
    let rates = Counted { tool: Rates::NONE, ..rates };
    let rate = left(home.decide(&Ask { rates, ..ask(10) }).await).unwrap();
    assert_eq!((rate.of, rate.left), (CountScope::Agent, 3));
}

pub(crate) async fn a_grant_tells_the_nearest_rate(home: &impl Home) {
    let rates = Counted {
        agent: Rates { second: limit(10, 10), hour: limit(3_600, 9), ..Rates::NONE },
        tenant: minute(60, 5),
        ..Counted::default()
    };
    let call = |n, s| Ask { rates, now: at(s), ..ask(n) };
    let told = |answer| match answer {
        HotAnswer::Granted(grant) => grant.rate,
        other => panic!("{other:?}"),
    };
    let nearest = |left, resets_s| RateLeft {
        of: CountScope::Tenant,
        window: RateWindow::Minute,
        limit: 60,
        left,
        resets_in: Ttl::from_s(resets_s),
    };
    assert_eq!(told(home.decide(&call(1, 0)).await), Some(nearest(4, 1)));
    assert_eq!(told(home.decide(&call(2, 0)).await), Some(nearest(3, 2)));
    assert_eq!(told(home.decide(&call(3, 1)).await), Some(nearest(3, 2)));
    assert_eq!(told(home.decide(&ask(4)).await), None);
}

fn at_most(scope: CountScope, calls: u32) -> InFlight {
    let calls = NonZeroU32::new(calls);
    match scope {
        CountScope::Agent => InFlight { agent: calls, ..InFlight::default() },
        CountScope::Tenant => InFlight { tenant: calls, ..InFlight::default() },
        CountScope::Tool => InFlight { tool: calls, ..InFlight::default() },
    }
}

fn busy(of: CountScope, limit: u32) -> HotAnswer {
    HotAnswer::Refused(HotRefusal::Busy { of, limit })
}

async fn under_way(home: &impl Home, s: u64) -> [u32; 3] {
    let mut counts = [0; 3];
    let names = [InFlightName::Agent(agent()), InFlightName::Tenant, InFlightName::Tool(tool())];
    for (count, name) in counts.iter_mut().zip(names) {
        *count = home.in_flight(&tenant(), &name, at(s)).await.unwrap();
    }
    counts
}

pub(crate) async fn calls_under_way_are_limited_for_each_scope(home: &impl Home) {
    for (n, scope) in (0_u64..).map(|n| n * 10).zip(CountScope::ALL) {
        let in_flight = at_most(scope, 2);
        let call = |i: u64| Ask { in_flight, ..ask(n + i) };
        assert!(is_granted(&home.decide(&call(1)).await));
        assert!(is_granted(&home.decide(&call(2)).await));
        assert_eq!(home.decide(&call(3)).await, busy(scope, 2));
        let counted = CountScope::ALL.map(|of| if of == scope { 2 } else { 0 });
        assert_eq!(under_way(home, 0).await, counted);
        let stranger = Ask { agent: other_agent(), tool: other_tool(), ..call(4) };
        assert_eq!(is_granted(&home.decide(&stranger).await), scope != CountScope::Tenant);
        // A call that ends makes room for one.
        home.settle(&call(1).hold(), usd(1), at(1)).await.unwrap();
        home.settle(&call(1).hold(), usd(1), at(1)).await.unwrap();
        assert!(is_granted(&home.decide(&call(5)).await));
        assert_eq!(home.decide(&call(6)).await, busy(scope, 2));
        for i in [2, 5] {
            home.release(&call(i).hold(), at(1)).await.unwrap();
        }
        home.release(&stranger.hold(), at(1)).await.unwrap();
        assert_eq!(under_way(home, 1).await, [0; 3]);
    }
}

pub(crate) async fn a_call_nobody_ends_is_under_way_until_its_hold_expires(home: &impl Home) {
    let in_flight = at_most(CountScope::Tenant, 1);
    let call = |n, s| Ask { in_flight, now: at(s), ..ask(n) };
    assert!(is_granted(&home.decide(&call(1, 0)).await));
    assert_eq!(home.decide(&call(2, 29)).await, busy(CountScope::Tenant, 1));
    assert_eq!(under_way(home, 29).await, [0, 1, 0]);
    // Whether it was charged by then or not.
    assert_eq!(under_way(home, 30).await, [0, 0, 0]);
    assert!(is_granted(&home.decide(&call(3, 30)).await));
    assert_eq!(home.reap(at(31), 10).await.unwrap(), 1);
    assert_eq!(under_way(home, 31).await, [0, 1, 0]);
    // Its late settlement ends no other call.
    home.settle(&call(1, 0).hold(), usd(1), at(32)).await.unwrap();
    assert_eq!(under_way(home, 32).await, [0, 1, 0]);
}

pub(crate) async fn a_call_that_costs_nothing_is_under_way_too(home: &impl Home) {
    let free = |n, s| Ask {
        in_flight: at_most(CountScope::Agent, 1),
        estimate: usd(0),
        budgets: Budgets::none(),
        now: at(s),
        ..ask(n)
    };
    assert!(is_granted(&home.decide(&free(1, 0)).await));
    assert_eq!(home.decide(&free(2, 1)).await, busy(CountScope::Agent, 1));
    // A retry is the same call.
    assert!(is_granted(&home.decide(&free(1, 1)).await));
    home.release(&free(1, 0).hold(), at(2)).await.unwrap();
    assert!(is_granted(&home.decide(&free(3, 2)).await));
    // The settled one, asked again, is not under way again.
    assert!(is_granted(&home.decide(&free(1, 2)).await));
    assert_eq!(under_way(home, 2).await, [1, 0, 0]);
}

pub(crate) async fn calls_under_way_are_one_tenants(home: &impl Home) {
    let in_flight = at_most(CountScope::Tenant, 1);
    let other = TenantId::parse("other").unwrap();
    let elsewhere = Ask { tenant: other, budgets: Budgets::none(), in_flight, ..ask(1) };
    assert!(is_granted(&home.decide(&elsewhere).await));
    assert!(is_granted(&home.decide(&Ask { in_flight, ..ask(2) }).await));
}

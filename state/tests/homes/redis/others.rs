//! What went wrong in other people's shared limits, held against ours; each case names where it was reported.
//!
//! Not here: those that a test of another file shows in passing (`exact`, `outages`, `failover` name theirs). Invariant: the
//! scene is the reported one, as far as a gateway of ours can be brought into it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aegis_domain::{CountScope, HotAnswer, HotRefusal, RateWindow, Ttl};
use aegis_state::{Ask, Counted, Deployment, HotState as _, Period, Rates, RedisConfig, Settled};
use aegis_testkit::hot::{Server, Software};
use futures::future::join_all;

use super::stand::{Gateway, address, eventually, live, make_old, on_single, simulated, single};
use crate::conformance::{ask, at, budgets, is_granted, limit, run, tenant_day, today, usd};

const GATEWAYS: usize = 4;

fn fleet(server: &Server) -> Vec<Gateway> {
    make_old(server, "acme");
    let config = simulated(Deployment::Single(address(server)));
    (0..GATEWAYS).map(|_| Gateway::open(config.clone())).collect()
}

/// Runs `work` on every gateway at once.
fn at_once<T: Send>(gateways: &[Gateway], work: impl AsyncFn(&Gateway) -> Vec<T> + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = gateways
            .iter()
            .map(|gateway| scope.spawn(move || gateway.runtime.block_on(work(gateway))))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// BerriAI/litellm#27639, #30522, #36592, #38111: reservations of requests that were cancelled, or whose process ended, were
/// never taken back; counters stood above what was spent, and calls got 429 with most of the budget left.
#[test]
fn reservations_of_callers_that_went_away_end_and_are_corrected() {
    let Some(home) = Software::Redis.installed().map(on_single) else { return };
    let call = |n| Ask { estimate: usd(50), ..ask(n) };
    let gone: Vec<Ask> = (1..=20).map(call).collect();
    assert!(gone.iter().all(|ask| is_granted(&run(home.decide(ask)))));
    assert!(!is_granted(&run(home.decide(&call(21)))), "1,000 are held");
    // Nobody settles. The holds end, at what the calls can have cost at most.
    assert_eq!(run(home.reap(at(30), 64)).unwrap(), 20);
    assert_eq!(run(today(&&*home, at(30))), (1_000, 0));
    // The records of the process that ended say what they did cost.
    for gone in &gone {
        assert_eq!(run(home.settle(&gone.hold(), usd(1), at(31))).unwrap(), Settled::Applied);
    }
    assert_eq!(run(today(&&*home, at(31))), (20, 0));
    let next = Ask { now: at(31), estimate: usd(980), ..ask(22) };
    assert!(is_granted(&run(home.decide(&next))), "what was not spent is there again");
}

/// BerriAI/litellm#35569: a settlement that failed half-way was added to the reservation it should have replaced.
#[test]
fn a_settlement_told_again_and_again_replaces_its_reservation_once() {
    let Some(program) = Software::Redis.installed() else { return };
    let mut server = Server::start(&program, &["--appendonly", "yes", "--appendfsync", "always"]);
    let gateway =
        Gateway::open(RedisConfig { deadline: Duration::from_millis(100), ..single(&server) });
    let calls: Vec<Ask> = (1..=8).map(|n| live(ask(n))).collect();
    assert!(calls.iter().all(|call| is_granted(&gateway.decide_now(call.clone()))));
    server.pause();
    // Whether these arrive nobody can tell: the server wakes, and dies.
    let settle = |call: &Ask| gateway.run(gateway.settle(&call.hold(), usd(3), call.now));
    assert!(calls.iter().all(|call| settle(call).is_err()));
    server.resume();
    server.kill();
    server.start_again();
    eventually("all are told", || calls.iter().all(|call| settle(call).is_ok()));
    gateway.run(gateway.reap(calls[0].now, 64)).unwrap();
    assert_eq!(super::stand::counted(&gateway), (24, 0));
}

/// BerriAI/litellm#34733: at the edge of a window the last writer's reset won, and took others' spend with it.
#[test]
fn spend_at_the_edge_of_a_window_is_in_one_window_or_the_other() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let gateways = fleet(&server);
    let day_ends = Period::of(tenant_day().window, at(0)).ends_at;
    let until_midnight = day_ends.since(at(0)).ms() / 1_000;
    let (next, today_spent) = (AtomicU64::new(1), AtomicU64::new(0));
    let each = async |gateway: &Gateway| {
        let calls = (0..100).map(|n| {
            let (next, today_spent) = (&next, &today_spent);
            async move {
                let id = next.fetch_add(1, Ordering::Relaxed);
                let now = at(until_midnight - 1 + n % 2);
                let budgets = budgets([(tenant_day(), 1 << 40)]);
                let call = Ask { now, budgets, ..ask(id) };
                assert!(is_granted(&gateway.decide(&call).await));
                gateway.settle(&call.hold(), usd(7), at(until_midnight)).await.unwrap();
                if n % 2 == 0 {
                    today_spent.fetch_add(7, Ordering::Relaxed);
                }
            }
        });
        join_all(calls).await
    };
    let all = at_once(&gateways, each).len() as u64 * 7;
    let spent = |s| gateways[0].run(today(&&gateways[0].state, at(s)));
    let before = today_spent.load(Ordering::Relaxed);
    assert_eq!(spent(until_midnight - 1), (before, 0));
    assert_eq!(spent(until_midnight), (all - before, 0));
}

/// Kong's rate-limiting-advanced counts on each node and tells the others every `sync_rate` seconds, below one of which it
/// warns; between, each node lets a whole limit through. Kong/kong#8227: the older plugin read the counter and then
/// increased it.
#[test]
fn a_rate_is_one_rate_for_all_gateways_at_every_instant() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let gateways = fleet(&server);
    let next = AtomicU64::new(1);
    let each = async |gateway: &Gateway| {
        let calls = (0..100).map(|_| {
            let id = next.fetch_add(1, Ordering::Relaxed);
            let agent = Rates { minute: limit(100, 100), ..Rates::NONE };
            let rates = Counted { agent, ..Counted::default() };
            async move { gateway.decide(&Ask { rates, estimate: usd(0), ..ask(id) }).await }
        });
        join_all(calls).await
    };
    let answers = at_once(&gateways, each);
    let granted = answers.iter().filter(|answer| is_granted(answer)).count();
    assert_eq!((granted, answers.len()), (100, 400));
    let interval = Ttl::from_ms(600);
    let (of, window) = (CountScope::Agent, RateWindow::Minute);
    let refused = HotRefusal::Rate { of, window, retry_after: interval };
    assert!(answers.iter().all(|a| is_granted(a) || *a == HotAnswer::Refused(refused)));
}

/// BerriAI/litellm#32232: without Redis every process counted for itself, and N of them let N limits through.
#[test]
fn without_its_servers_no_gateway_counts_for_itself() {
    let Some(program) = Software::Redis.installed() else { return };
    let mut server = Server::start(&program, &[]);
    let gateways = fleet(&server);
    let call = |n| Ask { budgets: budgets([(tenant_day(), 1 << 40)]), ..ask(n) };
    assert!(is_granted(&gateways[0].decide_now(call(1))));
    server.kill();
    for (n, gateway) in (2..).zip(&gateways) {
        let answer = gateway.decide_now(call(n));
        assert!(matches!(answer, HotAnswer::Unanswered(_)), "{answer:?}");
    }
}

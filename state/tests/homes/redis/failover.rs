//! Another primary, under load: which promises hold, and how long decisions are denied.
//!
//! Not here: restarts of one server (`outages`). Invariant: what the gateways were granted is written down as it
//! happens, so that the end can be held against it. `AEGIS_FAILOVERS=100` makes it a long run (`make hotfailovers`).

mod story;
mod windows;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aegis_domain::{HotAnswer, HotRefusal, Outage, Ttl};
use aegis_state::{Ask, Confirm, HotState as _, RedisConfig};
use aegis_testkit::hot::{Network, Replicated, Software};
use futures::future::join_all;

use self::story::Story;
use self::windows::{Marks, Windows};
use super::stand::{Gateway, counted, eventually, live, now, patient, sentinels};
use crate::conformance::{is_granted, once, tenant_day};

/// What the documents tell operators to set (`docs/spec/hot-state.md`).
const DOWN_AFTER: Duration = Duration::from_secs(3);
const SERVER: &str = "--appendonly yes --min-replicas-to-write 1 --min-replicas-max-lag 1";
/// How long a primary that is cut off goes on accepting at most: `max-lag`, which the server compares in whole seconds,
/// and the second between two looks at it (`replicationCron`).
const OVERLAP: Duration = Duration::from_secs(3);
const WORKERS: u64 = 6;

/// How a primary is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    /// `kill -9`.
    Kill,
    /// It is cut off from its peers, and the gateways still reach it: two primaries, if nothing stops the old one.
    Cut,
    /// It is cut off from everybody.
    Isolate,
    /// It hangs, and comes back not knowing that it was replaced.
    Pause,
}

fn lose(servers: &mut Replicated, loss: Loss) {
    let old = servers.primary();
    match loss {
        Loss::Kill => {
            servers.servers[old].kill();
            servers.wait_for_another(old);
            servers.servers[old].start_again();
        }
        Loss::Pause => {
            servers.servers[old].pause();
            servers.wait_for_another(old);
            servers.servers[old].resume();
        }
        Loss::Cut | Loss::Isolate => {
            let cut = match loss {
                Loss::Cut => servers.cut(old),
                Loss::Kill | Loss::Isolate | Loss::Pause => servers.isolate(old),
            };
            servers.wait_for_another(old);
            // For as long as an old primary could still accept.
            std::thread::sleep(Duration::from_secs(1));
            drop(cut);
        }
    }
}

/// One loss under load; panics where a promise is broken.
fn cycle(servers: &mut Replicated, gateways: &[Gateway], loss: Loss, nth: u64) -> Windows {
    let story = Story::of_cycle(nth);
    let before = counted(&gateways[0]).0;
    let lost_at = std::thread::scope(|scope| {
        let workers = |gateway: usize| {
            let story = &story;
            let all = (0..WORKERS).map(move |n| story.work(gateways, n));
            scope.spawn(move || gateways[gateway].run(join_all(all)))
        };
        let threads = [workers(0), workers(1)];
        std::thread::sleep(Duration::from_secs(1));
        story.tighten();
        let lost_at = (Instant::now(), now());
        lose(servers, loss);
        let tried = grants_again(&story, lost_at.0);
        std::thread::sleep(Duration::from_secs(1));
        story.over.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        assert!(tried, "no decision was granted after the switch");
        lost_at
    });
    let (over, bound) = story.overspent(OVERLAP);
    let accepted = story.accepted.lock();
    let windows = Windows {
        loss,
        stopped: story
            .wide
            .before_longest_gap()
            .map(|last| last.saturating_duration_since(lost_at.0)),
        denied: story.wide.longest_gap(),
        single_use_denied: story.single_use.longest_gap(),
        marks: Marks::read(&servers.sentinels, lost_at.1),
        tokens: accepted.len(),
        twice: accepted.values().filter(|times| **times > 1).count(),
        over,
        bound,
    };
    drop(accepted);
    windows.print(nth);
    assert_eq!(windows.twice, 0, "a token was good for two calls");
    assert!(over <= bound, "overspent by {over}, and at most {bound} could have been forgotten");
    // What a promoted replica never heard was settled again.
    let (mut counted, spent) = (0, story.spent.load(Ordering::Relaxed));
    for _ in 0..1_000 {
        gateways.iter().for_each(|gateway| drop(gateway.run(gateway.reap(now(), 64))));
        let sums = gateways[0].run(gateways[0].spend(&tenant_day(), now()));
        counted = sums.map_or(counted, |sums| sums.spent.micro_usd());
        if counted == before + spent {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let health = gateways[0].run(gateways[0].health());
    assert_eq!(counted, before + spent, "what was settled is what counts: {health:?}");
    servers.wait_until_whole();
    windows
}

/// Waits for a grant well after the loss.
fn grants_again(story: &Story, lost_at: Instant) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if story.wide.last().is_some_and(|last| last > lost_at + Duration::from_secs(2)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn fail_over_and_over(software: Software, losses: &[Loss]) {
    let Some(program) = software.installed() else { return };
    let Some(network) = Network::new() else { return };
    let options: Vec<&str> = SERVER.split(' ').collect();
    let mut servers = Replicated::start_apart(&program, &network, DOWN_AFTER, &options);
    let config = RedisConfig {
        confirm_once: Confirm::OneReplica,
        deadline: Duration::from_millis(100),
        issuer_skew: Ttl::from_ms(500),
        ..patient(sentinels(&servers))
    };
    let gateways = [Gateway::open(config.clone()), Gateway::open(config)];
    eventually("the beginning is over", || {
        let first = once(1, &format!("first-{}", now().unix_ns()));
        let free = Ask { budgets: aegis_state::Budgets::none(), ..first };
        is_granted(&gateways[0].decide_now(live(free)))
    });
    let all = (1..).zip(losses).map(|(nth, loss)| cycle(&mut servers, &gateways, *loss, nth));
    windows::print_table(&format!("{software:?}"), &all.collect::<Vec<_>>());
}

/// Each kind once, or as many as are asked for, every other one by `kill -9` and the rest by partitions.
fn losses() -> Vec<Loss> {
    let count = std::env::var("AEGIS_FAILOVERS").ok().and_then(|count| count.parse().ok());
    match count {
        None => vec![Loss::Kill, Loss::Cut, Loss::Isolate, Loss::Pause],
        Some(count) => {
            let turns = [Loss::Kill, Loss::Cut, Loss::Kill, Loss::Isolate];
            turns.into_iter().cycle().take(count).collect()
        }
    }
}

#[test]
fn no_token_passes_twice_and_no_settlement_is_lost_when_redis_fails_over() {
    fail_over_and_over(Software::Redis, &losses());
}

#[test]
fn no_token_passes_twice_and_no_settlement_is_lost_when_valkey_fails_over() {
    fail_over_and_over(Software::Valkey, &losses());
}

/// BerriAI/litellm#33923: a reservation that failed let the call through although it was told to be strict.
#[test]
fn a_use_that_no_replica_confirms_is_no_grant_and_stays_used() {
    let Some(program) = Software::Redis.installed() else { return };
    let servers = Replicated::start(&program, DOWN_AFTER, &[]);
    super::stand::make_old(&servers.servers[0], "acme");
    let config = RedisConfig {
        confirm_once: Confirm::OneReplica,
        deadline: Duration::from_millis(500),
        ..patient(sentinels(&servers))
    };
    let gateway = Gateway::open(config);
    assert!(is_granted(&gateway.decide_now(live(once(1, "a")))));
    servers.servers[1].pause();
    servers.servers[2].pause();
    let unconfirmed = live(once(2, "b"));
    let answer = gateway.decide_now(unconfirmed.clone());
    assert!(
        matches!(answer, HotAnswer::Unanswered(Outage::Storage | Outage::TimedOut)),
        "{answer:?}"
    );
    // Asked again it is still not confirmed, though it is on record by now.
    assert!(!is_granted(&gateway.decide_now(unconfirmed.clone())));
    servers.servers[1].resume();
    eventually("a replica confirms it", || is_granted(&gateway.decide_now(unconfirmed.clone())));
    let replay = live(once(3, "b"));
    assert_eq!(gateway.decide_now(replay), HotAnswer::Refused(HotRefusal::Replayed));
}

//! Another primary, under load: which promises hold, and how long decisions are denied.
//!
//! Not here: restarts of one server (`outages`). Invariant: what the gateways were granted is written down as it
//! happens, so that the end can be held against it. `AEGIS_FAILOVERS=100` makes it a long run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aegis_domain::{AgentId, HotAnswer, HotRefusal, Outage, Ttl};
use aegis_state::{Ask, BudgetKey, BudgetScope, Confirm, HotState as _, RedisConfig};
use aegis_testkit::hot::{Replicated, Software};
use futures::future::join_all;
use parking_lot::Mutex;

use super::stand::{Gateway, counted, eventually, live, now, patient, sentinels};
use crate::conformance::threads::Dice;
use crate::conformance::{ask, budgets, is_granted, once, tenant_day, usd};

const DOWN_AFTER: Duration = Duration::from_secs(4);
const WORKERS: u64 = 6;
const COST: u64 = 10;

/// How a primary is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Kill,
    /// It hangs, and comes back not knowing that it was replaced.
    Pause,
    /// It is cut off from its peers, and the gateways still reach it.
    Cut,
}

/// What the gateways were told.
#[derive(Default)]
struct Story {
    /// By token, how many different calls it was good for.
    accepted: Mutex<HashMap<u64, u32>>,
    grants: Mutex<Vec<Instant>>,
    single_use: Mutex<Vec<Instant>>,
    spent: AtomicU64,
    over: AtomicBool,
    next: AtomicU64,
}

impl Story {
    fn next(&self) -> u64 {
        1 + self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A single-use token at one gateway, again at another, and an old one once more.
    async fn present(&self, gateways: &[Gateway], dice: &mut Dice) {
        let token = self.next();
        for gateway in gateways {
            self.try_token(gateway, token).await;
        }
        let old = 1 + dice.below(token);
        if self.accepted.lock().contains_key(&old) {
            self.try_token(&gateways[dice.below(2) as usize], old).await;
        }
    }

    async fn try_token(&self, gateway: &Gateway, token: u64) {
        let free = Ask {
            budgets: aegis_state::Budgets::none(),
            ..once(self.next(), &format!("t{token}"))
        };
        if is_granted(&gateway.decide(&live(free)).await) {
            *self.accepted.lock().entry(token).or_default() += 1;
            self.single_use.lock().push(Instant::now());
        }
    }

    /// A call that costs, settled until that is heard.
    async fn spend(&self, gateway: &Gateway, budget: &BudgetKey, limit: u64) {
        let ask = live(Ask {
            estimate: usd(COST),
            // Holds of calls that were never answered must not be charged within the test.
            hold_ttl: Ttl::from_s(3_600),
            budgets: budgets([(tenant_day(), 1 << 50), (budget.clone(), limit)]),
            ..ask(self.next())
        });
        if !is_granted(&gateway.decide(&ask).await) {
            return;
        }
        self.grants.lock().push(Instant::now());
        while gateway.settle(&ask.hold(), usd(COST), now()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.spent.fetch_add(COST, Ordering::Relaxed);
    }

    async fn work(&self, gateways: &[Gateway], n: u64, budget: &BudgetKey, limit: u64) {
        let mut dice = Dice::seeded(n);
        while !self.over.load(Ordering::Relaxed) {
            if n.is_multiple_of(2) {
                self.present(gateways, &mut dice).await;
            } else {
                self.spend(&gateways[(n / 2 % 2) as usize], budget, limit).await;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The longest time without a grant.
fn longest_gap(grants: &[Instant]) -> Duration {
    let mut grants = grants.to_vec();
    grants.sort();
    grants.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// What may be forgotten at most: the grants of any such stretch of time.
fn most_within(grants: &[Instant], stretch: Duration) -> u64 {
    let mut grants = grants.to_vec();
    grants.sort();
    let from = |at: Instant| grants.iter().filter(|g| **g >= at && **g < at + stretch).count();
    grants.iter().map(|at| from(*at) as u64).max().unwrap_or(0)
}

fn lose(servers: &mut Replicated, loss: Loss) -> usize {
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
        Loss::Cut => match servers.cut(old) {
            Some(_cut) => {
                servers.wait_for_another(old);
                std::thread::sleep(Duration::from_secs(1));
            }
            None => return lose(servers, Loss::Pause),
        },
    }
    old
}

/// One loss under load; panics where a promise is broken.
#[expect(clippy::print_stderr, reason = "the figures are the result")]
fn cycle(servers: &mut Replicated, gateways: &[Gateway], loss: Loss, nth: u64) {
    let story = Story { next: AtomicU64::new(nth << 32), ..Story::default() };
    let agent = AgentId::parse(&format!("cycle-{nth}")).unwrap();
    let budget = BudgetKey { scope: BudgetScope::Agent(agent), ..tenant_day() };
    let before = counted(&gateways[0]).0;
    std::thread::scope(|scope| {
        let workers = |gateway: usize| {
            let (story, budget) = (&story, &budget);
            let all = (0..WORKERS).map(move |n| story.work(gateways, n, budget, 1 << 40));
            scope.spawn(move || gateways[gateway].run(join_all(all)))
        };
        let threads = [workers(0), workers(1)];
        std::thread::sleep(Duration::from_secs(1));
        let lost_at = Instant::now();
        lose(servers, loss);
        let tried = eventually_grants(&story, lost_at);
        std::thread::sleep(Duration::from_secs(1));
        story.over.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        assert!(tried, "no decision was granted after the switch");
    });
    let replayed = story.accepted.lock().values().filter(|times| **times > 1).count();
    let tokens = story.accepted.lock().len();
    let grants = story.grants.lock().clone();
    let (spent, denied) = (story.spent.load(Ordering::Relaxed), longest_gap(&grants));
    let bound = most_within(&grants, Duration::from_secs(2)) * COST;
    eprintln!(
        "{nth} {loss:?}: {} calls and {tokens} single-use tokens, {replayed} of them twice; denied for {denied:.1?}, \
         single-use for {:.1?}; at most {bound} micro-USD might have been forgotten",
        grants.len(),
        longest_gap(&story.single_use.lock()),
    );
    assert_eq!(replayed, 0, "a token was good for two calls");
    // What a promoted replica never heard was settled again.
    let mut counted = 0;
    for _ in 0..1_000 {
        gateways.iter().for_each(|gateway| drop(gateway.run(gateway.reap(now(), 64))));
        let sums = gateways[0].run(gateways[0].spend(&tenant_day(), now()));
        counted = sums.map_or(counted, |sums| sums.spent.micro_usd());
        if counted == before + spent {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(counted - before, spent, "what was settled is what counts");
    servers.wait_until_whole();
}

/// Waits for a grant well after the loss.
fn eventually_grants(story: &Story, lost_at: Instant) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        let last = story.grants.lock().last().copied();
        if last.is_some_and(|last| last > lost_at + Duration::from_secs(2)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn fail_over_and_over(software: Software, losses: &[Loss]) {
    let Some(program) = software.installed() else { return };
    let bounds = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"];
    let mut servers = Replicated::start(&program, DOWN_AFTER, &bounds);
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
    for (nth, loss) in (1..).zip(losses) {
        cycle(&mut servers, &gateways, *loss, nth);
    }
}

fn losses() -> Vec<Loss> {
    let all = [Loss::Kill, Loss::Cut, Loss::Pause];
    let count = std::env::var("AEGIS_FAILOVERS").ok().and_then(|count| count.parse().ok());
    all.into_iter().cycle().take(count.unwrap_or(3)).collect()
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

//! Four gateways on one state: nothing is counted twice, nothing is lost, and no token passes twice.
//!
//! Not here: servers that forget (`failover`). Invariant: the model is what the gateways were answered, so a difference
//! of one micro-dollar is a fault of the state.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aegis_domain::{AgentId, HotAnswer, HotRefusal, Ttl};
use aegis_state::{Ask, BudgetKey, BudgetScope, HotState as _, RedisConfig};
use aegis_testkit::hot::{Cluster, Server, Software};
use futures::future::join_all;

use super::stand::{Gateway, address, counted, live, make_old, now, patient, single};
use crate::conformance::threads::Dice;
use crate::conformance::{ask, budgets, is_granted, once, tenant_day, usd};

/// What was answered is on disk. With `everysec`, a write waits for a sync that is under way, and a kill loses it.
const ALWAYS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
const GATEWAYS: u64 = 4;
const AGENTS: u64 = 64;
const CALLS: u64 = 12;

/// What the calls of one agent must have left behind.
#[derive(Clone, Copy, Default)]
struct Sums {
    spent: u64,
    held: u64,
    granted: u64,
    refused: u64,
}

fn fleet(config: &RedisConfig) -> Vec<Gateway> {
    (0..GATEWAYS).map(|_| Gateway::open(config.clone())).collect()
}

/// The calls of one agent through one gateway, asked and settled until there is an answer.
async fn agent(gateway: &Gateway, n: u64, limit: u64) -> Sums {
    let mut dice = Dice::seeded(n);
    let mut sums = Sums::default();
    let agent = AgentId::parse(&format!("agent-{n}")).unwrap();
    let own = BudgetKey { scope: BudgetScope::Agent(agent.clone()), ..tenant_day() };
    for call in 0..CALLS {
        let estimate = 1 + dice.below(50);
        let ask = live(Ask {
            agent: agent.clone(),
            estimate: usd(estimate),
            budgets: budgets([(tenant_day(), limit), (own.clone(), 1 << 40)]),
            hold_ttl: Ttl::from_s(900),
            ..ask((n << 32) + call)
        });
        match answered(gateway, &ask).await {
            HotAnswer::Granted(_) => sums.granted += 1,
            HotAnswer::Refused(HotRefusal::Budget { .. }) => {
                sums.refused += 1;
                continue;
            }
            other => panic!("{other:?}"),
        }
        if dice.below(3) == 0 {
            // A retry of a call that was answered.
            assert!(is_granted(&answered(gateway, &ask).await));
        }
        if dice.below(5) == 0 {
            // This settlement is lost with its sender.
            sums.held += estimate;
            continue;
        }
        let actual = dice.below(estimate + 1);
        for _ in 0..=dice.below(2) {
            let begun = Instant::now();
            while let Err(error) = gateway.settle(&ask.hold(), usd(actual), now()).await {
                again(begun, &error).await;
            }
        }
        sums.spent += actual;
    }
    sums
}

async fn answered(gateway: &Gateway, ask: &Ask) -> HotAnswer {
    let begun = Instant::now();
    loop {
        match gateway.decide(ask).await {
            HotAnswer::Unanswered(outage) => again(begun, &outage).await,
            answer => return answer,
        }
    }
}

/// Servers that are killed or move keys are back within seconds.
async fn again(begun: Instant, why: &(dyn std::fmt::Debug + Sync)) {
    assert!(begun.elapsed() < Duration::from_secs(120), "never answered: {why:?}");
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Runs all agents of all gateways, with `meanwhile` beside them.
fn run_all(gateways: &[Gateway], limit: u64, meanwhile: impl FnOnce()) -> Sums {
    let all: Vec<Sums> = std::thread::scope(|scope| {
        let work = |g: u64, gateway| {
            let agents = (0..AGENTS).map(move |n| agent(gateway, 1 + g * AGENTS + n, limit));
            move || gateway.run(join_all(agents))
        };
        let threads: Vec<_> =
            (0..).zip(gateways).map(|(g, gateway)| scope.spawn(work(g, gateway))).collect();
        meanwhile();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.into_iter().fold(Sums::default(), |a, b| Sums {
        spent: a.spent + b.spent,
        held: a.held + b.held,
        granted: a.granted + b.granted,
        refused: a.refused + b.refused,
    })
}

/// BerriAI/litellm#24682, #33325, #40291: N pods spent N budgets. #34732: check and increment were two steps.
/// #30460: a retry was counted twice. #28247: each pod's restart added what was counted already.
#[test]
#[expect(clippy::print_stderr, reason = "the figures are the result")]
fn spend_and_holds_are_the_models_exactly_through_kills() {
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let mut server = Server::start(&program, &ALWAYS);
        let config = RedisConfig { deadline: Duration::from_millis(500), ..single(&server) };
        let gateways = fleet(&config);
        let limit = 45_000;
        let sums = run_all(&gateways, limit, || {
            for _ in 0..2 {
                std::thread::sleep(Duration::from_millis(400));
                server.kill();
                std::thread::sleep(Duration::from_millis(200));
                server.start_again();
            }
        });
        let Sums { spent, held, granted, refused } = sums;
        eprintln!("{software:?}: granted {granted}, refused {refused}, spent {spent}, held {held}");
        counts(&gateways, (spent, held));
        assert!(spent + held <= limit, "overdraft");
        assert!(refused > 0 && granted > 1_000, "the budget was no matter");
    }
}

/// Once every gateway has met the servers as they are now, they count exactly this.
fn counts(gateways: &[Gateway], model: (u64, u64)) {
    let mut sums = (0, 0);
    for _ in 0..500 {
        let met = gateways.iter().all(|gateway| gateway.run(gateway.reap(now(), 64)).is_ok());
        sums = counted(&gateways[0]);
        if met && sums == model {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(sums, model);
}

/// Presents a token with a call of its own; returns the token and whether it was accepted.
async fn present(gateway: &Gateway, token: u64, next: &AtomicU64) -> (u64, bool) {
    let ask = live(Ask {
        budgets: budgets([(tenant_day(), 1 << 40)]),
        ..once(next.fetch_add(1, Ordering::Relaxed), &format!("token-{token}"))
    });
    let answer = answered(gateway, &ask).await;
    let refused = answer == HotAnswer::Refused(HotRefusal::Replayed);
    assert!(refused || is_granted(&answer), "{answer:?}");
    (token, is_granted(&answer))
}

#[test]
fn a_replay_storm_through_four_gateways_accepts_each_token_once() {
    const TOKENS: u64 = 100;
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let server = Server::start(&program, &[]);
        make_old(&server, "acme");
        let gateways = fleet(&single(&server));
        let next = AtomicU64::new(1);
        let mut accepted = vec![0; TOKENS as usize];
        let storm: Vec<(u64, bool)> = std::thread::scope(|scope| {
            let threads: Vec<_> = gateways
                .iter()
                .map(|gateway| {
                    let next = &next;
                    let all = (0..TOKENS * 8).map(move |n| present(gateway, n % TOKENS, next));
                    scope.spawn(move || gateway.run(join_all(all)))
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for (token, _) in storm.into_iter().filter(|(_, is_accepted)| *is_accepted) {
            accepted[token as usize] += 1;
        }
        assert!(accepted.iter().all(|times| *times == 1), "{accepted:?}");
    }
}

/// What a request that went astray does in a client that sends it again.
#[test]
fn a_decision_sent_twice_at_once_counts_once() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    make_old(&server, "acme");
    let gateways = fleet(&single(&server));
    let ask = live(once(1, "j"));
    let answers = std::thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> = gateways
            .iter()
            .map(|gateway| {
                scope.spawn(move || gateway.run(join_all((0..16).map(|_| gateway.decide(ask)))))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0] && is_granted(answer)));
    assert_eq!(counted(&gateways[0]), (0, 10));
}

/// A call whose keys move to another node under way is answered there, or not at all.
#[test]
fn resharding_moves_a_tenant_without_losing_or_doubling_anything() {
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let cluster = Cluster::start(&program, 3);
        let slot = cluster.slot_of("ag:{acme}:e");
        let nodes = vec![address(&cluster.nodes[0])];
        let config = RedisConfig {
            deadline: Duration::from_millis(500),
            ..patient(aegis_state::Deployment::Cluster(nodes))
        };
        let gateways = fleet(&config);
        let (from, limit) = (cluster.owner(slot), 45_000);
        let to = (from + 1) % 3;
        let sums = run_all(&gateways, limit, || {
            std::thread::sleep(Duration::from_millis(200));
            cluster.reshard(slot, (from, to), || std::thread::sleep(Duration::from_millis(2)));
        });
        let is_there = cluster.nodes[to].ask(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]);
        assert_ne!(is_there, "0", "the slot did not move");
        counts(&gateways, (sums.spent, sums.held));
        assert!(sums.spent + sums.held <= limit, "overdraft");
    }
}

//! The gateway is killed under load, again and again; afterwards every call that left has its record, and every
//! micro-dollar is accounted for.
//!
//! Not here: power cuts, which lose what the kernel had not written (`audit/ship` and `state` test those on a disk of
//! their own). `AEGIS_KILLS` says how often; the numbers are printed.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "the numbers are part of the evidence")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aegis_audit_chain::record::{DecisionEntry, Entry};
use aegis_audit_verify::Verdict;
use aegis_domain::{DecisionId, Effect, MicroUsd, Reason, Timestamp};
use aegis_state::{
    BudgetWindow, Deployment, HotState, Period, RedisConfig, RedisState, Server as Address,
};
use aegis_testkit::hot::{Proxy, Server, Software};
use aegis_testkit::{Answer, Ask, Building, Gate, Line, Plan, Script, Wire};
use serde_json::json;

const GATEWAY: &str = env!("CARGO_BIN_EXE_aegis-gateway");
const KILLS: usize = 200;
/// In a shared state, which takes longer to meet again.
const KILLS_SHARED: usize = 40;
const KILLS_LEASED: usize = 15;
/// So many calls at least before each kill, where a list of budgets must become hot.
const HOT: usize = 60;
const CLIENTS: usize = 6;
const AGENTS: [&str; 2] = ["bot", "second-bot"];

/// What the clients learned.
#[derive(Default)]
struct Heard {
    stop: AtomicBool,
    sent: AtomicUsize,
    answered: std::sync::Mutex<BTreeSet<DecisionId>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_a_record_or_a_cent() {
    let (house, heard, kills) = killed(plan().await, (KILLS, 1)).await;
    let state = house.state();
    assert_eq!(state.open_holds(), []);
    account(&house, &heard, (&state, kills)).await;
}

/// What the killed gateway held in Redis is settled by its records, or given back where no record let it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_a_cent_of_a_shared_state() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let (house, heard, kills) =
        killed(shared(plan().await, server.port()), (KILLS_SHARED, 1)).await;
    assert_eq!(server.ask(&["ZCARD", "ag:{acme}:o"]), "0", "holds are open");
    account(&house, &heard, (&client(&server).await, kills)).await;
}

/// A lease that the killed gateway held costs what the calls paid out of it cost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_a_cent_of_a_lease() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let leases = json!({ "amount_usd": "1", "gateways": 1, "ttl": "10s" });
    let plan = shared(plan().await, server.port()).with("/state/redis/leases", leases);
    let (house, heard, kills) = killed(plan, (KILLS_LEASED, HOT)).await;
    assert_eq!(server.ask(&["ZCARD", "ag:{acme}:o"]), "0", "holds are open");
    let leases = server.ask(&["KEYS", "ag:{acme}:j:lease-*"]);
    assert!(leases.contains("lease-"), "no lease was held, so nothing is shown");
    account(&house, &heard, (&client(&server).await, kills)).await;
}

#[tokio::test]
async fn a_gateway_killed_between_an_outcome_and_its_settlement_settles_when_it_starts_again() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let (proxy, gate) = (Proxy::before(&server), Gate::default());
    let plan = shared(plan().await, proxy.port());
    plan.upstream().on("/v1/out", Script::Late(gate.clone(), Answer::default()));
    let mut house = plan.start(GATEWAY).await;
    let call = house.agent("bot").post("/pay/v1/out").json(&json!({ "amount": 1 })).send();
    let answered = async {
        house.upstream().reached(1).await;
        proxy.hold();
        gate.open(1);
    };
    let (reply, ()) = futures::join!(call, answered);
    let outcome = house.journal().outcome(reply.is_ok().decision_id()).await;
    house.shoot();
    house.ended().await;
    let state = client(&server).await;
    let now = Timestamp::from_unix_ns(house.journal().records().last().unwrap().head.ts);
    let month = Building::budget("acme", Some("bot"), BudgetWindow::Month);
    let before = state.spend(&month, now).await.unwrap();
    assert_eq!((before.spent.micro_usd(), before.held), (0, outcome.est_cost));

    // What the proxy still has of the first life's must not reach the server.
    let direct = format!("127.0.0.1:{}", server.port());
    house.reconfigure("/state/redis/server", json!(direct));
    house.start_again().await;
    let after = state.spend(&month, now).await.unwrap();
    assert_eq!((after.spent, after.held.micro_usd()), (outcome.cost, 0));
    house.stop().await;
}

/// The server takes the call's decision when it wakes; by then the call is refused, and must cost nothing.
#[tokio::test]
async fn a_call_refused_because_the_server_hung_gives_back_what_the_server_takes_later() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let mut house = shared(plan().await, server.port()).start(GATEWAY).await;
    let state = client(&server).await;
    let month = Building::budget("acme", Some("bot"), BudgetWindow::Month);
    let ask = || house.agent("bot").post("/pay/v1/out").json(&json!({ "amount": 1 })).send();
    let cost = ask().await.is_ok().decision_id();
    let cost = house.journal().outcome(cost).await.cost;
    let now = Timestamp::from_unix_ns(house.journal().records().last().unwrap().head.ts);
    let (mut held, patience) = (MicroUsd::ZERO, std::time::Duration::from_secs(60));
    // A round of reaping may come before the first look.
    while held == MicroUsd::ZERO {
        server.pause();
        ask().await.is_refused(Reason::StateUnavailable);
        server.resume();
        for _ in 0..100 {
            held = held.max(state.spend(&month, now).await.map_or(MicroUsd::ZERO, |it| it.held));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    let given_back = async {
        while state.spend(&month, now).await.unwrap().held != MicroUsd::ZERO {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(patience, given_back).await.expect("it is held on");
    assert_eq!(state.spend(&month, now).await.unwrap().spent, cost);
    house.stop().await;
}

/// Only `acme` calls; a start is quicker without the others.
async fn plan() -> Plan {
    Plan::new().await.without("/tenants/other").without("/tenants/abroad")
}

fn shared(plan: Plan, port: u16) -> Plan {
    let server = format!("127.0.0.1:{port}");
    plan.with("/state", json!({ "redis": { "server": server, "deadline": "500ms" } }))
}

/// A look at the shared state that is no gateway's.
async fn client(server: &Server) -> RedisState {
    let address = Address { host: server.ip().to_owned(), port: server.port() };
    let config = RedisConfig::new(Deployment::Single(address));
    let state = RedisState::open(config, tokio::runtime::Handle::current()).unwrap();
    while state.health().await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    state
}

/// Kills the gateway under load and starts it again, so often, each time after so many calls at least.
async fn killed(plan: Plan, (kills, calls): (usize, usize)) -> (Building, Heard, usize) {
    let asked = std::env::var("AEGIS_KILLS").ok();
    let kills = asked.map_or(kills, |kills| kills.parse().unwrap());
    let usage = json!({ "usage": { "prompt_tokens": 7, "completion_tokens": 9 } });
    plan.upstream().on("/v1/chat/completions", Script::Answer(Answer::json(&usage)));
    plan.upstream().on("/v1/failing", Script::Answer(Answer::status(500)));
    let mut house = plan.start(GATEWAY).await;
    let heard = Heard::default();
    for kill in 0..kills {
        heard.stop.store(false, Ordering::Release);
        let goal = house.upstream().count() + calls + (kill * 7) % 23;
        let clients =
            futures::future::join_all((0..CLIENTS).map(|client| load(&house, &heard, client)));
        let killed = async {
            house.upstream().reached(goal).await;
            house.shoot();
            heard.stop.store(true, Ordering::Release);
        };
        futures::join!(clients, killed);
        house.ended().await;
        house.start_again().await;
    }
    house.stop().await;
    (house, heard, kills)
}

/// Calls until told to stop, as fast as answers come, on a connection that is made anew when it breaks.
async fn load(house: &Building, heard: &Heard, client: usize) {
    let mut line = None;
    let tokens = AGENTS.map(|agent| house.agent(agent).token());
    for turn in client.. {
        if heard.stop.load(Ordering::Acquire) {
            return;
        }
        if line.is_none() {
            line = Line::open(house, Wire::Http1).await.ok();
        }
        let Some(open) = &mut line else { continue };
        heard.sent.fetch_add(1, Ordering::Relaxed);
        // Half of the calls with one token, as SDKs send it.
        let ask = call(house, turn);
        let ask = if turn % 4 < 2 { ask } else { ask.bearer(&tokens[turn % AGENTS.len()]) };
        match ask.begin_on(open).await {
            Ok(answering) => {
                heard.answered.lock().unwrap().insert(answering.decision_id());
                if answering.whole().await.broken.is_some() {
                    line = None;
                }
            }
            Err(_) => line = None,
        }
    }
}

/// Priced by call and by token, let through and refused, answered well and badly.
fn call(house: &Building, turn: usize) -> Ask<'_> {
    let agent = house.agent(AGENTS[turn % AGENTS.len()]);
    match turn % 5 {
        0 => agent.post("/pay/v1/failing").json(&json!({ "amount": 1 })),
        1 => agent.post("/pay/v1/out").json(&json!({ "amount": 900 })),
        2 => agent.post("/model/v1/chat/completions").json(&json!({ "max_tokens": 100 })),
        _ => agent.post("/pay/v1/out").json(&json!({ "amount": 1 })),
    }
}

async fn account(house: &Building, heard: &Heard, (state, kills): (&dyn HotState, usize)) {
    let mut decisions = BTreeMap::new();
    let mut newest = Timestamp::from_unix_s(0);
    for record in house.journal().records() {
        newest = newest.max(Timestamp::from_unix_ns(record.head.ts));
        if let Entry::Decision(decision) = record.entry {
            let at = Timestamp::from_unix_ns(record.head.ts);
            assert!(decisions.insert(decision.id, (at, *decision)).is_none(), "decided twice");
        }
    }
    let seen = every_call_seen_was_allowed_on_record(house, &decisions);
    for id in heard.answered.lock().unwrap().iter() {
        assert!(decisions.contains_key(id), "decision {id} was answered and is not on record");
    }
    let costs = every_forwarded_call_has_one_cost(house, &decisions);
    let spent = every_budget_adds_up(state, &decisions, (&costs, newest)).await;
    let report = house.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{:?} {:?}", report.findings, report.gaps);
    assert_eq!(report.unsettled_count, 0);
    eprintln!(
        "kills {kills}, calls sent {}, answered {}, seen by the upstream {seen}, decisions {}, outcomes {}, \
         streams {}, spent {spent} micro-dollars",
        heard.sent.load(Ordering::Relaxed),
        heard.answered.lock().unwrap().len(),
        decisions.len(),
        costs.len(),
        report.streams.len(),
    );
}

type Decisions = BTreeMap<DecisionId, (Timestamp, DecisionEntry)>;

fn every_call_seen_was_allowed_on_record(house: &Building, decisions: &Decisions) -> usize {
    let mut allowed = BTreeSet::new();
    for (_, decision) in decisions.values() {
        if matches!(decision.decision, Effect::Allow | Effect::Sanitize) {
            allowed.insert(decision.trace.unwrap().trace_id_hex());
        }
    }
    let calls = house.upstream().calls();
    let mut seen = BTreeSet::new();
    for call in &calls {
        let trace = call.header("traceparent").unwrap().split('-').nth(1).unwrap().to_owned();
        assert!(allowed.contains(&trace), "call {trace} left without a record");
        assert!(seen.insert(trace), "a call was sent twice");
    }
    calls.len()
}

fn every_forwarded_call_has_one_cost(
    house: &Building,
    decisions: &Decisions,
) -> BTreeMap<DecisionId, u64> {
    let outcomes = house.journal().outcomes();
    let forwarded = decisions.values().map(|(_, decision)| decision);
    let forwarded =
        forwarded.filter(|one| matches!(one.decision, Effect::Allow | Effect::Sanitize));
    let mut costs = BTreeMap::new();
    for decision in forwarded {
        let outcomes = outcomes.get(&decision.id).map(Vec::as_slice).unwrap_or_default();
        let [outcome] = outcomes else { unreachable!("{} has {outcomes:?}", decision.id) };
        costs.insert(decision.id, outcome.cost.micro_usd());
    }
    assert_eq!(costs.len(), outcomes.len(), "an outcome belongs to no decision");
    costs
}

/// What the outcomes cost, by each budget they count against, is what the state has spent.
async fn every_budget_adds_up(
    state: &dyn HotState,
    decisions: &Decisions,
    (costs, now): (&BTreeMap<DecisionId, u64>, Timestamp),
) -> u64 {
    let window = BudgetWindow::Month;
    let mut tenant_spent = 0;
    for agent in AGENTS.map(Some).into_iter().chain([None]) {
        let name = agent.map_or("tenant/month".to_owned(), |agent| format!("agent:{agent}/month"));
        let counts = |decision: &DecisionEntry| {
            decision.budget.as_ref().is_some_and(|budget| budget.keys.contains(&name))
        };
        let recorded: u64 = decisions
            .values()
            .filter(|(at, decision)| {
                Period::of(window, *at) == Period::of(window, now) && counts(decision)
            })
            .filter_map(|(_, decision)| costs.get(&decision.id))
            .sum();
        let spend = state.spend(&Building::budget("acme", agent, window), now).await.unwrap();
        assert_eq!((spend.spent.micro_usd(), spend.held.micro_usd()), (recorded, 0), "{name}");
        tenant_spent = recorded;
    }
    tenant_spent
}

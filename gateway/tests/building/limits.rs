//! Budgets, rates and limits on calls under way: whose calls they count together, and what callers and operators hear.
//!
//! Not here: what a call costs (`money`) and streams that use more than was held (`overruns`).

use aegis_domain::{EstimateKind, Reason};
use aegis_testkit::{Answer, Ask, Building, Gate, Plan, Reply, Script};
use serde_json::{Value, json};

use crate::GATEWAY;

/// One cent.
fn payout<'b>(house: &'b Building, agent: &str) -> Ask<'b> {
    house.agent(agent).post("/pay/v1/out").json(&json!({ "amount": 1 }))
}

async fn with(limits: &[(&str, Value)]) -> Building {
    let plan = limits.iter().fold(Plan::new().await, |plan, (pointer, value)| {
        plan.with(&format!("/tenants/acme/{pointer}"), value.clone())
    });
    plan.start(GATEWAY).await
}

#[track_caller]
fn assert_out_of(reply: &Reply, budget: &str) {
    reply.is_denied(Reason::OutOfBudget);
    assert_eq!(reply.problem()["violated-policies"], json!([budget]));
    let told = reply.header("aegis-budget").unwrap();
    assert!(told.starts_with(&format!("\"{budget}\";left=0;limit=")), "{told}");
}

#[tokio::test]
async fn a_call_must_fit_the_budgets_of_its_agent_its_team_and_its_tenant() {
    let house = with(&[
        ("budgets", json!({ "day_usd": "0.04" })),
        ("teams", json!({ "ops": { "budgets": { "day_usd": "0.03" } } })),
        ("agents/bot/team", json!("ops")),
        ("agents/bot/budgets", json!({ "day_usd": "0.02" })),
        ("agents/second-bot/team", json!("ops")),
    ])
    .await;
    let first = payout(&house, "bot").send().await;
    assert_eq!(
        first.is_ok().record().budget.unwrap().keys,
        ["agent:bot/day", "agent:bot/month", "team:ops/day", "tenant/day", "tenant/month"]
    );
    payout(&house, "bot").send().await.is_ok();
    assert_out_of(&payout(&house, "bot").send().await, "agent:bot/day");
    payout(&house, "second-bot").send().await.is_ok();
    assert_out_of(&payout(&house, "second-bot").send().await, "team:ops/day");
    // In no team.
    payout(&house, "poor-bot").send().await.is_ok();
    assert_out_of(&payout(&house, "poor-bot").send().await, "tenant/day");
    assert_eq!(house.upstream().count(), 4);
}

#[tokio::test]
async fn a_tools_budget_is_spent_by_all_who_call_it() {
    let house = with(&[("tools/pay/budgets", json!({ "day_usd": "0.02" }))]).await;
    payout(&house, "bot").send().await.is_ok();
    payout(&house, "second-bot").send().await.is_ok();
    assert_out_of(&payout(&house, "poor-bot").send().await, "tool:pay/day");
    house.agent("bot").get("/open/v1/things").send().await.is_ok();
}

#[tokio::test]
async fn a_rolling_window_is_kept_over_a_restart() {
    let rolling = json!({ "rolling": { "hours": 24, "usd": "0.02" } });
    let mut house = with(&[("agents/bot/budgets", rolling)]).await;
    payout(&house, "bot").send().await.is_ok();
    house.stop().await;
    house.start_again().await;
    payout(&house, "bot").send().await.is_ok();
    let refused = payout(&house, "bot").send().await;
    assert_out_of(&refused, "agent:bot/24h");
    let told = refused.header("aegis-budget").unwrap();
    let wait_s: u64 = told.rsplit_once(";t=").unwrap().1.parse().unwrap();
    // What is spent in an hour leaves the window with it.
    assert!((23 * 3_600 - 1..=24 * 3_600).contains(&wait_s), "{told}");
}

#[tokio::test]
async fn only_so_many_calls_are_under_way_at_once() {
    for (pointer, of) in [("agents/bot", "agent"), ("tools/pay", "tool"), ("", "tenant")] {
        let pointer = format!("{pointer}/in_flight");
        let house = with(&[(pointer.trim_start_matches('/'), json!(2))]).await;
        let gate = Gate::default();
        house.upstream().on("/v1/out", Script::Late(gate.clone(), Answer::default()));
        let under_way =
            futures::future::join(payout(&house, "bot").send(), payout(&house, "bot").send());
        let meanwhile = async {
            house.upstream().reached(2).await;
            let refused = payout(&house, "bot").send().await;
            refused.is_denied(Reason::TooManyInFlight);
            assert_eq!(refused.status.as_u16(), 429);
            assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
            let name = format!("aegis-{of}-in-flight");
            let policy = format!("\"{name}\";q=2;qu=\"concurrent-requests\"");
            assert_eq!(refused.header("ratelimit-policy"), Some(policy));
            assert_eq!(refused.header("ratelimit"), Some(format!("\"{name}\";r=0")));
            assert_eq!(refused.problem()["violated-policies"], json!([name]));
            gate.open(10);
        };
        let ((one, two), ()) = futures::join!(under_way, meanwhile);
        for done in [one, two] {
            done.is_ok();
            house.journal().outcome(done.decision_id()).await;
        }
        // A call is under way until it is settled, which comes after its outcome is on record.
        while payout(&house, "bot").send().await.status.as_u16() == 429 {}
    }
}

#[tokio::test]
async fn calls_that_were_under_way_when_the_gateway_was_killed_are_so_no_longer() {
    let mut house = with(&[("agents/bot/in_flight", json!(1))]).await;
    let gate = Gate::default();
    house.upstream().on("/v1/out", Script::Late(gate.clone(), Answer::default()));
    let (lost, ()) = futures::join!(payout(&house, "bot").try_begin(), async {
        house.upstream().reached(1).await;
        house.shoot();
    });
    drop(lost);
    house.ended().await;
    gate.open(10);
    house.start_again().await;
    payout(&house, "bot").send().await.is_ok();
}

#[tokio::test]
async fn rates_of_a_tenant_and_a_tool_count_every_agent() {
    for (pointer, of) in [("rates", "tenant"), ("tools/open/rates", "tool")] {
        let house = with(&[(pointer, json!({ "per_hour": 2 }))]).await;
        for agent in ["bot", "second-bot"] {
            house.agent(agent).get("/open/v1/things").send().await.is_ok();
        }
        let refused = house.agent("poor-bot").get("/open/v1/things").send().await;
        refused.is_denied(Reason::RateLimited);
        let name = format!("aegis-{of}-hour");
        assert_eq!(refused.header("ratelimit-policy"), Some(format!("\"{name}\";q=2;w=3600")));
        let told = refused.header("ratelimit").unwrap();
        assert!(told.starts_with(&format!("\"{name}\";r=0;t=")), "{told}");
        let wait = refused.header("retry-after").unwrap();
        assert!(told.ends_with(&format!("t={wait}")), "Retry-After is not earlier: {told} {wait}");
    }
}

#[tokio::test]
async fn an_answer_says_what_is_left_and_keeps_what_the_upstream_said() {
    let house = with(&[]).await;
    let answer = Answer::default().header("ratelimit", "\"theirs\";r=5;t=1");
    house.upstream().on("/v1/things", Script::Answer(answer));
    let reply = house.agent("hasty-bot").get("/open/v1/things").send().await;
    let lines: Vec<_> = reply.is_ok().headers.get_all("ratelimit").iter().collect();
    assert_eq!(lines[0], "\"theirs\";r=5;t=1");
    assert!(lines[1].to_str().unwrap().starts_with("\"aegis-agent-hour\";r=1;t="), "{lines:?}");
    assert!(reply.header("aegis-budget").is_none(), "no budget limits this agent");

    let left = |reply: &Reply| reply.header("aegis-budget").unwrap();
    let paid = payout(&house, "poor-bot").send().await;
    assert!(left(paid.is_ok()).starts_with("\"agent:poor-bot/day\";left=20000;limit=30000;t="));
    // A call that is not let through has cost nothing.
    let held = house.agent("poor-bot").post("/pay/v1/out").json(&json!({ "amount": 501 }));
    let held = held.send().await;
    held.is_denied(Reason::ApprovalNeeded);
    assert!(left(&held).starts_with("\"agent:poor-bot/day\";left=20000;"), "{}", left(&held));
}

/// The lines about warnings that the gateway wrote from its journal.
fn warnings(house: &Building) -> Vec<Value> {
    let text = std::fs::read_to_string(house.data().join("decisions.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == "budget_warning").collect()
}

#[tokio::test]
async fn a_budget_past_its_warning_is_told_to_callers_each_time_and_to_operators_once() {
    let limits = json!({ "day_usd": "0.03", "warn_at": "60%" });
    let mut house = with(&[("agents/bot/budgets", limits)]).await;
    let is_warned = |reply: &Reply| {
        reply.is_ok();
        reply.header("aegis-budget").unwrap().ends_with(";warned")
    };
    assert!(!is_warned(&payout(&house, "bot").send().await));
    let crossing = payout(&house, "bot").send().await;
    assert!(is_warned(&crossing));
    assert_eq!(crossing.record().budget.unwrap().warned, ["agent:bot/day"]);
    let after = payout(&house, "bot").send().await;
    assert!(is_warned(&after));
    assert!(after.record().budget.unwrap().warned.is_empty());
    assert_out_of(&payout(&house, "bot").send().await, "agent:bot/day");
    house.stop().await;
    let [warning] = warnings(&house).try_into().unwrap();
    assert_eq!(warning["decision_id"], crossing.decision_id().as_str());
    assert_eq!(warning["budget"], "agent:bot/day");
    assert_eq!(house.stderr().matches("a budget is past its warning").count(), 1);
}

#[tokio::test]
async fn a_soft_budget_warns_and_refuses_nothing() {
    let soft = json!({ "day_usd": "0.01", "soft": true });
    let mut house = with(&[("agents/bot/budgets", soft)]).await;
    payout(&house, "bot").send().await.is_ok();
    for _ in 0..2 {
        let over = payout(&house, "bot").send().await;
        let told = over.is_ok().header("aegis-budget").unwrap();
        assert!(told.starts_with("\"agent:bot/day\"") && told.ends_with(";warned"), "{told}");
    }
    house.stop().await;
    assert_eq!(warnings(&house).len(), 1);
}

#[tokio::test]
async fn an_estimate_that_nothing_bounds_says_so_on_record() {
    let price = json!({ "input_per_million_usd": "1", "output_per_million_usd": "10" });
    let house = with(&[("tools/model/price", price)]).await;
    for (body, kind) in [
        (json!({ "messages": [] }), EstimateKind::Soft),
        (json!({ "messages": [], "max_tokens": 10 }), EstimateKind::Ceiling),
    ] {
        let reply = house.agent("bot").post("/model/v1/chat/completions").json(&body).send().await;
        assert_eq!(reply.is_ok().record().budget.unwrap().estimate, kind, "{body}");
    }
}

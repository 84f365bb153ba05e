//! Streams that use more than was held for them: more is held, or they end and say why.
//!
//! Not here: streams that keep to their ceiling (`money`).
#![expect(clippy::print_stdout, reason = "says what was tried")]

use std::time::Duration;

use aegis_domain::{MicroUsd, Reason};
use aegis_state::{BudgetWindow, HotState as _};
use aegis_testkit::{Answering, Ask, Building, Gate, Plan, Script, Wire};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::GATEWAY;
use crate::clients::{installed, says, scripts};

/// What one event adds to the bill; the hold is for a little more than two and a half.
const MICROUSD_AN_EVENT: u64 = 4_000;
const INPUT_MICROUSD: u64 = 7;

/// A model that tells what it has used with every event, as vLLM and Gemini do.
fn events(count: u64) -> Vec<String> {
    let event = |nth: u64| {
        json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{ "index": 0, "delta": { "content": "x" }, "finish_reason": null }],
            "usage": { "prompt_tokens": INPUT_MICROUSD, "completion_tokens": nth * 400, "total_tokens": 0 },
        })
    };
    let all = (1..=count).map(|nth| event(nth).to_string());
    all.chain(["[DONE]".to_owned()]).collect()
}

/// Held at 10 micro-dollars for each of a thousand tokens, and one for each byte of the body.
fn chat<'b>(house: &'b Building, agent: &str) -> Ask<'b> {
    let body = json!({ "messages": [], "max_tokens": 1_000, "stream": true });
    house.agent(agent).post("/model/v1/chat/completions").json(&body)
}

/// Lets event after event go until the answer ends; returns what the agent got.
async fn taken(mut answering: Answering, gate: &Gate) -> String {
    let mut text = String::new();
    loop {
        gate.open(1);
        match answering.piece().await {
            Some(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
            None => return text,
        }
        if text.ends_with("}\n\n") && text.contains("event: error") {
            assert_eq!(answering.piece().await, None, "the body ends, and in order");
            return text;
        }
    }
}

async fn house(protocol: &str, budget: &str) -> Building {
    let agents = (0..4).map(|nth| format!("/tenants/acme/agents/bot-{nth}"));
    let limited = json!({ "groups": ["staff"], "budgets": { "day_usd": budget } });
    let plan = Plan::new().await.with("/tenants/acme/tools/model/protocol", json!(protocol));
    agents.fold(plan, |plan, agent| plan.with(&agent, limited.clone())).start(GATEWAY).await
}

#[tokio::test]
async fn a_stream_that_outruns_its_budget_ends_with_an_event_that_says_why() {
    for protocol in ["http1", "http2"] {
        let mut house = house(protocol, "0.02").await;
        let mut charged = 0;
        for (nth, wire) in Wire::ALL.into_iter().enumerate() {
            let agent = format!("bot-{nth}");
            let gate = Gate::default();
            let script = Script::Events(events(500), gate.clone());
            house.upstream().on("/v1/chat/completions", script);
            let answering = chat(&house, &agent).over(wire).begin().await;
            let id = answering.decision_id();
            let text = taken(answering, &gate).await;
            let (before, last) = text.split_once("event: error\ndata: ").unwrap();
            let problem: Value = serde_json::from_str(last.trim_end()).unwrap();
            assert_eq!(problem["reason"], "BudgetExhausted", "{protocol} {wire:?}");
            assert_eq!(problem["decision_id"], id.as_str());
            assert_eq!(problem["error"]["type"], "aegis_refusal");
            let got = u64::try_from(before.matches("data: {").count()).unwrap();
            assert!(before.ends_with("\n\n") && got >= 3, "{before}");

            let outcome = house.journal().outcome(id).await;
            let used = INPUT_MICROUSD + got * MICROUSD_AN_EVENT;
            assert_eq!(outcome.reason, Reason::BudgetExhausted, "{protocol} {wire:?}");
            assert_eq!((outcome.status, outcome.cost), (Some(200), MicroUsd::new(used)));
            assert!(outcome.cost > outcome.est_cost);
            charged += used;
        }
        house.stop().await;
        assert_spent(&house, charged).await;
    }
}

#[tokio::test]
async fn a_stream_goes_on_while_more_can_be_held() {
    let mut house = house("http1", "1").await;
    let gate = Gate::default();
    house.upstream().on("/v1/chat/completions", Script::Events(events(12), gate.clone()));
    let answering = chat(&house, "bot-0").begin().await;
    let id = answering.decision_id();
    let text = taken(answering, &gate).await;
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let outcome = house.journal().outcome(id).await;
    let used = INPUT_MICROUSD + 12 * MICROUSD_AN_EVENT;
    assert_eq!((outcome.reason, outcome.cost), (Reason::Allowed, MicroUsd::new(used)));
    house.stop().await;
    assert_spent(&house, used).await;
}

#[tokio::test]
async fn an_agent_that_leaves_a_stream_pays_what_it_used_where_that_is_more_than_was_held() {
    let mut house = house("http1", "1").await;
    let gate = Gate::default();
    house.upstream().on("/v1/chat/completions", Script::Events(events(500), gate.clone()));
    let mut answering = chat(&house, "bot-0").begin().await;
    let id = answering.decision_id();
    for _ in 0..7 {
        gate.open(1);
        answering.piece().await.unwrap();
    }
    drop(answering);
    let outcome = house.journal().outcome(id).await;
    assert_eq!(outcome.reason, Reason::AgentGone);
    let cost = outcome.cost.micro_usd();
    assert!(cost >= INPUT_MICROUSD + 7 * MICROUSD_AN_EVENT, "{cost}");
    house.stop().await;
    assert_spent(&house, cost).await;
}

/// The SDKs raise the last event as their own error, with our words.
#[tokio::test]
async fn model_sdks_understand_the_last_event() {
    let Some(clients) = installed() else { return };
    let model = |plan: Plan| {
        plan.policy(
            "acme",
            "messages: { type: array }",
            "messages: { type: array }\n      model: { type: string }",
        )
        .policy("acme", "[/v1/chat/completions]", "[/v1/chat/completions, /v1/messages]")
    };
    let agents = ["bot", "second-bot"].map(|agent| format!("/tenants/acme/agents/{agent}/budgets"));
    let limited = json!({ "day_usd": "0.02" });
    let plan = model(Plan::new().await);
    let plan = agents.iter().fold(plan, |plan, agent| plan.with(agent, limited.clone()));
    let house = plan.start(GATEWAY).await;
    for (name, base, path, agent) in [
        ("openai_overrun", "/v1", "/v1/chat/completions", "bot"),
        ("anthropic_overrun", "", "/v1/messages", "second-bot"),
    ] {
        let gate = Gate::default();
        house.upstream().on(path, Script::Events(events(20_000), gate.clone()));
        let mut sdk = Command::new(clients.join("venv/bin/python"));
        sdk.arg(scripts().join("agent.py")).arg(name).arg("unused");
        sdk.env("AEGIS_BASE_URL", format!("http://127.0.0.1:{}/model{base}", house.port()));
        sdk.env("AEGIS_TOKEN", house.agent(agent).token());
        let feeding = async {
            loop {
                gate.open(1);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let said = tokio::select! { said = says(&mut sdk) => said, () = feeding => String::new() };
        assert!(
            said.contains("A limit was reached") && said.contains("BudgetExhausted"),
            "{name}: {said}"
        );
        println!("{name}: {said}");
    }
}

/// The tenant has spent this, nothing is held, and the chain that says so verifies.
async fn assert_spent(house: &Building, microusd: u64) {
    let state = house.state();
    assert!(state.open_holds().is_empty());
    let now = house.journal().records().last().unwrap().head.ts;
    let now = aegis_domain::Timestamp::from_unix_ns(now);
    let budget = Building::budget("acme", None, BudgetWindow::Day);
    let spend = state.spend(&budget, now).await.unwrap();
    assert_eq!((spend.spent.micro_usd(), spend.held), (microusd, MicroUsd::ZERO));
    crate::evidence::assert_verified(house);
}

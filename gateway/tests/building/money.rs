//! What a call may cost is held before it goes out, and what it did cost is charged however it ends.
//!
//! Not here: kill -9 (`kill.rs`).

use aegis_audit_chain::record::Usage;
use aegis_domain::{MicroUsd, Reason};
use aegis_state::{BudgetWindow, HotState as _};
use aegis_testkit::{Answer, Ask, Building, Gate, Script};
use bytes::Bytes;
use serde_json::json;

use crate::house;

fn payout<'b>(house: &'b Building, agent: &str) -> Ask<'b> {
    house.agent(agent).post("/pay/v1/out").json(&json!({ "amount": 1 }))
}

#[tokio::test]
async fn a_budget_covers_what_it_covers_and_no_more() {
    let house = house().await;
    for _ in 0..3 {
        let record = payout(&house, "poor-bot").send().await.is_ok().record();
        assert_eq!(record.budget.unwrap().held, MicroUsd::new(10_000));
    }
    let reply = payout(&house, "poor-bot").send().await;
    reply.is_denied(Reason::OutOfBudget);
    // Not 429: a budget comes back in hours, and SDKs would hammer.
    assert_eq!(reply.status.as_u16(), 403);
    payout(&house, "bot").send().await.is_ok();
    assert_eq!(house.upstream().count(), 4);
}

#[tokio::test]
async fn a_budget_is_never_overdrawn_by_calls_at_the_same_time() {
    let house = house().await;
    let gate = Gate::default();
    house.upstream().on("/v1/out", Script::Late(gate.clone(), Answer::default()));
    let asks = (0..12).map(|_| payout(&house, "poor-bot").send());
    let opened = async {
        house.upstream().reached(3).await;
        gate.open(12);
    };
    let (replies, ()) = futures::join!(futures::future::join_all(asks), opened);
    let paid = replies.iter().filter(|reply| reply.status.is_success()).count();
    assert_eq!((paid, house.upstream().count()), (3, 3));
    for refused in replies.iter().filter(|reply| !reply.status.is_success()) {
        refused.is_denied(Reason::OutOfBudget);
    }
}

#[tokio::test]
async fn a_refused_call_gives_back_what_it_held() {
    let house = house().await;
    for _ in 0..5 {
        let ask = house.agent("poor-bot").post("/pay/v1/out").json(&json!({ "amount": 501 }));
        ask.send().await.is_denied(Reason::ApprovalNeeded);
    }
    payout(&house, "poor-bot").send().await.is_ok();
}

#[tokio::test]
async fn an_upstream_that_refuses_costs_nothing() {
    let house = house().await;
    for status in [400, 404, 429, 500, 503] {
        house.upstream().on("/v1/out", Script::Answer(Answer::status(status)));
        let reply = payout(&house, "poor-bot").send().await;
        assert_eq!(reply.status.as_u16(), status);
        let outcome = house.journal().outcome(reply.decision_id()).await;
        assert_eq!((outcome.status, outcome.cost), (Some(status), MicroUsd::ZERO));
    }
    let mut house = house;
    house.stop().await;
    assert_spent(&house, "poor-bot", 0).await;
}

#[tokio::test]
async fn a_call_that_never_left_costs_nothing() {
    let mut house = house().await;
    house.upstream().on("/v1/out", Script::Slam);
    let reply = payout(&house, "poor-bot").send().await;
    reply.is_refused(Reason::UpstreamFailed);
    let sent = house.journal().outcome(reply.decision_id()).await;
    // It was sent and never answered: nobody knows, so it counts.
    assert_eq!(sent.cost, MicroUsd::new(10_000));
    let reply = house.agent("poor-bot").get("/guarded/x").send().await;
    let unsent = house.journal().outcome(reply.decision_id()).await;
    assert_eq!(unsent.cost, MicroUsd::ZERO);
    house.stop().await;
    assert_spent(&house, "poor-bot", 10_000).await;
}

const ESTIMATE_OUT: u64 = 10_000;

fn chat(house: &Building) -> (Ask<'_>, u64) {
    let body = json!({ "messages": [], "max_tokens": 1_000, "stream": true });
    // A byte is a token at most, at one micro-dollar each; a thousand tokens come out at ten.
    let estimate = u64::try_from(body.to_string().len()).unwrap() + ESTIMATE_OUT;
    (house.agent("bot").post("/model/v1/chat/completions").json(&body), estimate)
}

fn chunks() -> Vec<String> {
    vec![
        json!({ "choices": [{ "delta": { "content": "hi" } }] }).to_string(),
        json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 9 } })
            .to_string(),
        "[DONE]".to_owned(),
    ]
}

#[tokio::test]
async fn a_streamed_answer_is_charged_by_the_usage_it_tells() {
    let mut house = house().await;
    let gate = Gate::default();
    gate.open(3);
    house.upstream().on("/v1/chat/completions", Script::Events(chunks(), gate));
    let (ask, estimate) = chat(&house);
    let reply = ask.send().await;
    reply.is_ok();
    assert_eq!(reply.record().budget.unwrap().held.micro_usd(), estimate);
    let outcome = house.journal().outcome(reply.decision_id()).await;
    assert_eq!(outcome.usage, Some(Usage { tokens_in: 7, tokens_out: 9 }));
    assert_eq!(outcome.cost, MicroUsd::new(7 + 90));
    assert_eq!(house.upstream().last().header("accept-encoding").as_deref(), Some("identity"));
    house.stop().await;
    assert_spent(&house, "bot", 97).await;
}

#[tokio::test]
async fn an_agent_that_hangs_up_in_the_middle_is_charged_the_estimate() {
    let mut house = house().await;
    let gate = Gate::default();
    gate.open(1);
    house.upstream().on("/v1/chat/completions", Script::Events(chunks(), gate));
    let (ask, estimate) = chat(&house);
    let mut answering = ask.begin().await;
    let id = answering.decision_id();
    answering.piece().await.unwrap();
    drop(answering);
    let outcome = house.journal().outcome(id).await;
    assert_eq!((outcome.reason, outcome.cost.micro_usd()), (Reason::AgentGone, estimate));
    house.stop().await;
    assert_spent(&house, "bot", estimate).await;
}

#[tokio::test]
async fn an_upstream_that_dies_in_the_middle_is_charged_the_estimate() {
    let mut house = house().await;
    let gate = Gate::default();
    let piece = Bytes::from(format!("data: {}\n\n", chunks()[0]));
    house.upstream().on("/v1/chat/completions", Script::BreakOff(piece.clone(), gate.clone()));
    let (ask, estimate) = chat(&house);
    let mut answering = ask.begin().await;
    let id = answering.decision_id();
    assert_eq!(answering.piece().await.unwrap(), piece);
    gate.open(1);
    assert!(answering.whole().await.broken.is_some(), "half an answer must not look whole");
    let outcome = house.journal().outcome(id).await;
    assert_eq!((outcome.reason, outcome.cost.micro_usd()), (Reason::UpstreamFailed, estimate));
    house.stop().await;
    assert_spent(&house, "bot", estimate).await;
}

/// Agent and tenant have spent this, nothing is held, and the chain that says so verifies.
async fn assert_spent(house: &Building, agent: &str, microusd: u64) {
    let state = house.state();
    assert!(state.open_holds().is_empty());
    let now = house.journal().records().last().unwrap().head.ts;
    let now = aegis_domain::Timestamp::from_unix_ns(now);
    for agent in [Some(agent), None] {
        let budget = Building::budget("acme", agent, BudgetWindow::Month);
        let spend = state.spend(&budget, now).await.unwrap();
        assert_eq!((spend.spent.micro_usd(), spend.held), (microusd, MicroUsd::ZERO), "{agent:?}");
    }
    crate::evidence::assert_verified(house);
}

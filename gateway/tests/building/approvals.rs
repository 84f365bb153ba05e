//! A call that waits for a person: asked in the region's ledger, granted there, and let through once as it was granted.
//!
//! Not here: who may answer (`control/tests`), and whom the policy asks (`refusals`). Invariant: the agent, the person and
//! the gateway speak over sockets, as they would.

use aegis_domain::{Effect, Reason};
use aegis_testkit::{Building, Plan, Reply};
use serde_json::{Value, json};

use crate::GATEWAY;
use crate::evidence::assert_verified;

async fn house() -> Building {
    Plan::new().await.keeping_the_registry().start(GATEWAY).await
}

/// A payment that policy wants a person for, perhaps with what one granted.
async fn pay(house: &Building, amount: u64, approval: Option<&str>) -> Reply {
    let bot = house.agent("bot");
    let call = bot.post("/pay/v1/out").json(&json!({ "amount": amount }));
    let call = match approval {
        Some(id) => call.header("aegis-approval-id", id),
        None => call,
    };
    call.send().await
}

fn asked(house: &Building) -> Vec<Value> {
    house.region().get("/v1/approvals?standing=open")["approvals"].as_array().unwrap().clone()
}

/// Answers as a person who is let in by a session.
fn answer(house: &Building, id: &str, verb: &str) {
    house.region().post(&format!("/v1/approvals/acme/{id}/{verb}"), json!({}));
}

#[tokio::test]
async fn a_call_asks_is_granted_and_goes_out_once_as_it_was_granted() {
    let mut house = house().await;
    let first = pay(&house, 501, None).await;
    first.is_denied(Reason::ApprovalNeeded);
    let id = first.header("aegis-approval-id").unwrap();
    let [waiting] = asked(&house).try_into().unwrap();
    assert_eq!((&waiting["id"], &waiting["agent"]), (&json!(id), &json!("bot")));
    assert_eq!(waiting["rules"], json!(["high-value"]));
    assert_eq!(waiting["params_hash"], first.problem()["approval"]["params_hash"]);

    // Before anyone answered, and with another amount after, it waits anew.
    pay(&house, 501, Some(&id)).await.is_denied(Reason::ApprovalNeeded);
    answer(&house, &id, "grant");
    pay(&house, 502, Some(&id)).await.is_denied(Reason::ApprovalNeeded);
    assert_eq!(house.upstream().connections(), 0);

    let granted = pay(&house, 501, Some(&id)).await;
    granted.is_ok();
    let record = granted.record();
    assert_eq!((record.decision, record.approval_id.unwrap().as_str()), (Effect::Allow, &*id));
    let names = house.upstream().last().everything();
    assert!(!names.contains("aegis-approval-id"), "{names}");
    let used = house.region().get(&format!("/v1/approvals/acme/{id}"));
    assert_eq!(used["standing"], "consumed");
    assert_eq!(used["used_by"], waiting["raised_by"]);

    pay(&house, 501, Some(&id)).await.is_denied(Reason::ApprovalNeeded);
    house.stop().await;
    assert_verified(&house);
}

#[tokio::test]
async fn of_many_calls_that_show_one_grant_one_goes_out() {
    let house = house().await;
    let id = pay(&house, 501, None).await.header("aegis-approval-id").unwrap();
    answer(&house, &id, "grant");
    let calls = (0..12).map(|_| pay(&house, 501, Some(&id)));
    let replies = futures::future::join_all(calls).await;
    let through = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(through, 1);
}

#[tokio::test]
async fn a_denied_call_and_a_made_up_grant_let_nothing_through() {
    let house = house().await;
    let id = pay(&house, 501, None).await.header("aegis-approval-id").unwrap();
    answer(&house, &id, "deny");
    pay(&house, 501, Some(&id)).await.is_denied(Reason::ApprovalNeeded);
    for made_up in ["01J9ZK3V5QD6Y8M2W4C7N0R1TB", "yes", ""] {
        pay(&house, 501, Some(made_up)).await.is_denied(Reason::ApprovalNeeded);
    }
    // What policy denies is denied with any grant.
    let bot = house.agent("bot");
    let over = bot.post("/pay/v1/out").json(&json!({ "amount": 1001 }));
    over.header("aegis-approval-id", &id).send().await.is_denied(Reason::PolicyDenied);
    assert_eq!(house.upstream().connections(), 0);
}

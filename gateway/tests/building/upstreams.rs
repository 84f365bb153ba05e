//! What an upstream sees of a call, what it must never see, and what happens when it fails.
//!
//! Not here: money (`money`) and redaction (`redaction`).

use std::collections::BTreeSet;

use aegis_domain::{MicroUsd, Reason};
use aegis_testkit::{Answer, Gate, Plan, Script, Wire};
use serde_json::json;

use crate::{GATEWAY, house};

#[tokio::test]
async fn the_upstream_gets_its_own_credential_and_never_the_agents_token() {
    let house = house().await;
    let bot = house.agent("bot");
    let cases = [
        (bot.post("/pay/v1/out").json(&json!({ "amount": 1 })), "authorization", "Bearer "),
        (bot.post("/model/v1/chat/completions").json(&json!({})), "x-api-key", ""),
    ];
    for (ask, header, prefix) in cases {
        let ask = ask
            .header("x-api-key", "the agent's own")
            .header("aegis-override", "please")
            .header("proxy-authorization", "Basic abc")
            .header("x-forwarded-for", "203.0.113.9")
            .header("connection", "keep-alive");
        ask.send().await.is_ok();
        let received = house.upstream().last();
        let credential = format!("{prefix}upstream-credential-0451");
        assert_eq!(received.header(header), Some(credential));
        let signature = bot.token().rsplit('.').next().unwrap().to_owned();
        assert!(!received.everything().contains(&signature));
        let names: Vec<_> = received.headers.keys().map(|name| name.as_str()).collect();
        assert!(!names.iter().any(|name| name.starts_with("aegis-")), "{names:?}");
        for gone in ["x-forwarded-for", "proxy-authorization"] {
            assert_eq!(received.header(gone), None, "{gone}");
        }
    }
}

#[tokio::test]
async fn a_brokered_token_is_gone_even_where_no_credential_takes_its_place() {
    let house = house().await;
    for wire in Wire::ALL {
        house.agent("bot").get("/open/x").over(wire).send().await.is_ok();
        assert_eq!(house.upstream().last().header("authorization"), None);
    }
}

#[tokio::test]
async fn an_agents_own_credential_is_kept_when_its_token_comes_apart() {
    let house = house().await;
    let bot = house.agent("bot");
    let token = format!("Bearer {}", bot.token());
    let ask = bot.get("/open/x").bearer("the-agents-own").header("aegis-authorization", &token);
    ask.send().await.is_ok();
    let received = house.upstream().last();
    assert_eq!(received.header("authorization").as_deref(), Some("Bearer the-agents-own"));
    assert!(!received.everything().contains(&token));
}

#[tokio::test]
async fn tenants_and_tools_never_share_a_connection() {
    let house = house().await;
    let mut seen = BTreeSet::new();
    for tenant in ["acme", "other"] {
        for tool in ["open-h1", "open-h2", "open"] {
            for _ in 0..2 {
                let bot = house.agent("bot").of(tenant);
                bot.get(&format!("/{tool}/x")).send().await.is_ok();
            }
            let calls = house.upstream().calls();
            let [.., one, two] = calls.as_slice() else { unreachable!("two calls were made") };
            assert_eq!(one.connection, two.connection, "{tenant} {tool}");
            assert!(seen.insert(one.connection), "{tenant} {tool} shares a connection");
        }
    }
}

#[tokio::test]
async fn an_agents_trace_goes_on_and_a_broken_one_begins_anew() {
    let house = house().await;
    let bot = house.agent("bot");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ask = bot.get("/open/x").without("traceparent").header("traceparent", parent);
    let record = ask.send().await.is_ok().record();
    let received = house.upstream().last().header("traceparent").unwrap();
    assert_eq!(received, record.trace.unwrap().header());
    assert_eq!(received.split('-').nth(1), parent.split('-').nth(1));
    assert_ne!(received.split('-').nth(2), parent.split('-').nth(2), "the gateway is a span");

    let broken = parent.replace("4bf92f35", "00-00-00");
    let ask = bot.get("/open/x").without("traceparent").header("traceparent", &broken);
    let record = ask.send().await.is_ok().record();
    let received = house.upstream().last().header("traceparent").unwrap();
    assert_eq!(received, record.trace.unwrap().header());
    assert!(!received.contains("2b7"), "{received}");
}

#[tokio::test]
async fn an_upstream_that_cannot_be_had_is_named_and_costs_nothing() {
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let price = json!({ "per_call_usd": "0.01" });
    let plan = Plan::new().await;
    let plain = |host: &str, port: u16, address: &str| {
        json!({
            "upstream": format!("http://{host}:{port}"), "resolve": [address],
            "addresses": ["127.0.0.0/8"], "price": price.clone(), "protocol": "http1",
        })
    };
    let mut unknown_host = plain("open.test", port, "127.0.0.1");
    unknown_host.as_object_mut().unwrap().remove("resolve");
    let mut untrusted = json!({
        "upstream": format!("https://open.test:{}", plan.upstream().port()),
        "resolve": ["127.0.0.1"], "addresses": ["127.0.0.1"], "price": price.clone(),
    });
    let wrong_name = {
        untrusted["ca_file"] = json!("ca.pem");
        let mut wrong = untrusted.clone();
        wrong["upstream"] = json!(format!("https://else.test:{}", plan.upstream().port()));
        untrusted.as_object_mut().unwrap().remove("ca_file");
        wrong
    };
    let plan = plan
        .tool("gone", plain("open.test", port, "127.0.0.1"))
        .tool("unknown", unknown_host)
        .tool("untrusted", untrusted)
        .tool("misnamed", wrong_name)
        .policy("acme", "hosts: [open.test]", "hosts: [open.test, else.test]");
    let house = plan.start(GATEWAY).await;
    for (tool, reason) in [
        ("gone", Reason::UpstreamUnreachable),
        ("unknown", Reason::UpstreamUnresolved),
        ("untrusted", Reason::UpstreamTls),
        ("misnamed", Reason::UpstreamTls),
    ] {
        let ask = house.agent("bot").post(&format!("/{tool}/x")).json(&json!({ "text": "a" }));
        let reply = ask.send().await;
        reply.is_refused(reason);
        let outcome = house.journal().outcome(reply.decision_id()).await;
        assert_eq!((outcome.reason, outcome.cost), (reason, MicroUsd::ZERO), "{tool}");
    }
    assert_eq!(house.upstream().count(), 0);
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up() {
    let plan = Plan::new().await;
    let plan = ["open-h1", "open-h2"].into_iter().fold(plan, |plan, tool| {
        plan.with(&format!("/tenants/acme/tools/{tool}/read_timeout"), json!("300ms"))
    });
    let house = plan.start(GATEWAY).await;
    house.upstream().on("/silent", Script::Late(Gate::default(), Answer::default()));
    for tool in ["open-h1", "open-h2"] {
        let reply = house.agent("bot").get(&format!("/{tool}/silent")).send().await;
        reply.is_refused(Reason::UpstreamTimeout);
        assert_eq!(reply.status.as_u16(), 504, "{tool}");
    }
}

#[tokio::test]
async fn a_call_is_never_sent_twice_and_never_raw() {
    let house = house().await;
    let note = json!({ "text": "SSN 123-45-6789" });
    let warm = || house.agent("bot").post("/care/v1/notes").json(&note);
    warm().send().await.is_ok();
    // The kept connection is closed the moment the next call's head arrives on it.
    house.upstream().on("/v1/slam", Script::Slam);
    let reply = house.agent("bot").post("/care/v1/slam").json(&note).send().await;
    reply.is_refused(Reason::UpstreamFailed);
    let slammed = house.upstream().calls().iter().filter(|call| call.target == "/v1/slam").count();
    assert_eq!(slammed, 1, "a write is not sent again");
    warm().send().await.is_ok();
    for call in house.upstream().calls() {
        assert!(!call.everything().contains("123-45-6789"));
    }
}

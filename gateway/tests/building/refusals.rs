//! Who is turned away, why, and that each of them is told and recorded.
//!
//! Not here: malformed HTTP (`probes`) and money (`money`). Invariant: none of these calls reaches an upstream.

use aegis_domain::{Effect, Jti, OrgId, Reason, Timestamp, TokenUse, Ttl};
use aegis_identity::{Claims, SigningKey};
use aegis_testkit::Wire;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::house;

#[tokio::test]
async fn a_call_without_a_believable_token_is_refused() {
    let house = house().await;
    let bot = || house.agent("bot");
    let now = |offset_s: i64| {
        let issued = bot().identity().issued_at.unwrap().unix_s();
        Timestamp::from_unix_s(issued.checked_add_signed(offset_s).unwrap())
    };
    let with = |change: Box<dyn FnOnce(&mut Claims) + '_>| bot().claims(change).get("/open/x");
    let stranger = aegis_identity::mint(&SigningKey::from_seed([7; 32]), bot().identity()).unwrap();
    let cases = [
        (bot().get("/open/x").without("authorization"), Reason::TokenMissing),
        (bot().get("/open/x").bearer("nonsense"), Reason::TokenMalformed),
        (bot().get("/open/x").bearer(&stranger), Reason::TokenKeyUnknown),
        (bot().get("/open/x").bearer(&tampered(&bot().token())), Reason::TokenSignature),
        (with(Box::new(|c| c.expires_at = now(-60))), Reason::TokenExpired),
        (with(Box::new(|c| c.not_before = Some(now(60)))), Reason::TokenNotYetValid),
        (with(Box::new(|c| c.audience = vec!["https://other.test".into()])), Reason::TokenAudience),
        (with(Box::new(|c| c.issuer = "https://other.test".into())), Reason::TokenIssuer),
        (with(Box::new(|c| c.expires_at = now(86_400))), Reason::TokenClaims),
        (with(Box::new(|c| c.org = OrgId::parse("evil").unwrap())), Reason::AgentUnknown),
        (bot().of("nobody").get("/open/x"), Reason::AgentUnknown),
        (house.agent("stranger").get("/open/x"), Reason::AgentUnknown),
        (house.agent("retired-bot").get("/open/x"), Reason::AgentUnknown),
    ];
    for (ask, reason) in cases {
        let reply = ask.send().await;
        reply.is_denied(reason);
        let status = if reason == Reason::AgentUnknown { 403 } else { 401 };
        assert_eq!(reply.status.as_u16(), status, "{reason:?}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
        assert_eq!(reply.problem().get("rules"), None, "a stranger learns no rules");
    }
    assert_eq!(house.upstream().connections(), 0);
}

/// The same token with another agent under its signature.
fn tampered(token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let payload = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let payload = String::from_utf8(payload).unwrap().replace("\"bot\"", "\"second-bot\"");
    format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(payload), parts[2])
}

#[tokio::test]
async fn two_tokens_are_a_contradiction() {
    let house = house().await;
    let bot = house.agent("bot");
    let ask = bot.get("/open/x").header("authorization", &format!("Bearer {}", bot.token()));
    ask.send().await.is_denied(Reason::MalformedRequest);
}

#[tokio::test]
async fn a_token_for_one_call_is_good_for_one_call() {
    let house = house().await;
    let bot = house.agent("bot").claims(|claims| claims.token_use = TokenUse::Once);
    bot.get("/open/x").send().await.is_ok();
    for wire in Wire::ALL {
        let record = bot.get("/open/x").over(wire).send().await.is_denied(Reason::TokenReplayed);
        assert_eq!(record.token_use, Some(TokenUse::Once));
    }
    assert_eq!(house.upstream().count(), 1);
}

#[tokio::test]
async fn a_bound_token_is_good_for_its_first_user_only() {
    let house = house().await;
    let bot = house.agent("bot");
    bot.get("/open/x").send().await.is_ok();
    bot.get("/open/x").from("127.0.0.2").send().await.is_denied(Reason::TokenReplayed);
    bot.get("/open/x").send().await.is_ok();
    // Another token of the same agent may be used from there.
    let elsewhere = bot.claims(|claims| claims.jti = Jti::parse("another").unwrap());
    elsewhere.get("/open/x").from("127.0.0.2").send().await.is_ok();
    assert_eq!(house.upstream().count(), 3);
}

#[tokio::test]
async fn a_call_nobody_can_read_is_refused() {
    let house = house().await;
    let bot = || house.agent("bot");
    let json = |text: &str| bot().post("/open/x").body("application/json", text.to_owned());
    let cases = [
        (bot().get("/nothing/x"), 404, Reason::UnknownTool),
        (bot().get("/"), 404, Reason::UnknownTool),
        (bot().get("/open/a/../b"), 400, Reason::MalformedRequest),
        (bot().get("/open/a%2fb"), 400, Reason::MalformedRequest),
        (bot().get("/open//b"), 400, Reason::MalformedRequest),
        (json("{"), 400, Reason::UnreadableBody),
        (json(r#"{"text":"a","text":"b"}"#), 400, Reason::UnreadableBody),
        (json(r#"["text"]"#), 400, Reason::UnreadableBody),
        (bot().post("/open/x?text=a").json(&json!({ "text": "b" })), 400, Reason::UnreadableBody),
        (json("{}").header("content-encoding", "br"), 415, Reason::UnsupportedEncoding),
        (json("{}").header("content-type", "text/plain"), 400, Reason::MalformedRequest),
    ];
    for (at, (ask, status, reason)) in cases.into_iter().enumerate() {
        let reply = ask.send().await;
        assert_eq!(reply.status.as_u16(), status, "case {at}: {}", reply.text());
        reply.is_denied(reason);
    }
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn what_the_policy_does_not_grant_is_refused_by_name() {
    let house = house().await;
    let bot = house.agent("bot");

    let forbidden = bot.post("/open/x").json(&json!({ "text": "forbidden" })).send().await;
    let record = forbidden.is_denied(Reason::PolicyDenied);
    let problem = forbidden.problem();
    assert_eq!(problem["detail"], "this text is forbidden");
    assert_eq!(problem["rules"], json!(["forbidden-text"]));
    assert_eq!(record.rules[0].as_str(), "forbidden-text");
    assert_eq!(forbidden.status.as_u16(), 403);
    let version = record.policy.unwrap().version.to_string();
    assert_eq!(forbidden.header("aegis-policy-version"), Some(version));

    let unknown = bot.post("/open/x").json(&json!({ "other": 1 })).send().await;
    unknown.is_denied(Reason::PolicyDenied);

    let ungranted = bot.post("/model/v2/other").json(&json!({})).send().await;
    ungranted.is_refused(ungranted.record().reason);
    assert_eq!(ungranted.record().decision, Effect::Deny);
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn a_call_that_needs_a_person_says_so_and_waits() {
    let house = house().await;
    let reply = house.agent("bot").post("/pay/v1/out").json(&json!({ "amount": 501 })).send().await;
    let record = reply.is_denied(Reason::ApprovalNeeded);
    assert_eq!((reply.status.as_u16(), record.decision), (403, Effect::ApprovalNeeded));
    let approval = record.approval_id.unwrap();
    assert_eq!(reply.header("aegis-approval-id").as_deref(), Some(approval.as_str()));
    assert_eq!(reply.problem()["approval"]["routes"], json!(["chief"]));
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn a_tenant_of_another_region_is_sent_home() {
    let house = house().await;
    let reply = house.agent("bot").of("abroad").get("/open/x").send().await;
    reply.is_denied(Reason::WrongRegion);
    assert_eq!(reply.status.as_u16(), 421);
    assert_eq!(reply.problem()["home"], "https://gw.us-east-1.building.test");
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn an_address_the_tool_does_not_name_is_not_dialled() {
    let house = house().await;
    let reply = house.agent("bot").get("/guarded/x").send().await;
    reply.is_refused(Reason::AddressForbidden);
    assert_eq!(reply.status.as_u16(), 502);
    let outcome = house.journal().outcome(reply.decision_id()).await;
    assert_eq!(outcome.reason, Reason::AddressForbidden);
    assert_eq!(house.plain_upstream().connections(), 0);
}

#[tokio::test]
async fn an_agent_that_calls_too_often_is_told_when_to_come_back() {
    let house = house().await;
    let hasty = house.agent("hasty-bot");
    for _ in 0..2 {
        hasty.get("/open/x").send().await.is_ok();
    }
    let reply = hasty.get("/open/x").send().await;
    reply.is_denied(Reason::RateLimited);
    assert_eq!(reply.status.as_u16(), 429);
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!(wait >= 1 && wait <= Ttl::from_s(3_600).s_ceil(), "{wait}");
    assert_eq!(reply.header("x-should-retry"), None);
    // Another agent is not held up by it.
    house.agent("bot").get("/open/x").send().await.is_ok();
    assert_eq!(house.upstream().count(), 3);
}

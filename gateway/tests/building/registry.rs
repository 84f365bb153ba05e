//! Agents of the region's registry: enrolled, given tokens, heard by every gateway, and taken back.
//!
//! Not here: the control API by itself (`control/tests`), the modes (`modes`). Invariant: a token of the region's service
//! counts only for an agent that the registry has, on every gateway that follows it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_domain::Reason;
use aegis_testkit::{Building, Plan, Reply};
use serde_json::json;

use crate::{GATEWAY, clients};

async fn region() -> Building {
    Plan::new().await.keeping_the_registry().start(GATEWAY).await
}

/// Who calls is in the token alone.
async fn call(house: &Building, token: &str) -> Reply {
    house.agent("bot").get("/open/x").bearer(token).send().await
}

#[tokio::test]
async fn an_agent_enrols_gets_a_token_and_calls() {
    let house = region().await;
    let region = house.region();
    let agent = region.agent("rover", json!({ "attributes": { "tier": 2 } }));
    let token = region.token(&agent, false);
    let reply = call(&house, &token).await;
    reply.is_ok();
    let record = reply.record();
    assert_eq!(record.agent.unwrap().as_str(), "rover");
    assert_eq!(record.tenant.unwrap().as_str(), "acme");
    assert!(!house.upstream().last().everything().contains(&token), "a token stays here");
}

#[tokio::test]
async fn an_issuer_speaks_for_its_own_agents_and_for_no_others() {
    let house = region().await;
    let region = house.region();
    // `bot` stands in the configuration; here it is someone else's name.
    let rover = region.agent("rover", json!({}));
    house.agent("rover").get("/open/x").send().await.is_denied(Reason::AgentUnknown);
    let namesake = region.agent("bot", json!({ "scopes": [] }));
    let reply = call(&house, &region.token(&namesake, false)).await;
    reply.is_ok();
    region.post("/v1/agents/acme/bot/disable", json!({}));
    call(&house, &region.token(&rover, false)).await.is_ok();
    house.agent("bot").get("/open/x").send().await.is_ok();
}

#[tokio::test]
async fn what_is_taken_back_here_is_refused_with_the_next_call() {
    let house = region().await;
    let region = house.region();
    let agents: Vec<_> = (0..5).map(|n| region.agent(&format!("rover-{n}"), json!({}))).collect();
    let tokens: Vec<_> = agents.iter().map(|agent| region.token(agent, true)).collect();
    let plain: Vec<_> = agents.iter().map(|agent| region.token(agent, false)).collect();
    for token in &plain {
        call(&house, token).await.is_ok();
    }
    let claims = |token: &str| -> serde_json::Value {
        use base64::Engine as _;
        let payload = token.split('.').nth(1).unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        serde_json::from_slice(&engine.decode(payload).unwrap()).unwrap()
    };
    let jti = claims(&plain[0])["jti"].clone();
    region.revoke(json!({ "token": { "tenant": "acme", "jti": jti } }));
    call(&house, &plain[0]).await.is_denied(Reason::TokenRevoked);
    call(&house, &region.token(&agents[0], false)).await.is_ok();

    region.revoke(json!({ "agent": { "tenant": "acme", "id": "rover-1" } }));
    call(&house, &plain[1]).await.is_denied(Reason::TokenRevoked);

    region.post("/v1/agents/acme/rover-2/disable", json!({}));
    call(&house, &plain[2]).await.is_denied(Reason::AgentUnknown);
    assert!(region.try_token(&agents[2], false).is_err(), "and gets no other");

    // A key takes with it what is bound to it.
    let bound_to = claims(&tokens[3])["cnf"]["jkt"].clone();
    region.revoke(json!({ "key": { "kid": bound_to } }));
    call(&house, &tokens[3]).await.is_denied(Reason::TokenRevoked);
    call(&house, &plain[4]).await.is_ok();

    // What is issued in a later second counts again, so the issuer's own agent has its token before.
    let bot = house.agent("bot");
    region.revoke(json!({ "tenant": { "id": "acme" } }));
    call(&house, &plain[4]).await.is_denied(Reason::TokenRevoked);
    bot.get("/open/x").send().await.is_denied(Reason::TokenRevoked);
}

#[tokio::test]
async fn every_gateway_that_follows_hears_of_it() {
    let first = region().await;
    let second = Plan::new().await.following(&first).await.start(GATEWAY).await;
    let region = first.region();
    let agent = region.agent("rover", json!({}));
    let token = region.token(&agent, false);
    call(&first, &token).await.is_ok();
    let heard = until(&second, &token, None).await;
    println!("an agent, its key and its token were known elsewhere after {heard:?}");
    region.revoke(json!({ "agent": { "tenant": "acme", "id": "rover" } }));
    call(&first, &token).await.is_denied(Reason::TokenRevoked);
    let heard = until(&second, &token, Some(Reason::TokenRevoked)).await;
    println!("what was taken back was refused elsewhere after {heard:?}");
}

/// How long it takes until a call ends so. The promise is two seconds; a busy machine is given more.
async fn until(house: &Building, token: &str, refused: Option<Reason>) -> Duration {
    let begun = Instant::now();
    loop {
        let reply = call(house, token).await;
        let reason = reply.refused_for();
        if reason == refused {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{reason:?} instead of {refused:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_gateway_knows_what_it_knew_when_nobody_can_be_asked() {
    let mut first = region().await;
    let mut second = Plan::new().await.following(&first).await.start(GATEWAY).await;
    let region = first.region();
    let kept = region.agent("rover", json!({}));
    let gone = region.agent("goner", json!({}));
    let (kept, gone) = (region.token(&kept, false), region.token(&gone, false));
    region.revoke(json!({ "agent": { "tenant": "acme", "id": "goner" } }));
    until(&second, &gone, Some(Reason::TokenRevoked)).await;
    first.stop().await;
    second.stop().await;
    second.start_again().await;
    call(&second, &kept).await.is_ok();
    call(&second, &gone).await.is_denied(Reason::TokenRevoked);
    first.start_again().await;
    call(&first, &kept).await.is_ok();
    call(&first, &gone).await.is_denied(Reason::TokenRevoked);
    let late = first.region().agent("late", json!({}));
    until(&second, &first.region().token(&late, false), None).await;
}

#[tokio::test]
async fn a_gateway_that_heard_nothing_of_its_region_for_a_day_believes_its_keys_no_more() {
    let mut first = region().await;
    let plan = Plan::new().await.following(&first).await.with_own_clock();
    let second = plan.start(GATEWAY).await;
    if !second.has_own_clock() {
        println!("skipped: no clock of its own can be had");
        return;
    }
    let region = first.region();
    let token = region.token(&region.agent("rover", json!({})), false);
    until(&second, &token, None).await;
    first.stop().await;
    // The token has ended long ago; whose it was is known for as long as the region is believed.
    second.set_clock(&format!("+{}", 23 * 60 * 60));
    until(&second, &token, Some(Reason::TokenExpired)).await;
    second.set_clock(&format!("+{}", 25 * 60 * 60));
    until(&second, &token, Some(Reason::TokenKeyUnknown)).await;
}

#[tokio::test]
async fn who_writes_must_be_known_not_to_have_been_taken_back_a_while_ago() {
    let mut first = region().await;
    let plan = Plan::new().await.following(&first).await.with_own_clock();
    let plan = plan
        .with("/identity/revocation_lag_max", json!("1m"))
        .with("/tenants/acme/tools/plain/kind", json!("read"));
    let second = plan.start(GATEWAY).await;
    if !second.has_own_clock() {
        println!("skipped: no clock of its own can be had");
        return;
    }
    let region = first.region();
    let token = region.token(&region.agent("rover", json!({})), false);
    until(&second, &token, None).await;
    let write = || second.agent("bot").post("/open/x").bearer(&token).send();
    write().await.is_ok();
    first.stop().await;
    second.set_clock("+30");
    tokio::time::sleep(Duration::from_secs(3)).await;
    write().await.is_ok();
    second.set_clock("+90");
    let begun = Instant::now();
    while write().await.refused_for() != Some(Reason::ControlStateStale) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it still writes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.agent("bot").get("/plain/x").bearer(&token).send().await.is_ok();
    // It is heard again.
    second.set_clock("+0");
    first.start_again().await;
    let begun = Instant::now();
    while write().await.refused_for().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not write again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_agents_mode_and_limits_are_those_of_its_registration() {
    let house = region().await;
    let region = house.region();
    let few = json!({ "limits": { "calls_per_minute": 2 } });
    let token = region.token(&region.agent("slow", few), false);
    call(&house, &token).await.is_ok();
    call(&house, &token).await.is_ok();
    call(&house, &token).await.is_denied(Reason::RateLimited);
    let once = region.agent("single", json!({ "mode": "once" }));
    let token = region.token(&once, false);
    call(&house, &token).await.is_ok();
    call(&house, &token).await.is_denied(Reason::TokenReplayed);
    let prover = region.agent("prover", json!({ "mode": "proof" }));
    assert!(region.try_token(&prover, false).is_err(), "its tokens are bound");
    call(&house, &region.token(&prover, true)).await.is_denied(Reason::ProofMissing);
    // More may be asked of an agent that has a token already.
    let late = region.agent("late", json!({}));
    let token = region.token(&late, false);
    call(&house, &token).await.is_ok();
    region.patch("/v1/agents/acme/late", json!({ "mode": "proof" }));
    call(&house, &token).await.is_denied(Reason::TokenMode);
}

#[tokio::test]
async fn a_limit_set_by_command_holds_for_the_next_call() {
    let house = region().await;
    let region = house.region();
    let rover = region.agent("rover", json!({ "attributes": { "team": "ops" } }));
    let token = region.token(&rover, false);
    let pay =
        || house.agent("bot").post("/pay/v1/out").bearer(&token).json(&json!({ "amount": 1 }));
    // A cent each; nothing in the configuration limits this agent.
    pay().send().await.is_ok();
    for budget in ["agent:rover/day", "team:ops/24h", "tool:pay/month", "tenant/day"] {
        region.limit(budget, 5_000);
        pay().send().await.is_denied(Reason::OutOfBudget);
        region.limit(budget, 1_000_000);
        pay().send().await.is_ok();
    }
    // A call is settled after it was answered.
    while region.spend("agent:rover/day") != (50_000, 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    region.limit("agent:rover/day", 50_000);
    pay().send().await.is_denied(Reason::OutOfBudget);
    region.adjust("agent:rover/day", -10_000);
    assert_eq!(region.spend("agent:rover/day"), (40_000, 0));
    pay().send().await.is_ok();
    pay().send().await.is_denied(Reason::OutOfBudget);
    assert_eq!(house.upstream().count(), 6);
}

#[tokio::test]
async fn a_rotated_key_signs_and_what_the_old_one_signed_still_counts() {
    let house = region().await;
    let region = house.region();
    let agent = region.agent("rover", json!({}));
    let old = region.token(&agent, false);
    region.post("/v1/keys", json!({ "lead_s": 0 }));
    let new = region.token(&agent, false);
    let kid = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(kid(&old), kid(&new), "another key signs");
    call(&house, &new).await.is_ok();
    call(&house, &old).await.is_ok();
}

#[tokio::test]
async fn an_assertion_counts_once_also_after_a_restart() {
    let mut house = region().await;
    let region = house.region();
    let agent = region.agent("rover", json!({}));
    let assertion = region.assertion(&agent);
    region.by_assertion(&assertion, None).unwrap();
    assert!(region.by_assertion(&assertion, None).is_err());
    house.shoot();
    house.ended().await;
    house.start_again().await;
    assert!(house.region().by_assertion(&assertion, None).is_err());
}

#[tokio::test]
async fn a_stranger_is_told_where_tokens_are_had() {
    let house = region().await;
    let reply = house.agent("bot").get("/open/x").without("authorization").send().await;
    let challenge = reply.header("www-authenticate").unwrap();
    let metadata = "https://gw.building.test/.well-known/oauth-protected-resource";
    assert!(challenge.ends_with(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
    let told = house.agent("bot").get("/.well-known/oauth-protected-resource");
    let told = told.without("authorization").send().await;
    let (told, own) = (told.is_ok().json(), house.region());
    assert_eq!(told["resource"], "https://gw.building.test");
    let server = told["authorization_servers"][0].as_str().unwrap().to_owned();
    let discovered = own.get("/.well-known/oauth-authorization-server");
    assert_eq!(discovered["issuer"], server.as_str());
}

#[tokio::test]
async fn a_proof_carries_a_nonce_of_the_region_where_that_is_demanded() {
    let plan = Plan::new().await.keeping_the_registry();
    let house = plan.with("/identity/demand_nonces", json!(true)).start(GATEWAY).await;
    let agent = house.region().agent("prover", json!({ "mode": "proof" }));
    let token = house.region().token(&agent, true);
    let call = |nonce: Option<String>| {
        let uri = ("GET", "https://gw.building.test/open/x");
        let proof = agent.proof(uri, &token, nonce.as_deref());
        let ask = house.agent("bot").get("/open/x").without("authorization");
        ask.header("authorization", &format!("DPoP {token}")).header("dpop", &proof).send()
    };
    let demanded = call(None).await;
    demanded.is_denied(Reason::ProofNonce);
    assert!(demanded.header("www-authenticate").unwrap().contains("use_dpop_nonce"));
    let nonce = demanded.header("dpop-nonce").unwrap();
    call(Some(nonce.clone())).await.is_ok();
    let guess = nonce.replacen(|char: char| char.is_ascii_lowercase(), "0", 1);
    call(Some(guess)).await.is_denied(Reason::ProofNonce);
}

/// Libraries that nobody here wrote, used as their documentation says: Authlib with a bearer token, openid-client with DPoP
/// and the nonces that both servers demand.
#[tokio::test]
async fn oauth_clients_of_others_get_tokens_and_call_with_them() {
    let Some(place) = clients::installed() else { return };
    let plan = Plan::new().await.keeping_the_registry();
    let base = format!("http://127.0.0.1:{}", plan.plain_port());
    let plan = plan.with("/identity/urls", json!([base]));
    let house = plan.with("/identity/demand_nonces", json!(true)).start(GATEWAY).await;
    let agent = house.region().agent("rover", json!({}));
    let key = house.data().join("rover.pem");
    std::fs::write(&key, agent.key.to_pkcs8_pem().expose()).unwrap();
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../control/tests/clients/get_token.py");
    for (program, script) in
        [(place.join("venv/bin/python"), script), (PathBuf::from("node"), place.join("token.mjs"))]
    {
        let output = tokio::process::Command::new(&program)
            .arg(script)
            .args([house.region().url(), "acme/rover"])
            .arg(&key)
            .args(["pay:write", &format!("{base}/open/x")])
            .output();
        let output = output.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["called"], 200, "{answer}");
        println!("{}: {} token, 200", program.display(), answer["token_type"]);
    }
    assert_eq!(house.upstream().count(), 2);
}

#[tokio::test]
async fn the_control_api_is_no_upstream() {
    let plan = Plan::new().await.keeping_the_registry();
    let port = plan.control_port();
    let binding = json!({
        "upstream": format!("http://open.test:{port}"), "resolve": ["127.0.0.1"],
        "addresses": ["127.0.0.1"],
    });
    let house = plan.tool("loop", binding).start(GATEWAY).await;
    let reply = house.agent("bot").get("/loop/v1/agents").send().await;
    reply.is_refused(Reason::ProxyLoop);
}

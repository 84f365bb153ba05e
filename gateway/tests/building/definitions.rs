//! Tools and limits that the region defines, as agents find them: at the gateway that keeps the region's ledger, at one that
//! follows it, and where nobody can be asked.
//!
//! Not here: the API by itself (`control/tests`), and every rule of what is allowed (`config`). Invariant: nothing is
//! restarted for a definition, and no credential leaves for a place that its gateway does not name beside it.

use std::time::{Duration, Instant};

use aegis_control_client::ClientError;
use aegis_domain::Reason;
use aegis_testkit::{Building, Plan, Region, Reply};
use serde_json::{Value, json};

use crate::GATEWAY;
use crate::proxy::{codes, curl, says};

const CRM: &str = "/v1/tenants/acme/tools/crm";
const LIMITS: &str = "/v1/tenants/acme/limits";
/// What `lent` is, wherever it is seen.
const SECRET: &str = "upstream-credential-0451";

/// The policy knows `crm`; no file says where it is.
fn open_to_definitions(plan: Plan) -> Plan {
    let lent = |hosts: Value, tenants: Value| json!({ "file": "credential", "prefix": "Bearer ", "hosts": hosts, "tenants": tenants });
    plan.tool("crm", json!({}))
        .without("/tenants/acme/tools/crm")
        .with("/definitions", json!({ "from": "region", "addresses": ["127.0.0.1/32"] }))
        .with("/credentials/lent", lent(json!(["open.test"]), json!(["acme"])))
        .with("/credentials/others", lent(json!(["open.test"]), json!(["other"])))
}

async fn region() -> Building {
    open_to_definitions(Plan::new().await.keeping_the_registry()).start(GATEWAY).await
}

async fn follower(first: &Building) -> Building {
    open_to_definitions(Plan::new().await.following(first).await).start(GATEWAY).await
}

/// A tool at a building's plain upstream, by the name of a host, and more of it.
fn tool_at(house: &Building, host: &str, more: &str) -> Value {
    let port = house.plain_upstream().port();
    let place = "addresses: [127.0.0.1]\nresolve: [127.0.0.1]\nprotocol: http1";
    json!({ "text": format!("upstream: http://{host}:{port}\n{place}\n{more}\n") })
}

async fn call(house: &Building, agent: &str, route: &str) -> Reply {
    house.agent(agent).get(&format!("/{route}/x")).send().await
}

/// Waits until a gateway that follows answers so. The promise is two seconds; a busy machine is given more.
async fn until(house: &Building, agent: &str, refused: Option<Reason>) {
    let begun = Instant::now();
    loop {
        let reason = call(house, agent, "crm").await.refused_for();
        if reason == refused {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{reason:?} instead of {refused:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_tool_is_there_with_the_next_call_changes_with_the_next_and_is_gone_with_the_next() {
    let house = region().await;
    let region = house.region();
    call(&house, "bot", "crm").await.is_refused(Reason::UnknownTool);
    region.put(CRM, tool_at(&house, "open.test", ""));
    call(&house, "bot", "crm").await.is_ok();
    // Three cents a day are all that this agent has.
    region.put(CRM, tool_at(&house, "open.test", "price: { per_call_usd: '0.04' }"));
    call(&house, "poor-bot", "crm").await.is_denied(Reason::OutOfBudget);
    region.put(CRM, tool_at(&house, "open.test", "price: { per_call_usd: '0.01' }"));
    call(&house, "poor-bot", "crm").await.is_ok();
    region.put(CRM, tool_at(&house, "open.test", "rates: { per_hour: 1 }"));
    call(&house, "bot", "crm").await.is_ok();
    call(&house, "bot", "crm").await.is_denied(Reason::RateLimited);
    region.delete(CRM);
    call(&house, "bot", "crm").await.is_refused(Reason::UnknownTool);
    assert_eq!(house.plain_upstream().count(), 3);
}

#[tokio::test]
async fn every_gateway_that_follows_has_the_same_tools_and_keeps_them_when_nobody_can_be_asked() {
    let mut first = region().await;
    let mut second = follower(&first).await;
    let region = first.region();
    region.put(CRM, tool_at(&first, "open.test", ""));
    until(&second, "bot", None).await;
    region.put(CRM, tool_at(&first, "open.test", "price: { per_call_usd: '0.04' }"));
    until(&second, "poor-bot", Some(Reason::OutOfBudget)).await;
    first.stop().await;
    second.stop().await;
    second.start_again().await;
    call(&second, "poor-bot", "crm").await.is_denied(Reason::OutOfBudget);
    call(&second, "bot", "crm").await.is_ok();
    // The ledger knows it too, and what is withdrawn is withdrawn everywhere.
    first.start_again().await;
    call(&first, "bot", "crm").await.is_ok();
    first.region().delete(CRM);
    until(&second, "bot", Some(Reason::UnknownTool)).await;
}

#[tokio::test]
async fn a_credential_goes_to_its_host_and_for_its_tenant_and_no_further() {
    let house = region().await;
    let region = house.region();
    region.put(CRM, tool_at(&house, "open.test", "credential: lent"));
    call(&house, "bot", "crm").await.is_ok();
    let sent = house.plain_upstream().last();
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {SECRET}")));
    for (host, credential) in [("care.test", "lent"), ("open.test", "others"), ("open.test", "x")] {
        let more = format!("credential: {credential}");
        region.put(CRM, tool_at(&house, host, &more));
        call(&house, "bot", "crm").await.is_refused(Reason::DefinitionUnusable);
    }
    let told = house.stderr();
    assert!(told.contains("the credential `lent` is not for care.test"), "{told}");
    assert!(told.contains("the credential `others` is not for the tenant"), "{told}");
    assert!(!told.contains(SECRET));
    assert_eq!(house.metric("aegis_definitions{standing=\"unusable\"}").await, 1);
    let calls = house.plain_upstream().calls();
    assert_eq!(calls.len(), 1, "nothing else was sent anywhere");
}

#[tokio::test]
async fn what_may_not_be_used_is_answered_by_no_other_tool_on_no_other_way() {
    let plan = Plan::new().await.keeping_the_registry().without("/tenants/acme/tools/guarded");
    let house = open_to_definitions(plan).start(GATEWAY).await;
    let region = house.region();
    let plain = "/v1/tenants/acme/tools/plain";
    let origin = format!("http://open.test:{}/x", house.plain_upstream().port());
    let bot = house.agent("bot");
    call(&house, "bot", "plain").await.is_ok();
    assert!(codes(&says(curl(&house, &bot).arg(&origin)).await).starts_with("200"));
    // The file has such a tool, at this very place.
    region.put(plain, tool_at(&house, "open.test", "credential: others"));
    call(&house, "bot", "plain").await.is_refused(Reason::DefinitionUnusable);
    assert!(codes(&says(curl(&house, &bot).arg(&origin)).await).starts_with("503"));
    // Networks that the gateway does not name, and the clear to wherever a resolver says.
    let port = house.plain_upstream().port();
    for text in [
        "upstream: https://open.test\naddresses: [10.0.0.0/8]\n".to_owned(),
        format!("upstream: http://open.test:{port}\n"),
    ] {
        region.put(plain, json!({ "text": text }));
        call(&house, "bot", "plain").await.is_refused(Reason::DefinitionUnusable);
    }
    assert_eq!(house.plain_upstream().count(), 2);
    region.delete(plain);
    call(&house, "bot", "plain").await.is_ok();
}

#[tokio::test]
async fn a_definition_that_names_a_file_or_a_variable_is_refused_where_it_stands() {
    let house = region().await;
    let region = house.region();
    for line in ["credential: { file: credential }", "credential: { env: HOME }"] {
        let text = format!("upstream: https://open.test\n{line}\n");
        let refused = region.try_put(CRM, json!({ "text": text }));
        let Err(ClientError::Refused { status: 422, problem, .. }) = refused else {
            panic!("{line}: {refused:?}");
        };
        let mistake = &problem["diagnostics"][0];
        assert_eq!((&mistake["line"], &mistake["column"]), (&json!(2), &json!(13)), "{problem}");
    }
    call(&house, "bot", "crm").await.is_refused(Reason::UnknownTool);
}

#[tokio::test]
async fn limits_of_a_tenant_hold_with_the_next_call_and_so_does_what_comes_after_them() {
    let house = region().await;
    let region = house.region();
    region.put(CRM, tool_at(&house, "open.test", "price: { per_call_usd: '0.02' }"));
    call(&house, "bot", "crm").await.is_ok();
    region.put(LIMITS, json!({ "text": "budgets: { month_usd: '0.03' }\n" }));
    call(&house, "bot", "crm").await.is_denied(Reason::OutOfBudget);
    let known = region.get("/v1/tenants/acme/budgets/tenant%2Fmonth");
    assert_eq!(known["limit_microusd"], 30_000, "{known}");
    region.put(LIMITS, json!({ "text": "budgets: { month_usd: '1' }\n" }));
    call(&house, "bot", "crm").await.is_ok();
    region.delete(LIMITS);
    call(&house, "bot", "crm").await.is_ok();
}

#[tokio::test]
async fn a_gateway_that_goes_by_its_file_heeds_no_definition() {
    let house = Plan::new().await.keeping_the_registry().start(GATEWAY).await;
    let text = "upstream: https://nowhere.example\n";
    house.region().put("/v1/tenants/acme/tools/plain", json!({ "text": text }));
    call(&house, "bot", "plain").await.is_ok();
    assert_eq!(house.plain_upstream().count(), 1);
}

#[tokio::test]
async fn the_region_hears_which_gateways_cannot_use_what_it_defines_and_why() {
    let first = region().await;
    let _second = follower(&first).await;
    let region = first.region();
    region.put(CRM, tool_at(&first, "open.test", "credential: others"));
    let version = region.get(CRM)["version"].clone();
    let why = "the credential `others` is not for the tenant";
    let unusable = json!([{ "tenant": "acme", "tool": "crm", "version": version, "why": why }]);
    // No policy is released here: gateways tell of this all the same.
    told_by_both(&region, &unusable).await;
    region.put(CRM, tool_at(&first, "open.test", "credential: lent"));
    told_by_both(&region, &json!([])).await;
}

async fn told_by_both(region: &Region, unusable: &Value) {
    let begun = Instant::now();
    loop {
        let fleet = region.get("/v1/fleet");
        let gateways = fleet["gateways"].as_array().unwrap();
        if gateways.len() == 2 && gateways.iter().all(|it| it["unusable"] == *unusable) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{fleet}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

//! Two regions of real gateways: one authors, and the other decides by it, goes on without it, and has the last word at home.
//!
//! Not here: every way in which an author is not believed (`control/tests`). Invariant: the regions share nothing but the
//! author's feed over TLS and a token for it.

use std::fs;
use std::time::{Duration, Instant};

use aegis_control_client::{Client, Conditions};
use aegis_domain::{Reason, Secret};
use aegis_testkit::{Building, Plan, Reply};
use serde_json::{Value, json};

use crate::GATEWAY;

const TOKEN: &str = "a token that another region has, and no one else";
const LINE: &str = "/v1/policies/acme/test";

/// The region that authors, with its control API behind TLS.
async fn author() -> Building {
    let plan = Plan::new().await;
    let address = format!("127.0.0.1:{}", plan.control_port());
    let plan = plan.with(
        "/control",
        json!({
            "address": address,
            "tls": { "certificate": "gateway.pem", "key": "gateway.key" },
            "releases": { "give": { "us-east-1": { "file": "us-east-1.token" } } },
        }),
    );
    plan.file("us-east-1.token", TOKEN);
    let plan = plan.with("/tenants/acme/policy", json!({ "release": "test" }));
    let house = plan.launch(GATEWAY).await;
    assert!(house.readiness().await.contains("no release of acme/test is at hand"));
    house
}

/// A gateway of the other region.
async fn abroad() -> Plan {
    let plan = Plan::new().await;
    plan.with("/region", json!("us-east-1"))
        .with("/regions", json!({ "eu-west-1": "https://gw.eu-west-1.building.test" }))
        .with("/tenants/acme/region", json!("us-east-1"))
        .with("/tenants/acme/policy", json!({ "release": "test" }))
}

/// The one that keeps the other region's ledger, and pulls.
async fn pulling(author: &Building) -> Plan {
    let plan = abroad().await;
    plan.file("author.token", TOKEN);
    plan.file("author.pem", author.authority().pem());
    plan.file("author.jwks.json", &author.published_keys().await.to_jwks_json());
    let pull = json!({
        "region": "eu-west-1",
        "url": url(author),
        "token": { "file": "author.token" },
        "ca_file": "author.pem",
        "region_keys": "author.jwks.json",
    });
    plan.keeping_the_registry().with("/control/releases", json!({ "pull": pull }))
}

fn url(author: &Building) -> String {
    format!("https://127.0.0.1:{}", author.plan().control_port())
}

fn admin(author: &Building) -> Client {
    let token = fs::read_to_string(author.data().join("control/admin.token")).unwrap();
    Client::new(&url(author), Some(Secret::new(token)), Some(author.authority().pem())).unwrap()
}

fn push(author: &Building, text: &str) {
    let files = json!({ "files": [{ "name": "acme.policy.yaml", "text": text }] });
    let once = Conditions::default();
    admin(author).post(&format!("{LINE}/versions"), &files, &once).unwrap();
}

fn activate(author: &Building, active: u32) -> Instant {
    let seen = admin(author).get(&format!("{LINE}/pointer")).unwrap().etag;
    let seen = Conditions { version: seen.as_deref(), once: None };
    admin(author).put(&format!("{LINE}/pointer"), &json!({ "active": active }), &seen).unwrap();
    Instant::now()
}

async fn says(house: &Building, text: &str) -> Reply {
    house.agent("bot").post("/open/x").json(&json!({ "text": text })).send().await
}

async fn called(house: &Building, token: &str) -> Reply {
    house.agent("bot").get("/open/x").bearer(token).send().await
}

async fn until_live(house: &Building, version: u64) {
    let begun = Instant::now();
    while house.metric("aegis_policy_version{tenant=\"acme\"}").await != version {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", house.stderr());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_one_region_activates_decides_in_the_other_which_goes_on_and_back_without_it() {
    // Arrange: an author, a region that pulls, and a gateway of it that keeps nothing but what it follows.
    let author = author().await;
    let text = author.plan().text("acme.policy.yaml");
    push(&author, &text);
    push(&author, &text.replace("eq: forbidden", "eq: harmless"));
    let place = json!({ "home": "eu-west-1", "allowed": ["eu-west-1", "us-east-1"] });
    let once = Conditions::default();
    admin(&author).put("/v1/tenants/acme/residency", &place, &once).unwrap();
    activate(&author, 1);
    let keeps = pulling(&author).await.start(GATEWAY).await;
    until_live(&keeps, 1).await;
    let follows = abroad().await.following(&keeps).await.start(GATEWAY).await;

    // Act and assert: both decide by the author's version, under its number.
    for house in [&author, &keeps, &follows] {
        until_live(house, 1).await;
        says(house, "forbidden").await.is_denied(Reason::PolicyDenied);
        assert_eq!(says(house, "harmless").await.is_ok().record().policy.unwrap().version, 1);
    }
    let activated = activate(&author, 2);
    until_live(&follows, 2).await;
    println!("a gateway of the other region decides by it after {:?}", activated.elapsed());
    says(&follows, "harmless").await.is_denied(Reason::PolicyDenied);
    let told = keeps.region().get("/v1/fleet");
    assert_eq!(told["author"]["region"], "eu-west-1");
    assert_eq!(keeps.metric("aegis_author_silent{author=\"eu-west-1\"}").await, 0);

    let rover = keeps.region().agent("rover", json!({}));
    let token = keeps.region().token(&rover, false);
    called(&keeps, &token).await.is_ok();

    // The author is gone: the other region goes back by itself, and stays there through a restart.
    author.shoot();
    let region = keeps.region();
    region.post(&format!("{LINE}/pin"), json!({}));
    region.post(&format!("{LINE}/rollback"), json!({}));
    until_live(&follows, 1).await;
    says(&follows, "forbidden").await.is_denied(Reason::PolicyDenied);
    region.revoke(json!({ "agent": { "tenant": "acme", "id": "rover" } }));
    called(&keeps, &token).await.is_denied(Reason::TokenRevoked);
    let mut keeps = keeps;
    keeps.stop().await;
    keeps.start_again().await;
    until_live(&keeps, 1).await;
    let pointer = keeps.region().get(&format!("{LINE}/pointer"));
    let held = [&pointer["pinned"], &pointer["author"]["active"], &pointer["author"]["epoch"]];
    assert_eq!(held, [&json!(true), &json!(2), &json!(2)], "{pointer}");
    let why = || keeps.region().get("/v1/fleet")["author"]["why"].clone();
    let begun = Instant::now();
    while why() == Value::Null {
        assert!(begun.elapsed() < Duration::from_secs(60), "it says nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The author is back, and the pin is taken off.
    let mut author = author;
    author.ended().await;
    author.start_again().await;
    keeps.region().post(&format!("{LINE}/unpin"), json!({}));
    until_live(&follows, 2).await;
    until_live(&keeps, 2).await;
}

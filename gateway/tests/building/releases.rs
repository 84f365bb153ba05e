//! Policies that the region releases: followed by gateways, kept by them, and refused where they are not fit.
//!
//! Not here: what a follower believes (`control/tests`), and rollouts by files (`policies`). Invariant: the region's node and the
//! gateways are real; bundles are compiled and signed as the control API does it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_audit_chain::Hash;
use aegis_control::{Control, ControlConfig, Serving, SubjectSources, serve};
use aegis_control_client::{Client, Conditions};
use aegis_document::Document;
use aegis_domain::{Reason, Region, Secret, TenantId};
use aegis_identity::{KeySet, SigningKey};
use aegis_ledger::{
    Action, Choice, Environment, LineKey, Outcome, ReleaseAct, Residency, TenantAct,
};
use aegis_policy::{CompileContext, SIGNATURE_TYPE, Snapshot};
use aegis_raft_store::Wish;
use aegis_registry::Actor;
use aegis_testkit::{Building, Plan};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::GATEWAY;

/// The one node of a region that releases policies.
struct Author {
    url: String,
    key: SigningKey,
    home: TempDir,
    control: Arc<Control>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

impl Author {
    fn start() -> Self {
        // A runtime of its own: tests ask it from within another.
        let made = std::thread::spawn(|| {
            let runtime = Runtime::new().unwrap();
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (home, key) = (tempfile::tempdir().unwrap(), SigningKey::from_seed([9; 32]));
            let config = ControlConfig {
                data_dir: home.path().to_owned(),
                region: Region::parse("eu-west-1").unwrap(),
                issuer: url.clone(),
                audiences: vec!["https://gw.building.test".to_owned()],
                subjects: SubjectSources::default(),
                region_key: key.clone(),
            };
            let on_fatal = Arc::new(|_: &_| std::process::abort());
            let control = runtime.block_on(Control::alone(config, on_fatal)).unwrap();
            let control = Arc::new(control);
            let (stop, stopped) = oneshot::channel();
            runtime.spawn(serve(listener, Arc::clone(&control), Serving::Plain, async move {
                stopped.await.ok();
            }));
            Self { url, key, home, control, stop: Some(stop), runtime: Some(runtime) }
        });
        made.join().unwrap()
    }

    fn act(&self, act: ReleaseAct) -> Outcome {
        self.propose(Action::Release(act))
    }

    fn propose(&self, action: Action) -> Outcome {
        let by = Actor::parse("tester").unwrap();
        let wish = Wish { by, action, once: None };
        let (node, handle) = (self.control.node().clone(), self.runtime.as_ref().unwrap().handle());
        let handle = handle.clone();
        let proposed = std::thread::spawn(move || handle.block_on(node.propose(wish)));
        proposed.join().unwrap().unwrap().unwrap()
    }

    /// Compiles a policy, signs it, and makes the next version of it.
    fn publish(&self, policy: &str) -> u32 {
        self.publish_signed(policy, &self.key)
    }

    fn publish_signed(&self, policy: &str, key: &SigningKey) -> u32 {
        let ledger = self.control.node().ledger();
        let number = ledger.releases().line(&line()).map_or(Some(1), |line| line.next()).unwrap();
        drop(ledger);
        let document = Document::parse("acme.policy.yaml", policy).unwrap();
        let version = u64::from(number);
        let snapshot = Snapshot::compile(&[document], CompileContext { version }).unwrap();
        let source = Hash::of(snapshot.source_digest().as_bytes());
        let bundle = snapshot.bundle().clone();
        let jwt = key.sign(SIGNATURE_TYPE, bundle.signing_payload().as_bytes());
        let content = bundle.signed(jwt).archive().unwrap().bytes;
        let bundle = Hash::of(&content);
        self.act(ReleaseAct::Store { digest: bundle, content });
        self.act(ReleaseAct::Publish { line: line(), number, bundle, source });
        number
    }

    fn activate(&self, active: u32) -> Instant {
        let seen = self.epoch();
        let choice = Choice { active, shadow: None };
        self.act(ReleaseAct::Activate { line: line(), seen, choice });
        Instant::now()
    }

    fn epoch(&self) -> u64 {
        let ledger = self.control.node().ledger();
        let pointer = ledger.releases().line(&line()).and_then(|line| line.pointer());
        pointer.map_or(0, |pointer| pointer.epoch)
    }

    /// A gateway that decides by what this node releases.
    async fn gateway(&self, name: &str) -> Plan {
        let plan = Plan::new().await;
        let keys = KeySet::default().with(self.key.public_key().clone()).unwrap();
        plan.file("region.jwks.json", &keys.to_jwks_json());
        // The node and its files go; the gateway starts again without them.
        let token = fs::read_to_string(self.home.path().join("follower.token")).unwrap();
        plan.file("follower.token", &token);
        plan.with("/name", json!(name))
            .with(
                "/registry",
                json!({
                    "url": self.url,
                    "token": { "file": "follower.token" },
                    "region_keys": "region.jwks.json",
                }),
            )
            .with("/tenants/acme/policy", json!({ "release": "test" }))
    }

    fn admin(&self) -> Client {
        let token = fs::read_to_string(self.home.path().join("admin.token")).unwrap();
        Client::new(&self.url, Some(Secret::new(token)), None).unwrap()
    }

    /// Says in which region `acme` may be, and in no other.
    fn place(&self, region: &str) {
        let (tenant, home) = (line().tenant, Region::parse(region).unwrap());
        let seen = {
            let ledger = self.control.node().ledger();
            ledger.tenants().get(&tenant).map_or(0, |placed| placed.changed)
        };
        let residency = Residency { allowed: BTreeSet::from([home.clone()]), home };
        self.propose(Action::Tenant(TenantAct::Place { tenant, seen, residency }));
    }

    fn fleet(&self) -> Value {
        self.admin().get("/v1/fleet").unwrap().body["gateways"].clone()
    }
}

impl Drop for Author {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)))
                .join()
                .unwrap();
        }
    }
}

fn line() -> LineKey {
    let tenant = TenantId::parse("acme").unwrap();
    LineKey { tenant, environment: Environment::parse("test").unwrap() }
}

/// The testkit's policy of `acme`.
async fn policy() -> String {
    Plan::new().await.text("acme.policy.yaml")
}

/// What `/open` denies in the first version, and in the second.
fn stricter(policy: &str) -> String {
    policy.replace("eq: forbidden", "eq: harmless")
}

async fn says(house: &Building, text: &str) -> aegis_testkit::Reply {
    house.agent("bot").post("/open/x").json(&json!({ "text": text })).send().await
}

async fn live(house: &Building) -> u64 {
    house.metric("aegis_policy_version{tenant=\"acme\"}").await
}

/// Waits until a version decides.
async fn until_live(house: &Building, version: u32) {
    let begun = Instant::now();
    while live(house).await != u64::from(version) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", house.stderr());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_activation_decides_on_every_gateway_that_follows_and_a_rollback_too() {
    let (author, policy) = (Author::start(), policy().await);
    let (first, second) = (author.publish(&policy), author.publish(&stricter(&policy)));
    author.activate(first);
    let mut houses = Vec::new();
    for number in 0..4 {
        houses.push(author.gateway(&format!("gw-{number}")).await.start(GATEWAY).await);
    }
    for house in &houses {
        says(house, "forbidden").await.is_denied(Reason::PolicyDenied);
        let record = says(house, "harmless").await.is_ok().record();
        assert_eq!(record.policy.unwrap().version, 1);
    }
    let activated = author.activate(second);
    for house in &houses {
        until_live(house, second).await;
    }
    println!("the last of four gateways decides by an activation after {:?}", activated.elapsed());
    for house in &houses {
        says(house, "harmless").await.is_denied(Reason::PolicyDenied);
        assert_eq!(says(house, "forbidden").await.is_ok().record().policy.unwrap().version, 2);
    }
    author.activate(first);
    for house in &houses {
        until_live(house, first).await;
        says(house, "harmless").await.is_ok();
    }
    let names: BTreeSet<_> =
        author.fleet().as_array().unwrap().iter().map(|it| it["gateway"].to_string()).collect();
    assert_eq!(names.len(), 4);
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_goes_on_with_its_version_and_starts_again_with_it() {
    let (author, policy) = (Author::start(), policy().await);
    author.publish(&policy);
    author.activate(author.publish(&stricter(&policy)));
    let mut house = author.gateway("gw").await.start(GATEWAY).await;
    drop(author);
    says(&house, "harmless").await.is_denied(Reason::PolicyDenied);
    house.stop().await;
    house.start_again().await;
    let denied = says(&house, "harmless").await;
    denied.is_denied(Reason::PolicyDenied);
    assert_eq!(says(&house, "plain").await.is_ok().record().policy.unwrap().version, 2);
}

/// What the region hears of the one line of the one gateway, once that refuses a release.
async fn refused(author: &Author) -> Value {
    let begun = Instant::now();
    loop {
        let told = author.fleet()[0]["lines"][0].clone();
        if told["state"] == "refused" {
            return told;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_version_that_a_stranger_signed_is_refused_though_the_region_points_at_it() {
    let (author, policy) = (Author::start(), policy().await);
    author.activate(author.publish(&policy));
    let house = author.gateway("gw").await.start(GATEWAY).await;
    let stranger = SigningKey::from_seed([8; 32]);
    author.activate(author.publish_signed(&stricter(&policy), &stranger));
    let told = refused(&author).await;
    assert_eq!((&told["version"], &told["released"]["version"]), (&json!(1), &json!(2)));
    says(&house, "forbidden").await.is_denied(Reason::PolicyDenied);
    assert_eq!(live(&house).await, 1);
}

#[tokio::test]
async fn what_the_region_releases_here_no_more_decides_here_no_more_also_after_a_restart() {
    let (author, policy) = (Author::start(), policy().await);
    author.activate(author.publish(&policy));
    let mut house = author.gateway("gw").await.start(GATEWAY).await;
    says(&house, "plain").await.is_ok();
    author.place("us-east-1");
    let begun = Instant::now();
    while says(&house, "plain").await.refused_for() != Some(Reason::DefaultDeny) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it still decides");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(author);
    house.stop().await;
    house.launch_again();
    let said = house.readiness().await;
    assert!(said.contains("no release of acme/test is at hand"), "{said}");
}

#[tokio::test]
async fn a_version_that_fails_its_tests_is_refused_and_the_region_hears_why() {
    let (author, policy) = (Author::start(), policy().await);
    author.activate(author.publish(&policy));
    let house = author.gateway("gw").await.start(GATEWAY).await;
    let wrong = policy
        + "tests:\n- name: lie\n  tool: open\n  agent: { groups: [staff] }\n  cases:\n  - { params: { text: forbidden }, expect: allow }\n";
    author.activate(author.publish(&wrong));
    let told = refused(&author).await;
    assert!(told["refused"]["why"].as_str().unwrap().contains("test `lie"), "{told}");
    assert_eq!((&told["version"], &told["released"]["version"]), (&json!(1), &json!(2)));
    says(&house, "forbidden").await.is_denied(Reason::PolicyDenied);
    assert_eq!(live(&house).await, 1);
    let listed = house.ops("GET", "/policies").await.json();
    let of = |it: &&Value| it["tenant"] == "acme";
    let acme = listed["policies"].as_array().unwrap().iter().find(of).unwrap().clone();
    assert!(acme["refused"].as_str().unwrap().contains("test `lie"), "{acme}");
}

#[tokio::test]
async fn a_gateway_without_a_release_is_not_ready_and_says_why_and_an_export_lets_it_start() {
    let (author, policy) = (Author::start(), policy().await);
    let waits = author.gateway("waits").await.launch(GATEWAY).await;
    let said = waits.readiness().await;
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    assert!(said.contains("no release of acme/test is at hand"), "{said}");
    says(&waits, "plain").await.is_denied(Reason::DefaultDeny);
    author.activate(author.publish(&policy));
    until_live(&waits, 1).await;
    assert!(waits.is_ready().await);

    let export = author.admin().get("/v1/releases/export?tenants=acme").unwrap().body;
    let plan = author.gateway("new").await.with("/policy_export", json!("export.jsonl"));
    plan.file("export.jsonl", &format!("{}\n", export["releases"][0].as_str().unwrap()));
    drop(author);
    let fresh = plan.start(GATEWAY).await;
    assert_eq!(live(&fresh).await, 1);
    says(&fresh, "forbidden").await.is_denied(Reason::PolicyDenied);
}

#[tokio::test]
async fn a_rollout_moves_on_by_what_gateways_report_and_ends_with_the_candidate_for_all() {
    let (author, policy) = (Author::start(), policy().await);
    author.activate(author.publish(&policy));
    let candidate = author.publish(&stricter(&policy));
    let house = author.gateway("gw").await.start(GATEWAY).await;
    let stages = json!([{ "share": "100%", "calls_min": 3 }]);
    let stages = serde_json::from_value(stages).unwrap();
    author.act(ReleaseAct::Start { line: line(), seen: author.epoch(), candidate, stages });
    let begun = Instant::now();
    while says(&house, "plain").await.is_ok().record().policy.unwrap().version != 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", house.stderr());
    }
    assert_eq!(live(&house).await, 1, "it is not the stable version yet");
    for _ in 0..3 {
        says(&house, "harmless").await.is_denied(Reason::PolicyDenied);
    }
    until_live(&house, candidate).await;
    let ledger = author.control.node().ledger();
    let pointer = ledger.releases().line(&line()).unwrap().pointer().unwrap();
    assert_eq!((pointer.choice.active, pointer.by.as_str()), (2, "rollout driver"));
}

#[tokio::test]
async fn a_gateway_that_keeps_the_ledger_decides_by_what_is_pushed_to_it_and_activated() {
    let plan = Plan::new().await.keeping_the_registry();
    let text = plan.text("acme.policy.yaml");
    let plan = plan.with("/tenants/acme/policy", json!({ "release": "test" }));
    let mut house = plan.launch(GATEWAY).await;
    assert!(house.readiness().await.contains("no release of acme/test is at hand"));

    let region = house.region();
    let files = json!({ "files": [{ "name": "acme.policy.yaml", "text": text }] });
    region.post("/v1/policies/acme/test/versions", files);
    let token = fs::read_to_string(house.data().join("control/admin.token")).unwrap();
    let admin = Client::new(region.url(), Some(Secret::new(token)), None).unwrap();
    let path = "/v1/policies/acme/test/pointer";
    let first = Conditions { version: Some("\"0\""), once: None };
    admin.put(path, &json!({ "active": 1 }), &first).unwrap();
    until_live(&house, 1).await;
    assert!(house.is_ready().await);
    says(&house, "forbidden").await.is_denied(Reason::PolicyDenied);
    house.stop().await;
    house.start_again().await;
    assert_eq!(live(&house).await, 1);
}

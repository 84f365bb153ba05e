//! Exports of releases: written by a voter as releases change, and what a gateway begins with that finds nobody.
//!
//! Not here: exports in a file (`building/releases`). Invariant: the gateway that begins has an empty disk, and the voter is
//! gone before it starts.

use aegis_audit_ship::{Address, Bucket};
use aegis_buckets::Moto;
use aegis_control_client::{Client, Conditions};
use aegis_domain::{Reason, Secret};
use aegis_testkit::{Building, Plan, Reply};
use serde_json::{Value, json};

use crate::{GATEWAY, PATIENCE, address, folder, plan, s3};

const DIR: &str = "releases/eu-west-1";

/// Where exports lie: as a configuration names it, and as a test opens it.
#[derive(Clone)]
struct Store {
    to: Value,
    opened: Address,
}

impl Store {
    fn s3(port: u16, place: &str) -> Self {
        Self { to: s3(port, place), opened: address(port, place) }
    }

    fn folder(path: &std::path::Path) -> Self {
        Self { to: json!({ "to": path }), opened: folder(path) }
    }

    /// The same with the store under another member's name.
    fn from(&self) -> Value {
        let mut from = self.to.clone();
        from["from"] = from.as_object_mut().unwrap().remove("to").unwrap();
        from
    }

    async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&Bucket) -> T + Send + 'static) -> T {
        let address = self.opened.clone();
        // Off the runtime, because the bucket's client has one of its own.
        let asked = tokio::task::spawn_blocking(move || ask(&Bucket::open(&address).unwrap()));
        asked.await.unwrap()
    }

    async fn generations(&self) -> Vec<u64> {
        let mut names = self.ask(|bucket| bucket.names(DIR).unwrap_or_default()).await;
        names.sort();
        let number = |name: &String| name.strip_suffix(".jsonl").unwrap().parse().unwrap();
        names.iter().map(number).collect()
    }

    async fn read(&self, generation: u64) -> String {
        let key = format!("{DIR}/{generation:020}.jsonl");
        let bytes = self.ask(move |bucket| bucket.read(&key).unwrap().unwrap()).await;
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    async fn write(&self, generation: u64, text: &str) {
        let (key, bytes) = (format!("{DIR}/{generation:020}.jsonl"), text.as_bytes().to_vec());
        self.ask(move |bucket| bucket.create(&key, bytes).map(drop).unwrap()).await;
    }

    /// The newest with something in it: what was pushed and not activated is exported by an empty one.
    async fn after(&self, generation: u64) -> u64 {
        let begun = std::time::Instant::now();
        loop {
            let newest = self.generations().await.pop().unwrap_or(0);
            if newest > generation && !self.read(newest).await.is_empty() {
                return newest;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing later than {generation} is exported");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

fn keys(plan: &Plan) {
    use std::os::unix::fs::PermissionsExt as _;
    plan.file("store-secret", "test");
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(plan.path("store-secret"), closed).unwrap();
}

/// A voter that exports, with two versions pushed.
async fn voter(store: &Store) -> Building {
    let plan = plan().await.keeping_the_registry();
    keys(&plan);
    let mut export = store.to.clone();
    export["every"] = json!("100ms");
    let text = plan.text("acme.policy.yaml");
    let plan = plan.with("/tenants/acme/policy", json!({ "release": "test" }));
    let house = plan.with("/control/releases", json!({ "export": export })).launch(GATEWAY).await;
    assert!(house.readiness().await.contains("no release of acme/test is at hand"));
    for text in [text.clone(), text.replace("eq: forbidden", "eq: harmless")] {
        let files = json!({ "files": [{ "name": "acme.policy.yaml", "text": text }] });
        house.region().post("/v1/policies/acme/test/versions", files);
    }
    house
}

fn activate(house: &Building, active: u32) {
    let path = "/v1/policies/acme/test/pointer";
    let token = std::fs::read_to_string(house.data().join("control/admin.token")).unwrap();
    let admin = Client::new(house.region().url(), Some(Secret::new(token)), None).unwrap();
    let seen = admin.get(path).unwrap().etag;
    let seen = Conditions { version: seen.as_deref(), once: None };
    admin.put(path, &json!({ "active": active }), &seen).unwrap();
}

/// A gateway with an empty disk whose voter is not to be reached.
async fn alone(voter: &Building, store: &Store) -> Plan {
    let plan = plan().await.following(voter).await;
    keys(&plan);
    plan.with("/registry/url", json!("http://127.0.0.1:1"))
        .with("/tenants/acme/policy", json!({ "release": "test" }))
        .with("/policy_export", store.from())
}

async fn says(house: &Building, text: &str) -> Reply {
    house.agent("bot").post("/open/x").json(&json!({ "text": text })).send().await
}

/// What a gateway without a release says of itself.
async fn told(plan: Plan) -> String {
    let house = plan.launch(GATEWAY).await;
    let told = house.readiness().await;
    assert!(told.starts_with("HTTP/1.1 503"), "{told}");
    says(&house, "harmless").await.is_denied(Reason::DefaultDeny);
    told
}

async fn begins_with_the_newest_that_is_as_it_was_signed([store, empty, forged]: [Store; 3]) {
    // Arrange: two generations of exports; copies that are not what they are called; and nobody to ask.
    let mut voter = voter(&store).await;
    activate(&voter, 1);
    let first = store.after(0).await;
    activate(&voter, 2);
    let second = store.after(first).await;
    let (plan, again) = (alone(&voter, &store).await, alone(&voter, &store).await);
    let (lacks, distrusts) = (alone(&voter, &empty).await, alone(&voter, &forged).await);
    let lacks_too = alone(&voter, &empty).await;
    voter.stop().await;

    // Act and assert: the newest decides.
    let fresh = plan.start(GATEWAY).await;
    assert_eq!(says(&fresh, "forbidden").await.is_ok().record().policy.unwrap().version, 2);
    says(&fresh, "harmless").await.is_denied(Reason::PolicyDenied);

    // Nothing there: not ready, and it says why.
    let said = told(lacks).await;
    assert!(said.contains("no release of acme/test is at hand: no voter answers"), "{said}");

    // One with nothing in it: nobody signed that, and older ones may have been taken back.
    empty.write(second, "").await;
    let said = told(lacks_too).await;
    assert!(said.contains(&format!("generation {second}, the newest, holds no release")), "{said}");

    // An old one under a later number, and one that was changed.
    let old = store.read(first).await;
    forged.write(second + 9, &old).await;
    let said = told(distrusts).await;
    let renumbered =
        format!("generation {} holds what was released at revision {first}", second + 9);
    assert!(said.contains(&renumbered), "{said}");
    let text = store.read(second).await;
    let at = text.len() / 2;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    store.write(second + 1, &changed).await;
    let fresh = again.start(GATEWAY).await;
    assert_eq!(says(&fresh, "forbidden").await.is_ok().record().policy.unwrap().version, 2);
    assert!(fresh.stderr().contains("an export is refused; the one before is tried"));
}

#[tokio::test]
async fn a_gateway_with_nobody_reachable_begins_with_an_export_in_a_bucket_or_is_not_ready() {
    let Some(moto) = Moto::start() else { return };
    for bucket in ["exports", "empty", "forged"] {
        moto.locked_bucket(bucket, "GOVERNANCE", 1);
    }
    let store = |name: &str| Store::s3(moto.port(), &format!("{name}/eu"));
    begins_with_the_newest_that_is_as_it_was_signed(["exports", "empty", "forged"].map(store))
        .await;
}

#[tokio::test]
async fn a_gateway_with_nobody_reachable_begins_with_an_export_in_a_folder_or_is_not_ready() {
    let home = tempfile::tempdir().unwrap();
    let store = |name: &str| {
        let folder = home.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        Store::folder(&folder)
    };
    begins_with_the_newest_that_is_as_it_was_signed(["exports", "empty", "forged"].map(store))
        .await;
}

//! Policies while calls go on: versions that are swapped, refused, rolled out, asked in shadow and served.
//!
//! Not here: the gate and rollouts (`policies/engine`), what is kept for a rollback (`policies::store`).

use std::collections::BTreeMap;
use std::time::Duration;

use std::os::unix::fs::PermissionsExt as _;

use aegis_audit_chain::record::{DecisionEntry, Mode};
use aegis_domain::{AgentId, DecisionId, Effect, Reason, TenantId};
use aegis_policy::{Bundle, SIGNATURE_BYTES_MAX, SIGNATURE_TYPE};
use aegis_policy_rollout::{Bucket, Share};
use aegis_testkit::{Building, Gate, Plan, Script};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::evidence::assert_verified;
use crate::{GATEWAY, house};

const POLICY: &str = "acme.policy.yaml";
/// Changes what `/open` denies.
const STRICTER: (&str, &str) = ("eq: forbidden", "eq: harmless");

/// A building whose candidate denies other texts than its enforced version.
async fn with_candidate(candidate: Value) -> Plan {
    let plan = Plan::new().await.with("/tenants/acme/policy/candidate", candidate);
    plan.copy(POLICY, "next.yaml", STRICTER);
    plan
}

/// Looks again until there is something to see.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn live_version(house: &Building, tenant: &str) -> u64 {
    house.metric(&format!("aegis_policy_version{{tenant=\"{tenant}\"}}")).await
}

async fn version_of(house: &Building, agent: &str) -> u64 {
    let reply = house.agent(agent).get("/open/x").send().await;
    reply.is_ok().record().policy.unwrap().version
}

async fn ten_calls(house: &Building) {
    for _ in 0..10 {
        version_of(house, "second-bot").await;
    }
}

#[tokio::test]
async fn a_reload_takes_effect_with_the_next_call_and_drops_none() {
    let mut house = house().await;
    let gate = Gate::default();
    house.upstream().on("/late", Script::Late(gate.clone(), Default::default()));
    let bot = house.agent("bot");
    let late = bot.get("/open/late");
    let under_way = async { late.send().await };
    let reloads = async {
        let before = version_of(&house, "bot").await;
        for round in 0..4_u64 {
            let (from, to) = if round % 2 == 0 { STRICTER } else { (STRICTER.1, STRICTER.0) };
            house.plan().copy(POLICY, POLICY, (from, to));
            let (reloaded, ()) = tokio::join!(house.reload(), ten_calls(&house));
            assert_eq!(reloaded.status, 200, "{}", reloaded.text());
            // The text of every other round was live before and keeps its number.
            assert_eq!(version_of(&house, "bot").await, before + (round + 1) % 2);
            let forbidden =
                bot.post("/open/x").json(&json!({ "text": to.trim_start_matches("eq: ") }));
            forbidden.send().await.is_denied(Reason::PolicyDenied);
        }
        gate.open(1);
    };
    let (late, ()) = tokio::join!(under_way, reloads);
    assert_eq!(late.is_ok().record().policy.unwrap().version, 1);
    assert_eq!(house.metric("aegis_policy_activations_total{result=\"activated\"}").await, 4);
    // The other tenants' files did not change.
    assert_eq!(house.metric("aegis_policy_activations_total{result=\"unchanged\"}").await, 8);
    house.stop().await;
    assert_verified(&house);
}

#[tokio::test]
async fn sighup_reads_the_policies_again() {
    let house = house().await;
    house.plan().copy(POLICY, POLICY, STRICTER);
    house.hang_up();
    until(async || (live_version(&house, "acme").await == 2).then_some(())).await;
    assert_eq!(live_version(&house, "other").await, 1);
}

#[tokio::test]
async fn a_policy_whose_own_test_fails_does_not_go_live_and_the_old_one_stays() {
    let house = house().await;
    let test = "tests:\n- name: staff\n  tool: open\n  agent: { groups: [staff] }\n  cases:\n  \
                - { params: { text: harmless }, expect: allow }\n";
    let path = house.data().join(POLICY);
    let text = std::fs::read_to_string(&path).unwrap();
    house.plan().file(POLICY, &(text.clone() + test).replace(STRICTER.0, STRICTER.1));
    let refused = house.reload().await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let told = &refused.json()["policies"][1];
    assert_eq!(
        (&told["tenant"], &told["result"], &told["live"]),
        (&json!("acme"), &json!("tests"), &json!(1))
    );
    let line = (text + test).lines().count();
    assert!(told["mistakes"].as_str().unwrap().contains(&format!("{POLICY}:{line}:")), "{told}");

    let harmless = house.agent("bot").post("/open/x").json(&json!({ "text": "harmless" }));
    assert_eq!(harmless.send().await.is_ok().record().policy.unwrap().version, 1);
    assert!(house.is_ready().await);
    assert_eq!(house.metric("aegis_policy_activations_total{result=\"tests\"}").await, 1);
    let listed = house.ops("GET", "/policies").await.json();
    let acme = &listed["policies"][1];
    assert_eq!((&acme["live"]["version"], &acme["held"]), (&json!(1), &json!([])));
    assert!(acme["refused"].as_str().unwrap().contains("harmless") || acme["refused"].is_string());

    // Mended, the same text goes live.
    house.plan().copy(POLICY, POLICY, ("harmless }, expect: allow", "harmless }, expect: deny"));
    assert_eq!(house.reload().await.status, 200);
    let listed = house.ops("GET", "/policies").await.json();
    let acme = &listed["policies"][1];
    assert_eq!((&acme["held"][0]["version"], &acme["refused"]), (&json!(1), &Value::Null));
    assert_eq!(acme["live"]["tests"], 1);
}

#[tokio::test]
async fn a_policy_that_does_not_compile_stops_neither_calls_nor_other_tenants() {
    let mut house = house().await;
    house.plan().file(POLICY, "apiVersion: aegis.dev/v1\nkind: Policy");
    house.plan().copy("other.policy.yaml", "other.policy.yaml", STRICTER);
    let told = house.reload().await.json();
    let results: Vec<&Value> = (0..3).map(|at| &told["policies"][at]["result"]).collect();
    assert_eq!(results, ["unchanged", "invalid", "activated"], "abroad, acme, other");
    assert_eq!(version_of(&house, "bot").await, 1);
    house.reconfigure("/region", json!("EU WEST"));
    assert_eq!(house.reload().await.status, 422);
    assert_eq!(version_of(&house, "bot").await, 1);
}

#[tokio::test]
async fn a_rollout_keeps_every_agent_on_its_side_and_only_adds_to_the_candidate() {
    let names: Vec<String> = (0..12).map(|number| format!("agent-{number}")).collect();
    let candidate = json!({ "files": "next.yaml", "agents": "0%", "sample": "0%" });
    let mut plan = with_candidate(candidate).await;
    for name in &names {
        plan = plan.with(&format!("/tenants/acme/agents/{name}"), json!({ "groups": ["staff"] }));
    }
    let mut house = plan.start(GATEWAY).await;
    let listed = house.ops("GET", "/policies").await.json();
    let candidate = &listed["policies"][1]["candidate"];
    let rollout = candidate["source_sha256"].as_str().unwrap().to_owned();
    assert_eq!((&candidate["version"], &candidate["state"]), (&json!(2), &json!("running")));
    let bucket = |name: &str| {
        let tenant = TenantId::parse("acme").unwrap();
        Bucket::of_agent(&rollout, &tenant, &AgentId::parse(name).unwrap())
    };
    for share in ["0%", "40%", "70%", "100%"] {
        house.reconfigure("/tenants/acme/policy/candidate/agents", json!(share));
        assert_eq!(house.reload().await.status, 200);
        let share: Share = share.parse().unwrap();
        for name in &names {
            let expected = if share.covers(bucket(name)) { 2 } else { 1 };
            for _ in 0..2 {
                assert_eq!(version_of(&house, name).await, expected, "{name} at {share}");
            }
        }
    }
    let says = |text: &str| house.agent("agent-1").post("/open/x").json(&json!({ "text": text }));
    says("harmless").send().await.is_denied(Reason::PolicyDenied);
    says("forbidden").send().await.is_ok();
}

/// The records a candidate in shadow left, by the calls they are about.
fn shadows(house: &Building) -> BTreeMap<DecisionId, DecisionEntry> {
    let all = house.journal().decisions().into_iter();
    all.filter(|entry| entry.mode == Mode::Shadow).map(|entry| (entry.id, entry)).collect()
}

#[tokio::test]
async fn a_candidate_in_shadow_is_counted_and_recorded_and_changes_no_answer() {
    let mut house = with_candidate(json!({ "files": ["next.yaml"] })).await.start(GATEWAY).await;
    let poor = house.agent("poor-bot");
    let say = |text: &str| poor.post("/open/x").json(&json!({ "text": text }));
    let stricter = say("harmless").send().await.is_ok().record();
    let laxer = say("forbidden").send().await.is_denied(Reason::PolicyDenied);
    let same = say("plain").send().await.is_ok().record();
    let counted = async |class: &str| {
        house
            .metric(&format!("aegis_policy_shadow_total{{tenant=\"acme\",class=\"{class}\"}}"))
            .await
    };
    until(async || (counted("same").await == 1).then_some(())).await;
    assert_eq!((counted("newly_denied").await, counted("newly_allowed").await), (1, 1));

    let recorded = until(async || Some(shadows(&house)).filter(|seen| seen.len() == 2)).await;
    let (denied, allowed) = (&recorded[&stricter.id], &recorded[&laxer.id]);
    assert_eq!((denied.decision, denied.reason), (Effect::Deny, Reason::PolicyDenied));
    assert_eq!((allowed.decision, allowed.reason), (Effect::Allow, Reason::Allowed));
    assert_eq!(denied.rules[0].as_str(), "forbidden-text");
    for shadow in [denied, allowed] {
        assert_eq!(shadow.policy.as_ref().unwrap().version, 2);
        assert_eq!((&shadow.agent, &shadow.route), (&same.agent, &same.route));
    }
    for enforced in [&stricter, &laxer, &same] {
        assert_eq!(enforced.policy.as_ref().unwrap().version, 1);
    }
    assert_eq!(house.upstream().count(), 2);
    // Its record is no call: nothing is held, charged or awaited for it.
    assert!(!house.journal().outcomes().contains_key(&laxer.id));
    house.stop().await;
    assert_verified(&house);
}

#[tokio::test]
async fn a_sample_of_none_asks_the_candidate_nothing() {
    let candidate = json!({ "files": "next.yaml", "sample": "0%" });
    let mut house = with_candidate(candidate).await.start(GATEWAY).await;
    let call = house.agent("bot").post("/open/x").json(&json!({ "text": "harmless" }));
    call.send().await.is_ok();
    assert!(!house.ops("GET", "/metrics").await.text().contains("aegis_policy_shadow_total{"));
    house.stop().await;
    assert!(shadows(&house).is_empty());
}

/// More groups than any program may look through, in fewer bytes than a policy may be given.
fn endless_groups() -> Value {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let digit = |number: usize| char::from(DIGITS[number % 36]);
    let name = |n: usize| String::from_iter([digit(n / 1_296), digit(n / 36), digit(n)]);
    json!((0..20_000).map(name).collect::<Vec<_>>())
}

#[tokio::test]
async fn an_engine_error_denies_and_is_counted() {
    let agent = json!({ "groups": endless_groups() });
    let plan = Plan::new().await.with("/tenants/acme/agents/endless-bot", agent);
    let house = plan.start(GATEWAY).await;
    let reply = house.agent("endless-bot").get("/open/x").send().await;
    reply.is_denied(Reason::PolicyEngine);
    assert_eq!(house.upstream().count(), 0);
    assert_eq!(house.metric("aegis_policy_engine_errors_total{tenant=\"acme\"}").await, 1);
    assert_eq!(version_of(&house, "bot").await, 1);
}

#[tokio::test]
async fn a_candidate_that_fails_once_is_rolled_back_for_everyone() {
    let candidate = json!({ "files": "next.yaml", "agents": "100%" });
    let plan = with_candidate(candidate).await;
    let agent = json!({ "groups": endless_groups() });
    let house = plan.with("/tenants/acme/agents/endless-bot", agent).start(GATEWAY).await;
    assert_eq!(version_of(&house, "bot").await, 2);
    let reply = house.agent("endless-bot").get("/open/x").send().await;
    assert_eq!(reply.is_denied(Reason::PolicyEngine).policy.unwrap().version, 2);
    assert_eq!(version_of(&house, "bot").await, 1);
    let listed = house.ops("GET", "/policies").await.json();
    assert_eq!(listed["policies"][1]["candidate"]["state"], "rolled_back");
    // A reload is the operator's word that it may begin again.
    assert_eq!(house.reload().await.status, 200);
    assert_eq!(version_of(&house, "bot").await, 2);
}

#[tokio::test]
async fn a_bundle_is_served_signed_and_only_when_it_is_new() {
    let house = house().await;
    let path = "/bundles/acme/test.tar.gz";
    let first = house.ops("GET", path).await;
    assert_eq!((first.status, first.header("content-type")), (200, Some("application/gzip")));
    let bundle = Bundle::open(&first.body).unwrap();
    let keys = house.published_keys().await;
    let check = |jwt: &str| {
        aegis_identity::verify_jws_within(jwt, SIGNATURE_TYPE, &keys, SIGNATURE_BYTES_MAX)
    };
    bundle.verify(check).unwrap();
    let record = house.agent("bot").get("/open/x").send().await.is_ok().record();
    assert_eq!(record.policy.unwrap().bundle_sha256, bundle.digest());

    let etag = first.header("etag").unwrap();
    let known = format!("if-none-match: {etag}\r\n");
    let again = house.ops_with("GET", path, &known).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(etag)));

    house.plan().copy(POLICY, POLICY, STRICTER);
    assert_eq!(house.reload().await.status, 200);
    let newer = house.ops_with("GET", path, &known).await;
    assert_eq!(newer.status, 200);
    assert_ne!(newer.header("etag"), Some(etag));
    assert_eq!(Bundle::open(&newer.body).unwrap().manifest().version, 2);

    for absent in [
        "/bundles/acme/test.hs256.tar.gz",
        "/bundles/acme/prod.tar.gz",
        "/bundles/nobody/test.tar.gz",
        "/bundles/acme/test",
    ] {
        assert_eq!(house.ops("GET", absent).await.status, 404, "{absent}");
    }
    assert_eq!(house.ops("GET", "/policies/reload").await.status, 405);
    assert_eq!(house.ops("POST", path).await.status, 405);
}

#[tokio::test]
async fn an_exception_that_was_used_is_on_record_and_an_expired_one_lifts_nothing() {
    let exception = |expires: &str| {
        format!(
            "exceptions:\n- {{ id: migration, owner: secops, reason: moving house, \
             expires: {expires}, rules: [forbidden-text] }}\nobligations:\n"
        )
    };
    for (expires, used) in [("2099-01-01T00:00:00Z", true), ("2020-01-01T00:00:00Z", false)] {
        let plan = Plan::new().await.policy("acme", "obligations:\n", &exception(expires));
        let mut house = plan.start(GATEWAY).await;
        let call = house.agent("bot").post("/open/x").json(&json!({ "text": "forbidden" }));
        let reply = call.send().await;
        let record = match used {
            true => reply.is_ok().record(),
            false => reply.is_denied(Reason::PolicyDenied),
        };
        let lifted: Vec<&str> = record.exceptions.iter().map(|id| id.as_str()).collect();
        assert_eq!(lifted, if used { vec!["migration"] } else { Vec::new() });
        house.stop().await;
        assert_verified(&house);
    }
}

/// OPA up to 1.9.0 takes no EdDSA key in the configuration of a bundle that it polls.
#[tokio::test]
async fn a_bundle_is_served_with_a_signature_that_older_opas_verify() {
    let house = house().await;
    let path = "/bundles/acme/test.es256.tar.gz";
    let served = house.ops("GET", path).await;
    assert_eq!(served.status, 200);
    let pem = house.ops("GET", "/bundles/es256.pem").await.text();
    let key = pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    let key = STANDARD.decode(key).unwrap();
    // An uncompressed point ends the SubjectPublicKeyInfo (RFC 5480 §2.2).
    let point = &key[key.len() - 65..];
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    let bundle = Bundle::open(&served.body).unwrap();
    let check = |jwt: &str| {
        let (signed, signature) = jwt.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("JWT")));
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        key.verify(signed.as_bytes(), &signature).map_err(|_| std::fmt::Error)?;
        Ok::<_, std::fmt::Error>(URL_SAFE_NO_PAD.decode(payload).unwrap())
    };
    bundle.verify(check).unwrap();
    let plain = house.ops("GET", "/bundles/acme/test.tar.gz").await;
    assert_eq!(Bundle::open(&plain.body).unwrap().digest(), bundle.digest());
    // A signature has chance in it, and the tag stands still all the same.
    let known = format!("if-none-match: {}\r\n", served.header("etag").unwrap());
    assert_eq!(house.ops_with("GET", path, &known).await.status, 304);
    let mode = std::fs::metadata(house.data().join("keys/bundles.pem")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

//! What a call leaves behind: its record, its outcome, a promise anyone can check, and a chain that holds.
//!
//! Not here: the formats (`audit/chain`).

use aegis_audit_chain::record::{Entry, OutcomeDue};
use aegis_audit_verify::Verdict;
use aegis_domain::{Effect, Reason};
use aegis_testkit::Building;
use serde_json::{Value, json};

use crate::house;

/// The log of a gateway that is not running passes every check there is.
pub(crate) fn assert_verified(house: &Building) {
    let report = house.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{:?} {:?}", report.findings, report.gaps);
    assert_eq!(report.unsettled_count, 0, "{:?}", report.unsettled);
}

#[tokio::test]
async fn every_call_has_a_decision_and_every_forwarded_call_one_outcome() {
    let mut house = house().await;
    let bot = house.agent("bot");
    let mut forwarded = Vec::new();
    for _ in 0..3 {
        forwarded.push(bot.get("/open/x").send().await.is_ok().record());
        forwarded.push(bot.post("/care/x").json(&json!({})).send().await.is_ok().record());
        let refused = bot.post("/open/x").json(&json!({ "text": "forbidden" })).send().await;
        assert_eq!(refused.is_denied(Reason::PolicyDenied).outcome, OutcomeDue::None);
    }
    house.stop().await;
    let outcomes = house.journal().outcomes();
    assert_eq!(outcomes.len(), forwarded.len());
    for record in forwarded {
        assert_eq!(record.outcome, OutcomeDue::Follows);
        assert_eq!(record.agent.as_ref().unwrap().as_str(), "bot");
        assert_eq!(record.tenant.as_ref().unwrap().as_str(), "acme");
        let outcome = &outcomes[&record.id][0];
        assert_eq!((outcome.status, outcome.reason), (Some(200), Reason::Allowed));
    }
    assert_verified(&house);
}

#[tokio::test]
async fn an_attestation_verifies_with_the_published_keys_and_says_what_the_record_says() {
    let house = house().await;
    let keys = house.published_keys().await;
    let bot = house.agent("bot");
    let allowed = bot.post("/open/x").json(&json!({ "text": "a" })).send().await;
    let denied = bot.post("/open/x").json(&json!({ "text": "forbidden" })).send().await;
    let unknown = bot.get("/open/x").without("authorization").send().await;
    for reply in [allowed, denied, unknown] {
        let record = reply.record();
        let token = reply.header("aegis-attestation").unwrap();
        let payload = aegis_identity::verify_jws(&token, "aegis-att+jwt", &keys).unwrap();
        let promise: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(promise["jti"], record.id.as_str());
        assert_eq!(promise["dec"], record.decision.as_str());
        assert_eq!(promise["reason"], record.reason.code());
        assert_eq!(promise["sub"], json!(record.agent.as_ref().map(|agent| agent.as_str())));
        let policy = record.policy.as_ref();
        assert_eq!(promise["pbh"], json!(policy.map(|policy| policy.bundle_sha256.as_str())));
        assert_eq!(promise["ph"], json!(record.params.map(|hash| hash.to_string())));
        let records = house.journal().records();
        let sealed = records.iter().find(
            |one| matches!(&one.entry, Entry::Decision(decision) if decision.id == record.id),
        );
        assert_eq!(promise["seq"], sealed.unwrap().head.seq.to_string());
        let mut forged = token.clone();
        forged.replace_range(..1, "f");
        assert!(aegis_identity::verify_jws(&forged, "aegis-att+jwt", &keys).is_err());
    }
}

#[tokio::test]
async fn no_record_holds_what_a_call_said() {
    let mut house = house().await;
    let bot = house.agent("bot");
    let secret = "a-very-distinct-word";
    bot.post(&format!("/open/{secret}?page={secret}"))
        .json(&json!({ "text": secret }))
        .send()
        .await;
    bot.post("/care/x").json(&json!({ "text": format!("SSN 123-45-6789 {secret}") })).send().await;
    let token = bot.token();
    house.stop().await;
    let mut folders = vec![house.data().join("audit")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            for raw in [secret, "123-45-6789", &token] {
                assert!(!text.contains(raw), "{raw} in {}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_rule_in_shadow_shows_in_the_record_and_changes_nothing() {
    let house = house().await;
    let say = |text: &str| house.agent("bot").post("/open/x").json(&json!({ "text": text }));
    let watched = say("watched").send().await.is_ok().record();
    let would: Vec<_> = watched.would.iter().map(|rule| rule.as_str()).collect();
    assert_eq!((watched.decision, would), (Effect::Allow, vec!["watched-text"]));
    let plain = say("plain").send().await.is_ok().record();
    assert!(plain.would.is_empty());
}

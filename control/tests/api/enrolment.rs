//! Enrolment: a code is shown once, spent once, and only with a key that its bearer holds.
//!
//! Not here: tokens (`tokens`). Invariant: what is on disk is looked at as well as what is answered.

use aegis_control_client::{Conditions, enrolment_proof};
use aegis_identity::SigningKey;
use serde_json::json;

use crate::node::{Node, now, refusal};

#[test]
fn a_code_is_shown_once_and_kept_nowhere() {
    let node = Node::start();
    let registered = node.register("bot", json!({}));
    let code = registered["enrolment"]["code"].as_str().unwrap();
    assert!(node.get("/v1/agents/acme/bot").body["enrolment"].is_null());
    let ledger = std::fs::read(node.home.path().join("ledger/ledger.redb")).unwrap();
    let holds = |text: &str| ledger.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("\"bot\"") && !holds(code));
    let key = SigningKey::from_seed([1; 32]);
    let enrolled = node.enrol(code, &key).unwrap().body;
    assert_eq!(enrolled["agent"]["key"]["kid"], key.key_id().as_str());
    assert_eq!(enrolled["token_endpoint"], format!("{}/oauth2/token", node.url));
    assert_eq!(
        refusal(node.enrol(code, &SigningKey::from_seed([2; 32]))),
        (403, "code-unknown".into())
    );
}

#[test]
fn a_key_enrols_only_with_a_proof_by_itself_for_this_server_and_this_code() {
    let node = Node::start();
    let registered = node.register("bot", json!({}));
    let code = registered["enrolment"]["code"].as_str().unwrap().to_owned();
    let (mine, other) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
    let old = aegis_domain::Timestamp::from_unix_s(now().unix_s() - 301);
    for proof in [
        enrolment_proof(&other, &node.url, &code, now()),
        enrolment_proof(&mine, "https://elsewhere.example", &code, now()),
        enrolment_proof(&mine, &node.url, "another code", now()),
        enrolment_proof(&mine, &node.url, &code, old),
        mine.sign("JWT", b"{}"),
        String::new(),
    ] {
        let body = json!({ "code": code, "jwk": mine.public_jwk(), "proof": proof });
        let answer = node.anyone().post("/v1/enrol", &body, &Conditions::default());
        assert_eq!(refusal(answer), (403, "proof".into()));
    }
    node.enrol(&code, &mine).unwrap();
}

#[test]
fn of_many_who_bring_one_code_at_once_one_enrols() {
    let node = Node::start();
    let registered = node.register("bot", json!({}));
    let code = registered["enrolment"]["code"].as_str().unwrap();
    let won = std::thread::scope(|scope| {
        let tries: Vec<_> = (1..=20)
            .map(|seed| {
                let node = &node;
                scope.spawn(move || node.enrol(code, &SigningKey::from_seed([seed; 32])).is_ok())
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn after_a_rotation_both_keys_count_for_the_overlap() {
    let node = Node::start();
    let old = node.agent("bot", 1, json!({}));
    let rotated =
        node.post("/v1/agents/acme/bot/rotate", json!({ "overlap_s": 3_600 })).unwrap().body;
    let code = rotated["enrolment"]["code"].as_str().unwrap();
    node.token("bot", &old, &[]).unwrap();
    let new = SigningKey::from_seed([2; 32]);
    node.enrol(code, &new).unwrap();
    node.token("bot", &old, &[]).unwrap();
    node.token("bot", &new, &[]).unwrap();
    let revoke = json!({ "key": { "kid": old.key_id().as_str() } });
    node.post("/v1/revocations", revoke).unwrap();
    assert_eq!(refusal(node.token("bot", &old, &[])), (400, "invalid_client".into()));
    node.token("bot", &new, &[]).unwrap();
}

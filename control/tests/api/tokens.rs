//! The token endpoint: what is given, to whom, bound to what, and what is refused.
//!
//! Not here: other people's client libraries (`clients`). Invariant: every token that is given is verified with the
//! published keys, as a gateway does.

use aegis_control::{SubjectSource, SubjectSources};
use aegis_control_client::{ClientError, client_assertion, dpop_proof};
use aegis_domain::{Secret, Timestamp, TokenUse};
use aegis_follow::KeySource;
use aegis_identity::{
    Claims, Nonces, SigningKey, SubjectProfile, SubjectRule, TokenLimits, TrustedIssuer, Verifier,
};
use serde_json::{Value, json};

use crate::node::{GATEWAY, Node, jti, now, refusal, region_key};

pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";

fn verified(node: &Node, token: &Value) -> Claims {
    let issuer = TrustedIssuer {
        issuer: node.url.clone(),
        audiences: vec![GATEWAY.to_owned()],
        keys: node.jwks(),
    };
    let verifier = Verifier::new(vec![issuer], TokenLimits::default());
    verifier.verify(token.as_str().unwrap(), now()).unwrap().claims().clone()
}

#[test]
fn client_credentials_give_a_token_that_verifies_with_the_published_keys() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    let answer = node.token("bot", &key, &[]).unwrap().body;
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(300)));
    let claims = verified(&node, &answer["access_token"]);
    assert_eq!((claims.tenant.as_str(), claims.agent.as_str()), ("acme", "bot"));
    assert_eq!(answer["scope"], "pay:read pay:write");
    assert_eq!((claims.token_use, claims.confirmation), (TokenUse::Bound, None));
}

#[test]
fn scopes_are_narrowed_and_never_widened() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    let answer = node.token("bot", &key, &[("scope", "pay:read")]).unwrap().body;
    assert_eq!(answer["scope"], "pay:read");
    assert_eq!(verified(&node, &answer["access_token"]).scopes.len(), 1);
    let wider = node.token("bot", &key, &[("scope", "pay:read admin")]);
    assert_eq!(refusal(wider), (400, "invalid_scope".into()));
    let elsewhere = node.token("bot", &key, &[("resource", "https://elsewhere.example")]);
    assert_eq!(refusal(elsewhere), (400, "invalid_target".into()));
}

#[test]
fn an_assertion_counts_once() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    let assertion = client_assertion(&key, "acme/bot", &node.url, &jti(), now());
    node.ask(&assertion, &[], None).unwrap();
    assert_eq!(refusal(node.ask(&assertion, &[], None)), (400, "invalid_client".into()));
}

#[test]
fn a_dpop_proof_binds_the_token_to_its_key_and_counts_once() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    let other = SigningKey::from_seed([9; 32]);
    let proof = node.proof(&other);
    let ask = |proof: &str| {
        let assertion = client_assertion(&key, "acme/bot", &node.url, &jti(), now());
        node.ask(&assertion, &[], Some(proof))
    };
    let answer = ask(&proof).unwrap().body;
    assert_eq!(answer["token_type"], "DPoP");
    let bound = verified(&node, &answer["access_token"]).confirmation.unwrap().key().unwrap();
    assert_eq!(bound, other.public_key().thumbprint());
    assert_eq!(refusal(ask(&proof)).0, 400, "the proof was used");
}

#[test]
fn a_proof_without_the_nonce_is_told_it_and_uses_nothing_up() {
    let node = Node::demanding_nonces();
    let key = node.agent("bot", 1, json!({}));
    let assertion = client_assertion(&key, "acme/bot", &node.url, &jti(), now());
    let endpoint = format!("{}/oauth2/token", node.url);
    let prove = |nonce: Option<&str>| dpop_proof(&key, &endpoint, nonce, &jti(), now());
    let ask = |nonce: Option<&str>| node.ask(&assertion, &[], Some(&prove(nonce)));

    let Err(ClientError::NonceWanted { nonce }) = ask(None) else { panic!("no nonce was wanted") };
    let old = Nonces::derived(&region_key()).issue(Timestamp::from_unix_s(now().unix_s() - 600));
    let foreign = Nonces::new(&Secret::new([1; 32]), None).issue(now());
    for wrong in [old.as_str(), &foreign, "", "x"] {
        assert_eq!(refusal(ask(Some(wrong))), (400, "use_dpop_nonce".into()), "{wrong}");
    }
    let answer = ask(Some(&nonce)).unwrap();
    assert_eq!(answer.body["token_type"], "DPoP");
    let next = answer.nonce.unwrap();
    assert!([nonce, Nonces::derived(&region_key()).issue(now())].contains(&next));

    // One that has no proof is not asked for a nonce.
    node.token("bot", &key, &[]).unwrap();
}

#[test]
fn our_client_answers_a_demand_for_a_nonce_by_itself_and_once() {
    let node = Node::demanding_nonces();
    let key = node.agent("bot", 1, json!({}));
    let endpoint = format!("{}/oauth2/token", node.url);
    let assertion = client_assertion(&key, "acme/bot", &node.url, &jti(), now());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", aegis_identity::CLIENT_ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
    ];
    let made = std::cell::Cell::new(0);
    let prove = |nonce: Option<&str>| {
        made.set(made.get() + 1);
        Ok::<_, ClientError>(dpop_proof(&key, &endpoint, nonce, &jti(), now()))
    };
    node.anyone().token_proved(&form, prove).unwrap();
    assert_eq!(made.get(), 2);
    let deaf = |_: Option<&str>| prove(None);
    let answer = node.anyone().token_proved(&form, deaf);
    assert!(matches!(answer, Err(ClientError::NonceWanted { .. })), "{answer:?}");
    assert_eq!(made.get(), 4, "one retry and no more");
}

#[test]
fn an_agent_that_must_prove_its_key_gets_nothing_without_a_proof() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({ "mode": "proof" }));
    assert_eq!(refusal(node.token("bot", &key, &[])), (400, "invalid_dpop_proof".into()));
    let once = node.agent("once", 2, json!({ "mode": "once", "limits": { "token_ttl_s": 60 } }));
    let answer = node.token("once", &once, &[]).unwrap().body;
    assert_eq!(answer["expires_in"], 60);
    assert_eq!(verified(&node, &answer["access_token"]).token_use, TokenUse::Once);
}

#[test]
fn what_is_told_does_not_say_whether_an_agent_exists() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    node.register("waiting", json!({}));
    let stranger = SigningKey::from_seed([8; 32]);
    let refused = (400, "invalid_client".to_owned());
    assert_eq!(refusal(node.token("nobody", &key, &[])), refused);
    assert_eq!(refusal(node.token("waiting", &key, &[])), refused);
    assert_eq!(refusal(node.token("bot", &stranger, &[])), refused);
    node.post("/v1/agents/acme/bot/disable", json!({})).unwrap();
    assert_eq!(refusal(node.token("bot", &key, &[])), refused);
    node.post("/v1/agents/acme/bot/enable", json!({})).unwrap();
    node.token("bot", &key, &[]).unwrap();
}

#[test]
fn a_child_acts_for_its_parent_with_no_more_than_both_may() {
    let node = Node::start();
    let boss = node.agent("boss", 1, json!({}));
    let child =
        node.agent("child", 2, json!({ "parent": "boss", "scopes": ["pay:read", "mail:send"] }));
    let other = node.agent("other", 3, json!({}));
    let parents = node.token("boss", &boss, &[]).unwrap().body["access_token"].clone();
    let exchange = |id: &str, key: &SigningKey| {
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", parents.as_str().unwrap()),
            ("subject_token_type", ACCESS),
        ];
        node.token(id, key, &form)
    };
    let answer = exchange("child", &child).unwrap().body;
    assert_eq!(
        (&answer["scope"], &answer["issued_token_type"]),
        (&json!("pay:read"), &json!(ACCESS))
    );
    let claims = verified(&node, &answer["access_token"]);
    assert_eq!(claims.agent.as_str(), "child");
    assert_eq!(claims.acts_for.iter().map(|agent| agent.as_str()).collect::<Vec<_>>(), ["boss"]);
    assert_eq!(refusal(exchange("other", &other)), (400, "unauthorized_client".into()));

    let revoke = json!({ "agent": { "tenant": "acme", "id": "boss" } });
    // Tokens are stamped in whole seconds; the revocation must come in a later one.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    node.post("/v1/revocations", revoke).unwrap();
    assert_eq!(refusal(exchange("child", &child)), (400, "invalid_grant".into()));
}

#[test]
fn requests_that_are_not_in_order_are_refused_as_rfc_6749_says() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    let assertion = || client_assertion(&key, "acme/bot", &node.url, &jti(), now());
    for (more, error) in [
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (
            vec![("grant_type", "client_credentials"), ("grant_type", "client_credentials")],
            "invalid_request",
        ),
        (vec![("client_secret", "x")], "invalid_client"),
        (vec![("client_id", "acme/other")], "invalid_client"),
    ] {
        assert_eq!(
            refusal(node.ask(&assertion(), &more, None)),
            (400, error.to_owned()),
            "{more:?}"
        );
    }
    let bare = node.anyone().token(&[("grant_type", "client_credentials")], None);
    assert_eq!(refusal(bare), (400, "invalid_request".into()));
}

#[test]
fn a_workloads_own_token_is_exchanged_for_the_agent_its_rule_names() {
    // Arrange: a Kubernetes issuer whose keys are a file, and a rule for its service accounts.
    let cluster = SigningKey::from_seed([40; 32]);
    let home = tempfile::tempdir().unwrap();
    let jwks = home.path().join("cluster.json");
    std::fs::write(&jwks, json!({ "keys": [cluster.public_jwk()] }).to_string()).unwrap();
    let acme = aegis_domain::TenantId::parse("acme").unwrap();
    let rule = SubjectRule::parse("system:serviceaccount:agents:{name}", "{name}", acme).unwrap();
    let source = SubjectSource {
        profile: SubjectProfile::Kubernetes,
        name: "https://kubernetes.default.svc".into(),
        audiences: vec!["aegis".into()],
        keys: KeySource::File(jwks),
        rules: vec![rule],
    };
    let node = Node::with(home, SubjectSources { issuers: vec![source], refresh: None });
    node.register("bot", json!({}));
    let subject_token = |account: &str, signer: &SigningKey| {
        let claims = json!({
            "iss": "https://kubernetes.default.svc",
            "sub": format!("system:serviceaccount:agents:{account}"),
            "aud": ["aegis"], "iat": now().unix_s(), "exp": now().unix_s() + 120,
            "kubernetes.io": { "namespace": "agents", "serviceaccount": { "name": account } },
        });
        signer.sign("JWT", claims.to_string().as_bytes())
    };
    let exchange = |token: &str| {
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ];
        node.anyone().token(&form, None)
    };

    // Act and assert.
    let answer = exchange(&subject_token("bot", &cluster)).unwrap().body;
    let claims = verified(&node, &answer["access_token"]);
    assert_eq!((claims.agent.as_str(), claims.acts_for.len()), ("bot", 0));
    let life = answer["expires_in"].as_u64().unwrap();
    assert!(life <= 120, "{life}: no longer than what it was exchanged for");
    assert_eq!(
        refusal(exchange(&subject_token("nobody", &cluster))),
        (400, "invalid_client".into())
    );
    let forged = subject_token("bot", &SigningKey::from_seed([41; 32]));
    assert_eq!(refusal(exchange(&forged)), (400, "invalid_grant".into()));
}

//! People of an OpenID provider: its keys over HTTPS, its groups as roles, and what it must not be able to say.
//!
//! Not here: sessions (`roles`). Invariant: the provider is a server of its own, and the node reads its keys as it would
//! anybody's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aegis_control::{PeopleSource, Role, SubjectSources};
use aegis_control_client::{Client, Conditions};
use aegis_domain::Secret;
use aegis_follow::KeySource;
use aegis_identity::{ClaimPath, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::node::{Node, now, refusal};

const ISSUER: &str = "https://login.example.com";

/// Serves a key set over TLS, on a runtime of its own.
struct Provider {
    url: String,
    ca: String,
    keys: Arc<Mutex<Vec<Value>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Provider {
    fn start(keys: Vec<Value>) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://{}/keys", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::new(keys));
        let served = Arc::clone(&keys);
        runtime.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut request = [0; 4_096];
                if stream.read(&mut request).await.is_err() {
                    continue;
                }
                let body = json!({ "keys": *served.lock().unwrap() }).to_string();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/jwk-set+json\r\nconnection: close";
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.ok();
                stream.shutdown().await.ok();
            }
        });
        Self { url, ca: made.cert.pem(), keys, _runtime: runtime }
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn source(provider: &Provider) -> PeopleSource {
    let path = |name: &str| ClaimPath::new(vec![name.to_owned()]).unwrap();
    let url = provider.url.clone();
    PeopleSource {
        issuer: ISSUER.to_owned(),
        audiences: vec!["aegis".to_owned()],
        keys: KeySource::Url { url, ca: Some(provider.ca.clone()) },
        refresh: Some(Duration::from_millis(50)),
        groups: path("groups"),
        roles: [("platform".to_owned(), Role::Admin), ("risk".to_owned(), Role::Approver)].into(),
        tenants: Some(path("tenants")),
    }
}

fn node(provider: &Provider) -> Node {
    let (home, people) = (tempfile::tempdir().unwrap(), source(provider));
    Node::shaped(home, SubjectSources::default(), move |control| control.with_people(people))
}

fn claims(groups: &[&str], tenants: Value) -> Value {
    let at = now().unix_s();
    json!({
        "iss": ISSUER, "aud": "aegis", "sub": "248289761001", "iat": at, "exp": at + 300,
        "email": "alice@example.com", "email_verified": true, "groups": groups,
        "tenants": tenants,
    })
}

fn client(node: &Node, key: &SigningKey, claims: &Value) -> Client {
    let token = key.sign("JWT", claims.to_string().as_bytes());
    Client::new(&node.url, Some(Secret::new(token)), None).unwrap()
}

/// Asks until the node has read the provider's keys; it reads them on a schedule of its own.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("never: {what}");
}

#[test]
fn groups_of_the_provider_are_roles_and_changes_bear_the_verified_name() {
    let provider = Provider::start(vec![key(1).public_jwk()]);
    let node = node(&provider);
    let admin = client(&node, &key(1), &claims(&["platform", "unmapped"], json!("*")));
    eventually("the first keys", || admin.get("/v1/agents").is_ok());
    let wish = json!({ "as": "bob", "roles": ["viewer"] });
    let opened = admin.post("/v1/sessions", &wish, &Conditions::default()).unwrap().body;
    assert_eq!(opened["session"]["opened_by"], "oidc alice@example.com");

    let mut doubted = claims(&["platform"], json!("*"));
    doubted["email_verified"] = json!(false);
    let opened =
        client(&node, &key(1), &doubted).post("/v1/sessions", &wish, &Conditions::default());
    assert_eq!(opened.unwrap().body["session"]["opened_by"], "oidc 248289761001");

    let risk = client(&node, &key(1), &claims(&["risk"], json!("*")));
    risk.get("/v1/agents").unwrap();
    assert_eq!(refusal(risk.get("/v1/sessions")), (403, "forbidden".into()));
    let nobody = client(&node, &key(1), &claims(&["unmapped"], json!("*")));
    assert_eq!(refusal(nobody.get("/v1/agents")), (403, "forbidden".into()));
}

#[test]
fn a_tenants_claim_limits_and_one_that_is_missing_limits_to_none() {
    let provider = Provider::start(vec![key(1).public_jwk()]);
    let node = node(&provider);
    node.register("ours", json!({}));
    node.register("theirs", json!({ "tenant": "umbrella" }));
    let alice = client(&node, &key(1), &claims(&["platform"], json!(["acme", "NO TENANT"])));
    eventually("the first keys", || alice.get("/v1/agents").is_ok());
    assert_eq!(alice.get("/v1/tenants").unwrap().body["tenants"], json!(["acme"]));
    assert_eq!(refusal(alice.get("/v1/keys")), (403, "whole-region".into()));
    let mut none = claims(&["platform"], json!([]));
    none.as_object_mut().unwrap().remove("tenants");
    let nobody = client(&node, &key(1), &none);
    assert_eq!(nobody.get("/v1/tenants").unwrap().body["tenants"], json!([]));
    assert_eq!(refusal(nobody.get("/v1/agents/acme/ours")), (403, "other-tenant".into()));
}

#[test]
fn keys_that_the_provider_takes_back_count_no_more_and_new_ones_do() {
    let provider = Provider::start(vec![key(1).public_jwk()]);
    let node = node(&provider);
    let with = |seed| client(&node, &key(seed), &claims(&["platform"], json!("*")));
    let (old, new) = (with(1), with(2));
    eventually("the first keys", || old.get("/v1/agents").is_ok());
    assert_eq!(refusal(new.get("/v1/agents")), (401, "unauthorized".into()));
    *provider.keys.lock().unwrap() = vec![key(2).public_jwk()];
    eventually("the new key", || new.get("/v1/agents").is_ok());
    assert_eq!(refusal(old.get("/v1/agents")), (401, "unauthorized".into()));
}

#[test]
fn what_the_provider_did_not_say_of_us_is_refused() {
    let provider = Provider::start(vec![key(1).public_jwk()]);
    let node = node(&provider);
    let good = claims(&["platform"], json!("*"));
    let fine = client(&node, &key(1), &good);
    eventually("the first keys", || fine.get("/v1/agents").is_ok());
    for (claim, value) in [
        ("iss", json!("https://other.example.com")),
        ("iss", json!(node.url)),
        ("aud", json!("other")),
        ("aud", json!(["aegis", "other"])),
        ("exp", json!(now().unix_s() - 60)),
        ("iat", json!(now().unix_s() + 600)),
        ("sub", json!("x".repeat(300))),
        ("groups", json!({ "platform": true })),
    ] {
        let mut forged = good.clone();
        forged["email"] = json!(null);
        forged.as_object_mut().unwrap().remove("email");
        forged[claim] = value.clone();
        let answer = client(&node, &key(1), &forged).get("/v1/agents");
        assert_eq!(refusal(answer), (401, "unauthorized".into()), "{claim} {value}");
    }
    let stranger = client(&node, &key(3), &good).get("/v1/agents");
    assert_eq!(refusal(stranger), (401, "unauthorized".into()));
    // A provider signs no sessions, whatever it writes into them.
    let at = now().unix_s();
    let session = json!({
        "iss": node.url, "aud": node.url, "sub": "x", "jti": "s", "iat": at, "exp": at + 60,
    });
    let forged = key(1).sign("aegis-session+jwt", session.to_string().as_bytes());
    let forged = Client::new(&node.url, Some(Secret::new(forged)), None).unwrap();
    assert_eq!(refusal(forged.get("/v1/agents")), (401, "unauthorized".into()));
}

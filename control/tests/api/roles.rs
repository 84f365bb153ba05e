//! Roles and sessions: what each role may ask of each route, and how long anybody may.
//!
//! Not here: the table itself (`control/access`). Invariant: each answer is had over a socket, with a session that was
//! opened there.

use aegis_control::{Permission, Role, SubjectSources};
use aegis_control_client::{Answer, Client, ClientError, Conditions};
use aegis_domain::Secret;
use aegis_identity::SigningKey;
use serde_json::{Value, json};

use crate::node::{Node, refusal, region_key};
use crate::openapi::DOCUMENT;

const SESSION: &str = "aegis-session+jwt";

pub(crate) fn client(node: &Node, token: &str) -> Client {
    Client::new(&node.url, Some(Secret::new(token.to_owned())), None).unwrap()
}

/// A session's token, and its id.
pub(crate) fn open(node: &Node, wish: Value) -> (String, String) {
    let opened = node.post("/v1/sessions", wish).unwrap().body;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&opened["token"]), text(&opened["session"]["id"]))
}

pub(crate) fn bearer(node: &Node, role: Role) -> Client {
    client(node, &open(node, json!({ "as": "alice", "roles": [role.as_str()] })).0)
}

fn ask(client: &Client, method: &str, path: &str) -> Result<Answer, ClientError> {
    let (body, none) = (json!({ "none": "of ours" }), Conditions::default());
    match method {
        "get" => client.get(path),
        "post" => client.post(path, &body, &none),
        "put" => client.put(path, &body, &none),
        "patch" => client.patch(path, &body, &none),
        "delete" => client.delete(path, &none),
        other => panic!("{other}"),
    }
}

#[test]
fn every_route_lets_in_exactly_the_roles_that_have_its_permission() {
    let node = Node::start();
    let clients: Vec<_> = Role::ALL.map(|role| (role, bearer(&node, role))).into();
    let mut tried = 0;
    for (template, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(scope) = operation["security"][0]["bearer"][0].as_str() else { continue };
            let wanted = Permission::ALL.into_iter().find(|it| it.as_str() == scope).unwrap();
            for (role, client) in &clients {
                let answer = ask(client, method, &crate::openapi::filled(template));
                let place = format!("{role} {method} {template}");
                match answer {
                    Err(ClientError::Refused { status: 403, kind, detail, .. }) => {
                        assert!(!role.has(wanted) && kind == "forbidden", "{place} {kind}");
                        assert!(detail.contains(scope), "{place} {detail}");
                    }
                    Err(ClientError::Refused { status, kind, .. }) => {
                        assert!(role.has(wanted) && status != 401, "{place} {kind}");
                    }
                    // The feed is a signed text.
                    Ok(_) | Err(ClientError::NotJson { .. }) => {
                        assert!(role.has(wanted), "{place}");
                    }
                    Err(other) => panic!("{place} {other}"),
                }
                tried += 1;
            }
        }
    }
    println!("{tried} pairs of role and operation");
    assert!(tried >= 6 * 20);
}

#[test]
fn a_session_counts_until_it_is_ended_also_after_a_restart() {
    let node = Node::start();
    let (token, id) = open(&node, json!({ "as": "alice", "roles": ["viewer"], "ttl_s": 600 }));
    client(&node, &token).get("/v1/agents").unwrap();
    let listed = node.get("/v1/sessions").body["sessions"].clone();
    assert_eq!((&listed[0]["id"], &listed[0]["actor"]), (&json!(id), &json!("session alice")));
    assert_eq!(listed[0]["opened_by"], "local admin");
    // Its text names the node it was opened at, which is on another port by then.
    assert_eq!(refusal(client(&node, "aegis-admin-wrong").get("/v1/agents")).0, 401);
    let path = format!("/v1/sessions/{id}");
    let ended = node.admin.delete(&path, &Conditions::default()).unwrap();
    assert_eq!(ended.body["id"], id);
    assert_eq!(refusal(client(&node, &token).get("/v1/agents")), (401, "unauthorized".into()));
    let again = node.admin.delete(&path, &Conditions::default());
    assert_eq!(refusal(again), (404, "session-unknown".into()));

    open(&node, json!({ "as": "bob", "roles": ["viewer"] }));
    let node = Node::with(node.stop(), SubjectSources::default());
    let left = node.get("/v1/sessions").body["sessions"].as_array().unwrap().clone();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["actor"], "session bob");
}

#[test]
fn a_session_opened_again_under_one_key_is_the_same_session() {
    let node = Node::start();
    let wish = json!({ "as": "alice", "roles": ["operator"] });
    let once = Conditions { version: None, once: Some("alice-today") };
    let first = node.admin.post("/v1/sessions", &wish, &once).unwrap().body;
    let second = node.admin.post("/v1/sessions", &wish, &once).unwrap().body;
    assert_eq!(first, second);
    assert_eq!(node.get("/v1/sessions").body["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn what_the_region_did_not_sign_or_no_longer_has_is_no_session() {
    let node = Node::start();
    let (_, id) = open(&node, json!({ "as": "alice", "roles": ["admin"] }));
    let at = crate::node::now().unix_s();
    let claims = |jti: &str| {
        json!({
            "iss": node.url, "aud": node.url, "sub": "session alice", "jti": jti,
            "iat": at, "exp": at + 600, "roles": ["admin"], "tenants": null,
        })
    };
    let sign =
        |key: &SigningKey, typ: &str, jti: &str| key.sign(typ, claims(jti).to_string().as_bytes());
    let stranger = SigningKey::from_seed([5; 32]);
    for (token, what) in [
        (sign(&stranger, SESSION, &id), "another key"),
        (sign(&region_key(), "aegis-feed+jwt", &id), "another type"),
        (sign(&region_key(), "at+jwt", &id), "an access token"),
        (sign(&region_key(), SESSION, "made-up"), "never opened"),
    ] {
        let answer = client(&node, &token).get("/v1/agents");
        assert_eq!(refusal(answer), (401, "unauthorized".into()), "{what}");
    }
    client(&node, &sign(&region_key(), SESSION, &id)).get("/v1/agents").unwrap();
}

#[test]
fn who_is_limited_to_a_tenant_sees_and_changes_that_one_alone() {
    let node = Node::start();
    node.register("ours", json!({}));
    node.register("theirs", json!({ "tenant": "umbrella" }));
    let jti = json!({ "token": { "tenant": "umbrella", "jti": "t-1" } });
    node.post("/v1/revocations", jti.clone()).unwrap();
    let wish = json!({ "as": "alice", "roles": ["admin"], "tenants": ["acme"] });
    let alice = client(&node, &open(&node, wish).0);
    let names = |path: &str, list: &str, name: &str| {
        let things = alice.get(path).unwrap().body[list].as_array().unwrap().clone();
        things.iter().map(|it| it[name].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("/v1/agents", "agents", "id"), ["ours"]);
    assert!(names("/v1/revocations", "revocations", "what").is_empty());
    assert_eq!(alice.get("/v1/tenants").unwrap().body["tenants"], json!(["acme"]));
    alice.get("/v1/agents/acme/ours").unwrap();
    alice.get("/v1/tenants/acme/budgets").unwrap();

    let post = |path: &str, body: Value| refusal(alice.post(path, &body, &Conditions::default()));
    let other = (403, "other-tenant".to_owned());
    let agent = json!({ "tenant": "umbrella", "id": "x", "org": "acme" });
    assert_eq!(post("/v1/agents", agent), other);
    assert_eq!(post("/v1/revocations", jti), other);
    assert_eq!(post("/v1/agents/umbrella/theirs/disable", json!({})), other);
    assert_eq!(refusal(alice.get("/v1/agents/umbrella/theirs")), other);
    assert_eq!(refusal(alice.get("/v1/agents/UMBRELLA/theirs")), other);
    assert_eq!(refusal(alice.get("/v1/tenants/umbrella/budgets")), other);
    let whole = (403, "whole-region".to_owned());
    for path in ["/v1/keys", "/v1/sessions", "/v1/feed"] {
        assert_eq!(refusal(alice.get(path)), whole, "{path}");
    }
    let key = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    assert_eq!(post("/v1/revocations", json!({ "key": { "kid": key } })), whole);
    assert_eq!(post("/v1/sessions", json!({ "as": "bob", "roles": ["admin"] })), whole);
}

#[test]
fn a_session_that_could_not_count_is_not_opened() {
    let node = Node::start();
    for (wish, said) in [
        (json!({ "as": "alice", "roles": [] }), (422, "session-role")),
        (json!({ "as": "alice", "roles": ["viewer"], "ttl_s": 43_201 }), (422, "session-length")),
        (json!({ "as": "alice", "roles": ["root"] }), (400, "malformed")),
        (json!({ "as": "", "roles": ["viewer"], "tenants": [] }), (400, "malformed")),
        (json!({ "as": "al\nice", "roles": ["viewer"] }), (400, "malformed")),
    ] {
        let (status, kind) = refusal(node.post("/v1/sessions", wish.clone()));
        assert_eq!((status, kind.as_str()), said, "{wish}");
    }
}

#[test]
fn what_someone_changes_is_on_record_under_their_name() {
    let node = crate::budgets::spent();
    let alice = bearer(&node, Role::Operator);
    let body = json!({ "limit_microusd": 5_000_000 });
    let set = alice.put("/v1/tenants/acme/budgets/tenant%2Fday", &body, &Conditions::default());
    assert_eq!(set.unwrap().body["set_by"], "session alice");
}

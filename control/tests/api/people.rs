//! Administration: who may command, pages, versions, idempotency, keys, and what is still there after a restart.
//!
//! Not here: what agents do (`tokens`, `enrolment`). Invariant: each refusal is problem+json with a kind of its own.

use std::os::unix::fs::PermissionsExt as _;

use aegis_control::SubjectSources;
use aegis_control_client::{Client, Conditions};
use aegis_domain::Secret;
use serde_json::json;

use crate::node::{Node, refusal};

#[test]
fn only_the_token_of_a_file_that_is_closed_to_others_commands() {
    let node = Node::start();
    let file = node.home.path().join("admin.token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(refusal(node.anyone().get("/v1/agents")), (401, "unauthorized".into()));
    let with = |token: String| Client::new(&node.url, Some(Secret::new(token)), None).unwrap();
    assert_eq!(refusal(with("aegis-admin-wrong".into()).get("/v1/agents")).0, 401);
    let follower = std::fs::read_to_string(node.home.path().join("follower.token")).unwrap();
    assert_eq!(refusal(with(follower).get("/v1/agents")), (403, "forbidden".into()));
    node.get("/v1/agents");
}

/// Every page of a list: how many things each had, and all the things.
fn pages(node: &Node, list: &str, limit: usize) -> (Vec<usize>, Vec<serde_json::Value>) {
    let (mut sizes, mut all) = (Vec::new(), Vec::new());
    let first = format!("/v1/{list}?limit={limit}");
    let mut path = first.clone();
    loop {
        let page = node.get(&path).body;
        let things = page[list].as_array().unwrap().clone();
        sizes.push(things.len());
        all.extend(things);
        let Some(next) = page["next"].as_str() else { return (sizes, all) };
        path = format!("{first}&cursor={next}");
    }
}

#[test]
fn every_list_comes_in_pages_of_one_shape_and_each_thing_once() {
    let node = Node::start();
    for number in 0..5 {
        node.register(&format!("bot-{number}"), json!({}));
        let wish = json!({ "token": { "tenant": "acme", "jti": format!("j{number}") } });
        node.post("/v1/revocations", wish).unwrap();
        node.post("/v1/keys", json!({ "lead_s": 0 })).unwrap();
    }
    for (list, count, name) in [("agents", 5, "id"), ("keys", 6, "kid"), ("revocations", 5, "what")]
    {
        let (sizes, paged) = pages(&node, list, 2);
        assert!(sizes.iter().all(|size| *size <= 2) && sizes.len() == 3, "{list} {sizes:?}");
        let (_, whole) = pages(&node, list, 1_000);
        assert_eq!(paged, whole, "{list}");
        let mut names: Vec<_> = paged.iter().map(|thing| thing[name].to_string()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{list}");
        for query in ["limit=0", "limit=1001", "cursor=x", "cursor=", "after=x", "limit=1&limit=1"]
        {
            let answer = node.admin.get(&format!("/v1/{list}?{query}"));
            assert_eq!(refusal(answer), (400, "malformed".into()), "{list} {query}");
        }
    }
    // A cursor of one list says nothing to another.
    assert_eq!(node.get("/v1/agents?tenant=other").body["agents"], json!([]));
    let next = node.get("/v1/agents?limit=1").body["next"].as_str().unwrap().to_owned();
    assert_eq!(refusal(node.admin.get(&format!("/v1/revocations?cursor={next}"))).0, 400);
}

#[test]
fn what_comes_between_two_pages_makes_nothing_come_twice() {
    let node = Node::start();
    for id in ["b", "d", "f"] {
        node.register(id, json!({}));
    }
    let first = node.get("/v1/agents?limit=2").body;
    assert_eq!(first["agents"][1]["id"], "d");
    node.register("a", json!({}));
    node.register("e", json!({}));
    let next = first["next"].as_str().unwrap();
    let second = node.get(&format!("/v1/agents?limit=5&cursor={next}")).body;
    let ids: Vec<_> =
        second["agents"].as_array().unwrap().iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, ["e", "f"]);
}

#[test]
fn a_key_is_retired_only_as_it_was_seen() {
    let node = Node::start();
    let first = node.get("/v1/keys").body["keys"][0].clone();
    node.post("/v1/keys", json!({ "lead_s": 0 })).unwrap();
    let path = format!("/v1/keys/{}/retire", first["kid"].as_str().unwrap());
    let retire = |version: &str| {
        let conditions = Conditions { version: Some(version), once: None };
        node.admin.post(&path, &json!({}), &conditions)
    };
    let seen = format!("\"{}\"", first["version"]);
    assert_eq!(refusal(retire(&seen)), (412, "changed".into()), "another took over since");
    let now = node.get("/v1/keys").body["keys"][1]["version"].clone();
    let retired = retire(&format!("\"{now}\"")).unwrap();
    assert_eq!(retired.etag.unwrap(), format!("\"{}\"", retired.body["version"]));
}

#[test]
fn a_version_that_was_overtaken_is_not_written_over() {
    let node = Node::start();
    node.register("bot", json!({}));
    let path = "/v1/agents/acme/bot";
    let etag = node.get(path).etag.unwrap();
    let amend = |version: &str| {
        let conditions = Conditions { version: Some(version), once: None };
        node.admin.patch(path, &json!({ "mode": "once" }), &conditions)
    };
    let changed = amend(&etag).unwrap();
    assert_eq!(changed.body["agent"]["mode"], "once");
    assert_ne!(changed.etag.as_ref(), Some(&etag));
    assert_eq!(refusal(amend(&etag)), (412, "changed".into()));
    for none_of_ours in ["W/\"1\"", "\"1\", \"2\"", "x", "\"0\""] {
        assert_eq!(refusal(amend(none_of_ours)), (412, "changed".into()), "{none_of_ours}");
    }
    amend("*").unwrap();
}

#[test]
fn a_command_sent_again_under_one_key_is_done_once_also_after_a_restart() {
    let node = Node::start();
    let body = json!({ "tenant": "acme", "id": "bot", "org": "acme" });
    let conditions = Conditions { version: None, once: Some("register-bot-1") };
    let first = node.admin.post("/v1/agents", &body, &conditions).unwrap();
    let again = node.admin.post("/v1/agents", &body, &conditions).unwrap();
    assert!(first.body["enrolment"].is_object());
    assert!(again.body["enrolment"].is_null(), "the code is not shown twice");
    assert_eq!(first.body["agent"], again.body["agent"]);
    let other = json!({ "tenant": "acme", "id": "other", "org": "acme" });
    let reused = node.admin.post("/v1/agents", &other, &conditions);
    assert_eq!(refusal(reused), (422, "idempotency-key-reused".into()));

    // The address is part of nobody's request, so a node on another port still knows it.
    let node = Node::with(node.stop(), SubjectSources::default());
    node.admin.post("/v1/agents", &body, &conditions).unwrap();
    assert_eq!(node.get("/v1/agents").body["agents"].as_array().unwrap().len(), 1);
}

#[test]
fn keys_rotate_with_an_overlap_and_retire_when_they_sign_no_more() {
    let node = Node::start();
    let agent = node.agent("bot", 1, json!({}));
    let before = node.token("bot", &agent, &[]).unwrap().body["access_token"].clone();
    let first = node.get("/v1/keys").body["keys"][0]["kid"].as_str().unwrap().to_owned();
    let retire = format!("/v1/keys/{first}/retire");
    assert_eq!(refusal(node.post(&retire, json!({}))), (409, "key-in-use".into()));
    let second = node.post("/v1/keys", json!({ "lead_s": 0 })).unwrap().body["kid"].clone();
    let kid = |token: &serde_json::Value| {
        aegis_identity::inspect(token.as_str().unwrap()).unwrap().unverified_header["kid"].clone()
    };
    let after = node.token("bot", &agent, &[]).unwrap().body["access_token"].clone();
    assert_eq!((kid(&before), kid(&after)), (json!(first), second));
    let published = || {
        node.anyone().get("/.well-known/jwks.json").unwrap().body["keys"].as_array().unwrap().len()
    };
    assert_eq!(published(), 2);
    node.post(&retire, json!({})).unwrap();
    assert_eq!(published(), 1);
    assert_eq!(node.get("/v1/keys").body["keys"][1]["standing"], "retired");
    let vault = std::fs::read_dir(node.home.path().join("vault")).unwrap();
    assert!(vault.count() <= 2);

    let next = node.post("/v1/keys", json!({})).unwrap().body;
    assert_eq!(next["standing"], "next", "published before it signs");
    assert_eq!(refusal(node.post("/v1/keys", json!({}))), (409, "key-pending".into()));
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    node.post("/v1/revocations", json!({ "tenant": { "id": "other" } })).unwrap();
    let (agents, keys) = (node.get("/v1/agents").body, node.get("/v1/keys").body);
    let node = Node::with(node.stop(), SubjectSources::default());
    assert_eq!(node.get("/v1/agents").body, agents);
    assert_eq!(node.get("/v1/keys").body, keys);
    assert_eq!(node.get("/v1/revocations").body["revocations"].as_array().unwrap().len(), 1);
    node.token("bot", &key, &[]).unwrap();
}

#[test]
fn what_is_malformed_is_refused_without_quoting_it() {
    let node = Node::start();
    for (body, said) in [
        (json!({ "tenant": "acme", "id": "bot" }), "missing field `org`"),
        (
            json!({ "tenant": "acme", "id": "bot", "org": "o", "scope": "x" }),
            "unknown field `scope`",
        ),
        (json!({ "tenant": "SECRET!", "id": "bot", "org": "o" }), "a value is malformed"),
        (json!(["acme", "bot", "o"]), "the body is not an object"),
    ] {
        match node.post("/v1/agents", body) {
            Err(aegis_control_client::ClientError::Refused { status: 400, detail, .. }) => {
                assert!(detail.contains(said) && !detail.contains("SECRET"), "{detail}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        refusal(node.post("/v1/agents/acme/nobody/disable", json!({}))),
        (404, "agent-unknown".into())
    );
}

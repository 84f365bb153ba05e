//! Tools and limits that the region defines: made, shown, listed, changed and withdrawn, and by whom.
//!
//! Not here: what a definition may say, word by word (`config`), and the ledger's bounds (`agents/registry`). Invariant: every
//! answer is held against the OpenAPI document.

use aegis_control::Role;
use aegis_control_client::{Answer, Client, ClientError, Conditions};
use serde_json::{Value, json};

use crate::node::{Node, checked, refusal};
use crate::roles::{bearer, client, open};

const PAY: &str = "/v1/tenants/acme/tools/pay";
const LIMITS: &str = "/v1/tenants/acme/limits";
const PLAIN: &str = "upstream: https://api.stripe.com\nkind: write\n";
const PRICED: &str = "upstream: https://api.stripe.com\nprice: { per_call_usd: '0.02' }\n";

fn put_if(
    (client, path): (&Client, &str),
    text: &str,
    sent: &Conditions<'_>,
) -> Result<Answer, ClientError> {
    checked("put", path, client.put(path, &json!({ "text": text }), sent))
}

fn put(client: &Client, path: &str, text: &str) -> Result<Answer, ClientError> {
    put_if((client, path), text, &Conditions::default())
}

fn delete(client: &Client, path: &str) -> Result<Answer, ClientError> {
    checked("delete", path, client.delete(path, &Conditions::default()))
}

#[test]
fn a_tool_is_defined_shown_changed_and_withdrawn_as_it_was_written() {
    let node = Node::start();
    assert_eq!(refusal(checked("get", PAY, node.admin.get(PAY))), (404, "not-found".into()));
    let text = "# Pays out.\nupstream: https://api.stripe.com   # live\n";
    let made = put(&node.admin, PAY, text).unwrap();
    assert_eq!((&made.body["text"], &made.body["name"]), (&json!(text), &json!("pay")));
    assert_eq!(made.body["set_by"], "local admin");
    let changed = put(&node.admin, PAY, PRICED).unwrap();
    let shown = node.get(PAY);
    assert_eq!((&shown.body, &shown.etag), (&changed.body, &changed.etag));
    assert_ne!(made.etag, changed.etag);
    let gone = delete(&node.admin, PAY).unwrap();
    assert_eq!(gone.body, json!({ "tenant": "acme", "name": "pay" }));
    assert_eq!(refusal(delete(&node.admin, PAY)), (404, "definition-unknown".into()));
}

#[test]
fn the_limits_of_a_tenant_are_no_tool_of_it() {
    let node = Node::start();
    let made = put(&node.admin, LIMITS, "budgets: { day_usd: '20' }\n").unwrap();
    assert_eq!(made.body["tenant"], "acme");
    assert_eq!(node.get(LIMITS).body, made.body);
    assert_eq!(node.get("/v1/tenants/acme/tools").body, json!({ "tools": [], "next": null }));
    let wrong = put(&node.admin, LIMITS, "upstream: https://a.example\n");
    assert_eq!(refusal(wrong), (422, "definition".into()));
    assert_eq!(delete(&node.admin, LIMITS).unwrap().body, json!({ "tenant": "acme" }));
    assert_eq!(refusal(checked("get", LIMITS, node.admin.get(LIMITS))).0, 404);
}

#[test]
fn tools_come_in_pages_by_name_and_each_tenant_has_its_own() {
    let node = Node::start();
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        put(&node.admin, &format!("/v1/tenants/acme/tools/{name}"), PLAIN).unwrap();
    }
    put(&node.admin, "/v1/tenants/umbrella/tools/b2", PLAIN).unwrap();
    put(&node.admin, LIMITS, "in_flight: 4\n").unwrap();
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = node.get(&format!("/v1/tenants/acme/tools?{query}")).body;
        let tools = page["tools"].as_array().unwrap();
        assert!(tools.len() <= 2);
        seen.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("limit=2&cursor={next}");
    }
    assert_eq!(seen, names);
}

#[test]
fn what_was_changed_meanwhile_is_not_overwritten_and_a_command_sent_twice_counts_once() {
    let node = Node::start();
    let first = put(&node.admin, PAY, PLAIN).unwrap();
    let once = Conditions { version: first.etag.as_deref(), once: Some("k1") };
    let second = put_if((&node.admin, PAY), PRICED, &once).unwrap();
    let again = put_if((&node.admin, PAY), PRICED, &once).unwrap();
    assert_eq!((&again.body, &again.etag), (&second.body, &second.etag));
    let stale = Conditions { version: first.etag.as_deref(), once: None };
    let late = put_if((&node.admin, PAY), PLAIN, &stale);
    assert_eq!(refusal(late), (412, "changed".into()));
    assert_eq!(node.get(PAY).body["text"], PRICED);
    let late = checked("delete", PAY, node.admin.delete(PAY, &stale));
    assert_eq!(refusal(late), (412, "changed".into()));
}

#[test]
fn a_mistake_is_told_by_line_and_column_and_nothing_is_kept() {
    let node = Node::start();
    for (line, place) in [
        ("ca_file: /etc/ssl/ca.pem", (2, 10)),
        ("client_certificate: { chain: a.pem, key: a.key }", (2, 21)),
        ("credential: { env: AEGIS_TEST_SECRET }", (2, 13)),
        ("kind: writes", (2, 7)),
        ("modez: [bearer]", (2, 1)),
    ] {
        let answer = put(&node.admin, PAY, &format!("upstream: https://a.example\n{line}\n"));
        let Err(ClientError::Refused { status: 422, problem, .. }) = answer else {
            panic!("{line}: {answer:?}");
        };
        let mistake = &problem["diagnostics"][0];
        let (line_told, column) = (mistake["line"].clone(), mistake["column"].clone());
        assert_eq!((line_told, column), (json!(place.0), json!(place.1)), "{line}\n{problem}");
        assert_eq!(mistake["file"], "tools/pay");
    }
    for text in ["", "upstream:\thttps://a.example\n", &"#".repeat(16 * 1_024 + 1)] {
        assert_eq!(refusal(put(&node.admin, PAY, text)), (400, "malformed".into()));
    }
    let reserved = put(&node.admin, "/v1/tenants/acme/tools/-x", PLAIN);
    assert_eq!(refusal(reserved), (422, "definition".into()));
    assert_eq!(node.get("/v1/tenants/acme/tools").body["tools"], json!([]));
}

#[test]
fn an_author_defines_tools_but_touches_none_that_has_a_price_a_budget_or_a_credential() {
    let node = Node::start();
    let author = bearer(&node, Role::Author);
    put(&author, PAY, PLAIN).unwrap();
    let forbidden = |answer| assert_eq!(refusal(answer), (403, "forbidden".to_owned()));
    for more in ["price: { per_call_usd: '1' }", "budgets: { day_usd: '1' }", "credential: stripe"]
    {
        forbidden(put(&author, PAY, &format!("{PLAIN}{more}\n")));
    }
    assert_eq!(node.get(PAY).body["text"], PLAIN);
    put(&node.admin, PAY, PRICED).unwrap();
    forbidden(put(&author, PAY, PLAIN));
    forbidden(delete(&author, PAY));
    assert_eq!(node.get(PAY).body["text"], PRICED);
    put(&node.admin, PAY, PLAIN).unwrap();
    delete(&author, PAY).unwrap();
}

#[test]
fn whoever_is_limited_to_tenants_defines_for_these_alone() {
    let node = Node::start();
    let wish = json!({ "as": "alice", "roles": ["author", "operator"], "tenants": ["acme"] });
    let alice = client(&node, &open(&node, wish).0);
    put(&alice, PAY, PLAIN).unwrap();
    put(&alice, LIMITS, "in_flight: 4\n").unwrap();
    let other = |answer: Result<Answer, ClientError>| {
        assert_eq!(refusal(answer), (403, "other-tenant".to_owned()));
    };
    other(put(&alice, "/v1/tenants/umbrella/tools/pay", PLAIN));
    other(delete(&alice, "/v1/tenants/umbrella/tools/pay"));
    other(put(&alice, "/v1/tenants/umbrella/limits", "in_flight: 4\n"));
    other(alice.get("/v1/tenants/umbrella/tools"));
}

#[test]
fn definitions_outlive_the_node_that_took_them() {
    let node = Node::start();
    let made: Value = put(&node.admin, PAY, PRICED).unwrap().body;
    let node = Node::with(node.stop(), Default::default());
    assert_eq!(node.get(PAY).body, made);
}

#[test]
fn a_text_is_checked_as_it_would_be_read_and_nothing_is_defined() {
    let node = Node::start();
    let path = format!("{PAY}/check");
    let check = |client: &Client, text: &str| {
        let sent = client.post(&path, &json!({ "text": text }), &Conditions::default());
        checked("post", &path, sent)
    };
    let reader = bearer(&node, Role::Author);
    let plain = check(&reader, PLAIN).unwrap().body;
    assert_eq!(plain, json!({ "tenant": "acme", "name": "pay", "entrusted": false }));
    assert_eq!(check(&reader, PRICED).unwrap().body["entrusted"], true);
    assert_eq!(refusal(check(&reader, "kind: writes\n")), (422, "definition".into()));
    assert_eq!(refusal(checked("get", PAY, node.admin.get(PAY))).0, 404);
}

#[test]
fn what_is_wanted_only_where_there_is_none_replaces_none() {
    let node = Node::start();
    let none = Conditions { version: Some("\"0\""), once: None };
    put_if((&node.admin, PAY), PLAIN, &none).unwrap();
    assert_eq!(refusal(put_if((&node.admin, PAY), PRICED, &none)), (412, "changed".into()));
    assert_eq!(node.get(PAY).body["text"], PLAIN);
}

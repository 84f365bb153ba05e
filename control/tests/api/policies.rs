//! Versions of policies, pushed, listed, shown and compared; and which of them decides.
//!
//! Not here: rollouts (`rollouts`). Invariant: a policy is one that gateways would take.

use aegis_control_client::{Answer, ClientError, Conditions};
use aegis_identity::{KeySet, verify_jws_within};
use aegis_policy::{Bundle, SIGNATURE_BYTES_MAX, SIGNATURE_TYPE};
use serde_json::{Value, json};

use crate::node::{Node, checked, refusal, region_key};

pub(crate) const LINE: &str = "/v1/policies/acme/prod";

/// A policy that denies payments above an amount, with a test that says so.
pub(crate) fn policy(amount_max: u32, mode: &str) -> String {
    let over = amount_max + 1;
    let would = if mode == "enforce" { "{ deny: [large] }" } else { "allow" };
    format!(
        "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: {{ name: t, tenant: acme, env: prod }}
tools:
  pay:
    class: write
    match: {{ hosts: [a.test], methods: [POST], paths: [/x] }}
    allow: {{ groups: [finance] }}
    params: {{ n: {{ type: integer, required: true, min: 1 }} }}
    rules:
    - {{ id: large, effect: deny, mode: {mode}, when: {{ param: n, gt: {amount_max} }} }}
tests:
- name: pay
  tool: pay
  agent: {{ groups: [finance] }}
  cases:
  - {{ params: {{ n: 1 }}, expect: allow }}
  - {{ params: {{ n: {over} }}, expect: {would} }}
"
    )
}

impl Node {
    pub(crate) fn push(&self, text: &str, once: Option<&str>) -> Result<Answer, ClientError> {
        let path = format!("{LINE}/versions");
        let body = json!({ "files": [{ "name": "acme.yaml", "text": text }] });
        checked("post", &path, self.admin.post(&path, &body, &Conditions { version: None, once }))
    }

    /// Pushes versions that allow up to 100, 200 and so on.
    pub(crate) fn pushed(&self, versions: u32) {
        for number in 1..=versions {
            let made = self.push(&policy(number * 100, "enforce"), None).unwrap();
            assert_eq!(made.body["version"], number);
        }
    }

    /// A command about the pointer, under the tag that was seen.
    pub(crate) fn turn(
        &self,
        (method, what): (&str, &str),
        seen: Option<&str>,
        body: Value,
    ) -> Result<Answer, ClientError> {
        let path = format!("{LINE}/{what}");
        let conditions = Conditions { version: seen, once: None };
        let answer = match method {
            "put" => self.admin.put(&path, &body, &conditions),
            _ => self.admin.post(&path, &body, &conditions),
        };
        checked(method, &path, answer)
    }

    pub(crate) fn activate(&self, active: u32) -> Value {
        let seen = self.pointer().etag;
        let body = json!({ "active": active });
        self.turn(("put", "pointer"), seen.as_deref(), body).unwrap().body
    }

    pub(crate) fn pointer(&self) -> Answer {
        self.get(&format!("{LINE}/pointer"))
    }
}

/// What a problem says beside its kind.
fn problem(answer: Result<Answer, ClientError>) -> (u16, Value) {
    match answer {
        Err(ClientError::Refused { status, problem, .. }) => (status, *problem),
        other => panic!("expected a refusal: {other:?}"),
    }
}

#[test]
fn a_pushed_version_is_listed_and_shown_as_it_was_pushed_and_signed_by_the_region() {
    let node = Node::start();
    let none = checked(
        "get",
        "/v1/policies/acme/prod/pointer",
        node.admin.get("/v1/policies/acme/prod/pointer"),
    );
    assert_eq!(refusal(none), (404, "not-found".into()));
    node.pushed(3);
    let first = node.get(&format!("{LINE}/versions?limit=2")).body;
    let numbers = |page: &Value| {
        let all = page["versions"].as_array().unwrap().iter();
        all.map(|version| version["version"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&first), [3, 2], "the newest first");
    let cursor = first["next"].as_str().unwrap();
    let second = node.get(&format!("{LINE}/versions?limit=2&cursor={cursor}")).body;
    assert_eq!((numbers(&second), &second["next"]), (vec![1], &Value::Null));

    let shown = node.get(&format!("{LINE}/versions/2")).body;
    assert_eq!(shown["files"], json!([{ "name": "acme.yaml", "text": policy(200, "enforce") }]));
    assert_eq!((&shown["tests"], &shown["by"]), (&json!(2), &json!("local admin")));
    assert!(shown["revision"].as_str().unwrap().starts_with("acme/prod@2+"), "{shown}");
    let path = format!("{LINE}/versions/4");
    let unknown = checked("get", &path, node.admin.get(&path));
    assert_eq!(refusal(unknown), (404, "version-unknown".into()));
    assert_eq!(node.pointer().body["active"], Value::Null, "nothing decides by a push alone");
}

#[test]
fn the_bundle_in_the_ledger_is_what_gateways_verify() {
    let home = {
        let node = Node::start();
        node.pushed(1);
        node.stop()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let control = runtime.block_on(crate::node::open(home.path(), "http://x", Default::default()));
    let ledger = control.node().ledger();
    let (_, line) = ledger.releases().lines().next().unwrap();
    let version = line.version(1).unwrap();
    let bundle = Bundle::open(&ledger.releases().content(version.bundle).unwrap().bytes).unwrap();
    let keys = json!({ "keys": [region_key().public_jwk()] }).to_string();
    let keys = KeySet::from_jwks(keys.as_bytes()).unwrap();
    bundle
        .verify(|jwt| verify_jws_within(jwt, SIGNATURE_TYPE, &keys, SIGNATURE_BYTES_MAX))
        .unwrap();
    assert_eq!((bundle.manifest().version, bundle.manifest().env.as_str()), (1, "prod"));
    let source: String =
        version.source.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bundle.manifest().source_digest, source);
}

#[test]
fn a_broken_policy_is_refused_with_the_place_of_every_mistake() {
    let node = Node::start();
    let good = policy(100, "enforce");
    let misspelt = good.replace("effect: deny", "effect: denny");
    let (status, told) = problem(node.push(&misspelt, None));
    let found = &told["diagnostics"][0];
    assert_eq!((status, &found["file"], &found["line"]), (422, &json!("acme.yaml"), &json!(11)));
    assert!(found["column"].as_u64().unwrap() > 1, "{told}");

    let failing = good.replace("n: 101 }, expect: { deny: [large] }", "n: 101 }, expect: allow");
    let (status, told) = problem(node.push(&failing, None));
    assert_eq!((status, &told["diagnostics"][0]["line"]), (422, &json!(18)), "{told}");

    let elsewhere = good.replace("env: prod", "env: test");
    let other = good.replace("tenant: acme", "tenant: other");
    for wrong in [elsewhere, other] {
        let (status, told) = problem(node.push(&wrong, None));
        let kind = told["type"].as_str().unwrap();
        assert_eq!((status, kind), (422, "https://aegis.dev/problems/policy"), "{told}");
    }
    assert_eq!(node.get(&format!("{LINE}/versions")).body["versions"], json!([]));
}

#[test]
fn a_push_that_is_sent_twice_under_one_key_is_one_version_and_pushes_at_once_are_two() {
    let node = Node::start();
    let text = policy(100, "enforce");
    let first = node.push(&text, Some("release-1")).unwrap().body;
    assert_eq!(node.push(&text, Some("release-1")).unwrap().body, first);
    let other = node.push(&policy(200, "enforce"), Some("release-1"));
    assert_eq!(refusal(other), (422, "idempotency-key-reused".into()));
    std::thread::scope(|scope| {
        let pushes = [300, 400].map(|amount| {
            scope.spawn({
                let node = &node;
                move || node.push(&policy(amount, "enforce"), None).unwrap().body["version"].clone()
            })
        });
        let mut numbers = pushes.map(|push| push.join().unwrap().as_u64().unwrap());
        numbers.sort_unstable();
        assert_eq!(numbers, [2, 3]);
    });
}

#[test]
fn of_two_activations_at_once_one_wins_and_the_other_is_told_what_it_lost_against() {
    let node = Node::start();
    node.pushed(3);
    node.activate(1);
    let seen = node.pointer().etag;
    let answers = std::thread::scope(|scope| {
        let all = [2, 3].map(|active| {
            scope.spawn({
                let (node, seen) = (&node, seen.as_deref());
                move || node.turn(("put", "pointer"), seen, json!({ "active": active }))
            })
        });
        all.map(|one| one.join().unwrap())
    });
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let won = won.into_iter().next().unwrap().unwrap().body;
    let (status, told) = problem(lost.into_iter().next().unwrap());
    assert_eq!((status, &told["pointer"]["active"]), (412, &won["active"]));
    assert_eq!(
        (&told["pointer"]["epoch"], &told["pointer"]["by"]),
        (&json!(2), &json!("local admin"))
    );
    let blind = node.turn(("put", "pointer"), None, json!({ "active": 1 }));
    assert_eq!(refusal(blind), (428, "if-match".into()));
}

#[test]
fn a_rollback_is_one_command_and_leads_to_what_decided_before() {
    let node = Node::start();
    node.pushed(3);
    for active in [1, 2] {
        node.activate(active);
    }
    let back = node.turn(("post", "rollback"), None, json!({})).unwrap().body;
    assert_eq!(
        (&back["active"], &back["epoch"], &back["past"]),
        (&json!(1), &json!(3), &json!([]))
    );
    let never = node.turn(("post", "rollback"), None, json!({ "to": 3 }));
    assert_eq!(refusal(never), (409, "never-active".into()));
}

#[test]
fn what_is_enforced_stops_being_enforced_by_a_route_of_its_own_only() {
    let node = Node::start();
    node.pushed(1);
    node.push(&policy(100, "shadow"), None).unwrap();
    node.activate(1);
    let seen = node.pointer().etag;
    let (seen, wish) = (seen.as_deref(), json!({ "active": 2 }));
    let (status, told) = problem(node.turn(("put", "pointer"), seen, wish.clone()));
    assert_eq!((status, &told["changes"][0]["downgrade"]), (403, &json!(true)), "{told}");
    let stages = json!([{ "share": "100%" }]);
    let start = node.turn(("post", "rollout"), seen, json!({ "candidate": 2, "stages": stages }));
    assert_eq!(refusal(start), (403, "downgrade".into()));
    let done = node.turn(("post", "downgrade"), seen, wish).unwrap().body;
    assert_eq!(done["active"], 2);
    node.activate(1);
}

/// A command counts at the epoch that its sender saw, and may be held against the pointer of that epoch alone.
#[test]
fn a_version_is_held_against_the_pointer_that_was_seen_and_no_other() {
    let node = Node::start();
    node.pushed(2);
    node.push(&policy(100, "shadow"), None).unwrap();
    node.activate(1);
    for (seen, wish) in [("\"2\"", 2), ("\"2\"", 3), ("\"0\"", 3)] {
        let (status, told) =
            problem(node.turn(("put", "pointer"), Some(seen), json!({ "active": wish })));
        assert_eq!((status, &told["pointer"]["epoch"]), (412, &json!(1)), "{seen} {wish} {told}");
    }
    let stages = json!([{ "share": "100%" }]);
    let start = json!({ "candidate": 3, "stages": stages });
    let late = node.turn(("post", "rollout"), Some("\"2\""), start);
    assert_eq!(refusal(late), (412, "changed".into()));
}

#[test]
fn a_diff_says_what_changes_and_which_way() {
    let node = Node::start();
    node.pushed(2);
    let diff = node.get(&format!("{LINE}/diff?from=1&to=2")).body;
    let changes = diff["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{diff}");
    assert_eq!(
        (&changes[0]["direction"], &changes[0]["path"]),
        (&json!("looser"), &json!("tools.pay.rules.large"))
    );
    assert_eq!(node.get(&format!("{LINE}/diff?from=2&to=2")).body["changes"], json!([]));
    for (query, wanted) in [("from=1", 400), ("from=1&to=9", 404), ("from=1&to=x", 400)] {
        let path = format!("{LINE}/diff?{query}");
        assert_eq!(refusal(checked("get", &path, node.admin.get(&path))).0, wanted, "{query}");
    }
}

#[test]
fn a_pinned_line_stays_where_it_is_until_it_is_unpinned() {
    let node = Node::start();
    node.pushed(2);
    node.activate(1);
    let pinned = node.turn(("post", "pin"), None, json!({})).unwrap();
    assert_eq!(pinned.body["pinned"], true);
    let moved = node.turn(("put", "pointer"), pinned.etag.as_deref(), json!({ "active": 2 }));
    assert_eq!(refusal(moved), (409, "pinned".into()));
    node.turn(("post", "unpin"), None, json!({})).unwrap();
    node.activate(2);
}

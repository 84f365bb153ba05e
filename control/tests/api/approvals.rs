//! Approvals: asked by a gateway, answered by a person, used once; and overrides.
//!
//! Not here: which role may do which (`roles`). Invariant: gateways and people have sessions of their own, as they would.

use aegis_control::Role;
use aegis_control_client::{Answer, ClientError, Conditions};
use aegis_domain::{DecisionId, ParamsHash};
use serde_json::{Value, json};

use crate::node::{Node, checked, refusal};
use crate::roles::{bearer, client, open};

struct Desk {
    node: Node,
    gateway: aegis_control_client::Client,
    person: aegis_control_client::Client,
}

impl Desk {
    fn start() -> Self {
        let node = Node::start();
        let gateway = bearer(&node, Role::Follower);
        let (token, _) = open(&node, json!({ "as": "bob", "roles": ["approver"] }));
        let person = client(&node, &token);
        Self { node, gateway, person }
    }

    fn path(number: u64, more: &str) -> String {
        format!("/v1/approvals/acme/{}{more}", DecisionId::new(number, [0; 10]))
    }

    fn ask(&self, number: u64, ttl_s: u32) -> Result<Answer, ClientError> {
        let body = json!({
            "params_hash": ParamsHash::of(b"call").to_string(), "rules": ["big-payment"],
            "agent": "pay-bot", "tool": "payments", "routes": ["fin"], "ttl_s": ttl_s,
        });
        let path = Self::path(number, "");
        checked("put", &path, self.gateway.put(&path, &body, &Conditions::default()))
    }

    fn answer(&self, number: u64, verb: &str) -> Result<Answer, ClientError> {
        let path = Self::path(number, &format!("/{verb}"));
        checked("post", &path, self.person.post(&path, &json!({}), &Conditions::default()))
    }

    fn consume(&self, number: u64, call: &[u8], rules: Value) -> Result<Answer, ClientError> {
        let path = Self::path(number, "/consume");
        let body = json!({ "params_hash": ParamsHash::of(call).to_string(), "rules": rules });
        checked("post", &path, self.gateway.post(&path, &body, &Conditions::default()))
    }

    /// What a gateway is told a call may pass.
    fn granted(&self, number: u64, call: &[u8]) -> Value {
        let digest = ParamsHash::of(call);
        let path = Self::path(number, &format!("/grant?params_hash={digest}"));
        checked("get", &path, self.gateway.get(&path)).unwrap().body["rules"].clone()
    }

    fn standing(&self, number: u64) -> Value {
        let path = Self::path(number, "");
        checked("get", &path, self.person.get(&path)).unwrap().body["standing"].clone()
    }
}

#[test]
fn what_a_person_granted_goes_out_once_as_the_exact_call() {
    let desk = Desk::start();
    let asked = desk.ask(1, 600).unwrap().body;
    assert_eq!((&asked["standing"], &asked["agent"]), (&json!("open"), &json!("pay-bot")));
    let early = desk.consume(1, b"call", json!(["big-payment"]));
    assert_eq!(refusal(early), (409, "approval-not-granted".into()));
    let granted = desk.answer(1, "grant").unwrap();
    assert_eq!(granted.body["answered_by"], "session bob");
    assert_ne!(granted.body["version"], asked["version"]);
    assert_eq!(refusal(desk.answer(1, "deny")), (409, "approval-answered".into()));
    let other = desk.consume(1, b"another call", json!(["big-payment"]));
    assert_eq!(refusal(other), (409, "approval-other-call".into()));
    let more = desk.consume(1, b"call", json!(["big-payment", "sanctions"]));
    assert_eq!(refusal(more), (409, "approval-other-rule".into()));
    let used = desk.consume(1, b"call", json!(["big-payment"])).unwrap().body;
    assert_eq!(
        (&used["standing"], &used["used_by"]),
        (&json!("consumed"), &json!("session alice"))
    );
    assert_eq!(used["answered_by"], "session bob");
    let again = desk.consume(1, b"call", json!(["big-payment"]));
    assert_eq!(refusal(again), (409, "approval-used".into()));
}

#[test]
fn a_gateway_is_told_of_a_grant_for_the_exact_call_until_it_was_used_and_a_reader_is_not() {
    let desk = Desk::start();
    assert_eq!(desk.granted(1, b"call"), json!([]));
    desk.ask(1, 600).unwrap();
    assert_eq!(desk.granted(1, b"call"), json!([]));
    desk.answer(1, "grant").unwrap();
    assert_eq!(desk.granted(1, b"call"), json!(["big-payment"]));
    assert_eq!(desk.granted(1, b"another call"), json!([]));
    let path = Desk::path(1, &format!("/grant?params_hash={}", ParamsHash::of(b"call")));
    assert_eq!(refusal(checked("get", &path, desk.person.get(&path))), (403, "forbidden".into()));
    let path = Desk::path(1, "/grant?params_hash=short");
    assert_eq!(refusal(checked("get", &path, desk.gateway.get(&path))), (400, "malformed".into()));
    desk.consume(1, b"call", json!(["big-payment"])).unwrap();
    assert_eq!(desk.granted(1, b"call"), json!([]));
}

#[test]
fn a_use_that_is_sent_again_under_its_name_is_the_same_use() {
    let desk = Desk::start();
    desk.ask(1, 600).unwrap();
    desk.answer(1, "grant").unwrap();
    let path = Desk::path(1, "/consume");
    let body =
        json!({ "params_hash": ParamsHash::of(b"call").to_string(), "rules": ["big-payment"] });
    let consume = |once| {
        let conditions = Conditions { version: None, once: Some(once) };
        checked("post", &path, desk.gateway.post(&path, &body, &conditions))
    };
    let first = consume("consume-1").unwrap().body;
    assert_eq!(consume("consume-1").unwrap().body, first);
    assert_eq!(refusal(consume("consume-2")), (409, "approval-used".into()));
}

#[test]
fn of_many_who_use_one_grant_at_once_one_may() {
    let desk = Desk::start();
    desk.ask(1, 600).unwrap();
    desk.answer(1, "grant").unwrap();
    let uses = std::thread::scope(|scope| {
        let uses: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| desk.consume(1, b"call", json!(["big-payment"])).is_ok()))
            .collect();
        uses.into_iter().map(|it| it.join().unwrap()).filter(|may| *may).count()
    });
    assert_eq!(uses, 1);
}

#[test]
fn a_denied_call_stays_denied_and_nobody_answers_what_they_asked() {
    let desk = Desk::start();
    desk.ask(1, 600).unwrap();
    desk.answer(1, "deny").unwrap();
    assert_eq!(desk.standing(1), "denied");
    let denied = desk.consume(1, b"call", json!(["big-payment"]));
    assert_eq!(refusal(denied), (409, "approval-not-granted".into()));
    assert_eq!(refusal(desk.ask(1, 600)), (409, "approval-exists".into()));

    // The administrator may do both, and still not both for one call.
    let path = Desk::path(2, "");
    let body = json!({
        "params_hash": ParamsHash::of(b"call").to_string(), "rules": ["r"], "agent": "a", "tool": "t",
    });
    desk.node.admin.put(&path, &body, &Conditions::default()).unwrap();
    let own = desk.node.post(&format!("{path}/grant"), json!({}));
    assert_eq!(refusal(own), (403, "approval-own".into()));
    assert_eq!(desk.answer(2, "grant").unwrap().body["answered_by"], "session bob");
}

#[test]
fn an_answer_to_what_was_answered_meanwhile_is_refused_by_its_version() {
    let desk = Desk::start();
    desk.ask(1, 600).unwrap();
    let path = Desk::path(1, "");
    let seen = desk.person.get(&path).unwrap().etag.unwrap();
    let grant = |version: &str| {
        let conditions = Conditions { version: Some(version), once: None };
        desk.person.post(&format!("{path}/grant"), &json!({}), &conditions)
    };
    assert_eq!(refusal(grant("\"1\"")), (412, "changed".into()));
    grant(&seen).unwrap();
    assert_eq!(refusal(grant(&seen)), (412, "changed".into()));
}

#[test]
fn an_override_lets_one_exact_call_through_and_is_the_same_when_sent_again() {
    let desk = Desk::start();
    let body = json!({
        "tenant": "acme", "params_hash": ParamsHash::of(b"call").to_string(),
        "rules": ["big-payment"], "ttl_s": 60,
    });
    let once = Conditions { version: None, once: Some("incident-7") };
    let given = desk.person.post("/v1/overrides", &body, &once);
    let given = checked("post", "/v1/overrides", given).unwrap().body;
    assert_eq!((&given["kind"], &given["standing"]), (&json!("override"), &json!("granted")));
    let again = desk.person.post("/v1/overrides", &body, &once).unwrap().body;
    assert_eq!(given["id"], again["id"]);
    let path = format!("/v1/approvals/acme/{}/consume", given["id"].as_str().unwrap());
    let use_it = json!({
        "params_hash": ParamsHash::of(b"call").to_string(), "rules": ["big-payment"],
    });
    desk.gateway.post(&path, &use_it, &Conditions::default()).unwrap();
    let twice = desk.gateway.post(&path, &use_it, &Conditions::default());
    assert_eq!(refusal(twice), (409, "approval-used".into()));
}

#[test]
fn approvals_are_listed_in_pages_by_standing_and_to_whom_they_concern() {
    let desk = Desk::start();
    for number in 1..=5 {
        desk.ask(number, 600).unwrap();
    }
    desk.answer(2, "grant").unwrap();
    let (mut ids, mut path) = (Vec::new(), "/v1/approvals?standing=open&limit=3".to_owned());
    loop {
        let page = checked("get", &path, desk.person.get(&path)).unwrap().body;
        ids.extend(page["approvals"].as_array().unwrap().iter().map(|it| it["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/approvals?standing=open&limit=3&cursor={next}");
    }
    let open_ones = [1, 3, 4, 5].map(|number| json!(DecisionId::new(number, [0; 10])));
    assert_eq!(ids, open_ones);

    let wish = json!({ "as": "carol", "roles": ["approver"], "tenants": ["umbrella"] });
    let carol = client(&desk.node, &crate::roles::open(&desk.node, wish).0);
    assert_eq!(carol.get("/v1/approvals").unwrap().body["approvals"], json!([]));
    let grant = Desk::path(1, "/grant");
    let theirs = carol.post(&grant, &json!({}), &Conditions::default());
    assert_eq!(refusal(theirs), (403, "other-tenant".into()));
    let body = json!({
        "tenant": "acme", "params_hash": ParamsHash::of(b"call").to_string(), "rules": ["r"],
    });
    let over = carol.post("/v1/overrides", &body, &Conditions::default());
    assert_eq!(refusal(over), (403, "other-tenant".into()));
}

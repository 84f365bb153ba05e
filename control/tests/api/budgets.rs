//! Budgets: set, shown, taken back; what they have spent; corrections, and what is kept of them.
//!
//! Not here: how gateways follow limits (`follow`). Invariant: the hot state is the real embedded one, in a directory of its
//! own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_control::{Control, HotPurse, Purse, SubjectSources};
use aegis_control_client::{Answer, ClientError, Conditions};
use aegis_domain::{AgentId, BudgetKey, DecisionId, MicroUsd, TenantId, Timestamp, ToolName, Ttl};
use aegis_registry::{Adjustment, BudgetTerms};
use aegis_state::{Ask, Binding, Budget, Budgets, HotState, Spend, StateError, TokenCheck};
use aegis_state_embedded::{EmbeddedConfig, EmbeddedState};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::node::{Node, checked, jti, now, refusal};

const DAY: &str = "/v1/tenants/acme/budgets/agent%3Abot%2Fday";

fn key(name: &str) -> BudgetKey {
    BudgetKey::parse(TenantId::parse("acme").unwrap(), name).unwrap()
}

fn usd(dollars: u64) -> MicroUsd {
    MicroUsd::new(dollars * 1_000_000)
}

fn opened(home: &Path) -> Arc<dyn HotState> {
    Arc::new(EmbeddedState::open(EmbeddedConfig::new(home.join("state"))).unwrap())
}

/// A call of `bot` that may cost 4 dollars and counts against its day and the tenant's month.
fn ask(number: u64) -> Ask {
    let list = ["agent:bot/day", "tenant/month"].map(|name| Budget::hard(key(name), usd(100)));
    Ask {
        id: DecisionId::new(now().unix_ms(), [number as u8; 10]),
        tenant: TenantId::parse("acme").unwrap(),
        agent: AgentId::parse("bot").unwrap(),
        tool: ToolName::parse("pay").unwrap(),
        token: TokenCheck {
            jti: jti(),
            token_use: aegis_domain::TokenUse::Bound,
            binding: Binding::from_bytes([1; 32]),
            issued_at: None,
            expires_at: now().plus(Ttl::from_s(60)),
        },
        rates: Default::default(),
        in_flight: Default::default(),
        budgets: Budgets::new(list.into()).unwrap(),
        estimate: usd(4),
        hold_ttl: Ttl::from_s(600),
        now: now(),
    }
}

/// A node over a hot state in which one call cost 3 dollars and another is under way; the tenant's month is configured.
pub(crate) fn spent() -> Node {
    let home = tempfile::tempdir().unwrap();
    let state = opened(home.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for number in [1, 2] {
            assert!(matches!(
                state.decide(&ask(number)).await,
                aegis_domain::HotAnswer::Granted(_)
            ));
        }
        state.settle(&ask(1).hold(), usd(3), now()).await.unwrap();
    });
    let configured = [Budget::hard(key("tenant/month"), usd(50))];
    let purse = Arc::new(HotPurse::new(state, configured));
    Node::shaped(home, SubjectSources::default(), |control| control.with_purse(purse))
}

fn put(node: &Node, path: &str, body: Value) -> Result<Answer, ClientError> {
    checked("put", path, node.admin.put(path, &body, &Conditions::default()))
}

fn adjust(node: &Node, once: Option<&str>, body: Value) -> Result<Answer, ClientError> {
    let (path, version) = ("/v1/tenants/acme/adjustments", None);
    checked("post", path, node.admin.post(path, &body, &Conditions { version, once }))
}

fn spend_of(node: &Node, name: &str) -> Value {
    let rows = node.get(&format!("/v1/tenants/acme/spend?names={name}")).body;
    rows["spend"][0].clone()
}

#[test]
fn a_budget_is_set_shown_changed_and_taken_back() {
    let node = Node::start();
    assert_eq!(refusal(node.admin.get(DAY)), (404, "not-found".into()));
    let set = put(&node, DAY, json!({ "limit_microusd": 25_000_000 })).unwrap();
    assert_eq!(
        (&set.body["name"], &set.body["overrun"]),
        (&json!("agent:bot/day"), &json!("refuse"))
    );
    assert_eq!(
        (&set.body["source"], &set.body["set_by"]),
        (&json!("region"), &json!("local admin"))
    );
    let soft = json!({ "limit_microusd": 9, "warn_at_microusd": 8, "overrun": "warn" });
    let changed = put(&node, DAY, soft).unwrap();
    let shown = node.get(DAY);
    assert_eq!((&shown.body, shown.etag), (&changed.body, changed.etag));
    assert_eq!(shown.body["warn_at_microusd"], 8);
    let gone = checked("delete", DAY, node.admin.delete(DAY, &Conditions::default())).unwrap();
    assert_eq!(gone.body, json!({ "tenant": "acme", "name": "agent:bot/day" }));
    assert_eq!(refusal(node.admin.get(DAY)).0, 404);
    let again = checked("delete", DAY, node.admin.delete(DAY, &Conditions::default()));
    assert_eq!(refusal(again), (404, "budget-unknown".into()));
}

#[test]
fn a_budget_that_was_changed_meanwhile_is_not_overwritten_and_a_command_sent_twice_counts_once() {
    let node = Node::start();
    let first = put(&node, DAY, json!({ "limit_microusd": 1 })).unwrap();
    put(&node, DAY, json!({ "limit_microusd": 2 })).unwrap();
    let body = json!({ "limit_microusd": 3 });
    let stale = Conditions { version: first.etag.as_deref(), once: None };
    assert_eq!(refusal(node.admin.put(DAY, &body, &stale)), (412, "changed".into()));
    assert_eq!(refusal(node.admin.delete(DAY, &stale)), (412, "changed".into()));
    let conditions = Conditions { version: None, once: Some("three") };
    let set = node.admin.put(DAY, &body, &conditions).unwrap();
    put(&node, DAY, json!({ "limit_microusd": 4 })).unwrap();
    let again = node.admin.put(DAY, &body, &conditions).unwrap();
    assert_eq!((again.body, again.etag), (set.body, set.etag));
    assert_eq!(node.get(DAY).body["limit_microusd"], 4);
}

#[test]
fn what_is_no_budget_is_refused_without_quoting_it() {
    let node = spent();
    for (path, body, wanted) in [
        (DAY, json!({}), (400, "malformed")),
        (DAY, json!({ "limit_microusd": 1, "overrun": "sometimes" }), (400, "malformed")),
        (DAY, json!({ "limit_microusd": 9_007_199_254_740_992_u64 }), (400, "malformed")),
        (DAY, json!({ "limit_microusd": 1, "warn_at_microusd": 2 }), (422, "over-limit")),
        ("/v1/tenants/acme/budgets/day", json!({ "limit_microusd": 1 }), (404, "not-found")),
        (
            "/v1/tenants/ACME/budgets/tenant%2Fday",
            json!({ "limit_microusd": 1 }),
            (404, "not-found"),
        ),
    ] {
        assert_eq!(refusal(put(&node, path, body)), (wanted.0, wanted.1.into()), "{path}");
    }
    for query in ["names=day", "names=", "limit=0", "nmes=x", "cursor=x"] {
        let path = format!("/v1/tenants/acme/spend?{query}");
        assert_eq!(refusal(node.admin.get(&path)), (400, "malformed".into()), "{query}");
    }
}

#[test]
fn budgets_come_in_pages_with_those_that_are_configured_and_each_comes_once() {
    let node = spent();
    for name in ["tenant%2Fday", "tool%3Apay%2F24h", "team%3Aops%2Fmonth"] {
        let path = format!("/v1/tenants/acme/budgets/{name}");
        put(&node, &path, json!({ "limit_microusd": 7 })).unwrap();
    }
    put(&node, "/v1/tenants/other/budgets/tenant%2Fday", json!({ "limit_microusd": 7 })).unwrap();
    let walk = |list: &str, member: &str| {
        let (mut seen, mut path) = (Vec::new(), format!("{list}?limit=3"));
        loop {
            let page = node.get(&path).body;
            seen.extend(page[member].as_array().unwrap().iter().map(|it| it["name"].clone()));
            let Some(next) = page["next"].as_str() else { break seen };
            path = format!("{list}?limit=3&cursor={next}");
        }
    };
    let all = ["tenant/day", "tenant/month", "team:ops/month", "tool:pay/24h"].map(Value::from);
    assert_eq!(walk("/v1/tenants/acme/budgets", "budgets"), all);
    assert_eq!(walk("/v1/tenants/acme/spend", "spend"), all);
    assert_eq!(node.get("/v1/tenants?limit=1").body["tenants"], json!(["acme"]));
    assert_eq!(node.get("/v1/tenants").body["tenants"], json!(["acme", "other"]));
}

#[test]
fn spend_is_told_with_what_is_held_and_left_of_whichever_limit_counts() {
    let node = spent();
    let month = spend_of(&node, "tenant/month");
    assert_eq!(
        (&month["spent_microusd"], &month["held_microusd"]),
        (&json!(3_000_000), &json!(4_000_000))
    );
    assert_eq!(
        (&month["left_microusd"], &month["source"]),
        (&json!(43_000_000), &json!("configuration"))
    );
    let month_path = "/v1/tenants/acme/budgets/tenant%2Fmonth";
    assert_eq!(node.get(month_path).body["source"], "configuration");
    put(&node, month_path, json!({ "limit_microusd": 5_000_000 })).unwrap();
    let month = spend_of(&node, "tenant/month");
    assert_eq!((&month["left_microusd"], &month["source"]), (&json!(0), &json!("region")));

    let rows = node.get("/v1/tenants/acme/spend?names=agent:bot/day,agent:bot/24h").body;
    let (day, rolling) = (&rows["spend"][0], &rows["spend"][1]);
    assert_eq!((&day["spent_microusd"], &day["limit_microusd"]), (&json!(3_000_000), &Value::Null));
    assert!(day["resets_at"].is_string() && rolling["resets_at"].is_null(), "{rows}");
    assert_eq!(rolling["spent_microusd"], 0);
}

#[test]
fn without_a_hot_state_limits_are_set_and_spend_is_a_clear_problem() {
    let node = Node::start();
    put(&node, DAY, json!({ "limit_microusd": 1 })).unwrap();
    let problem = (503, "no-hot-state".to_owned());
    assert_eq!(
        refusal(checked("get", "/v1/tenants/acme/spend", node.admin.get("/v1/tenants/acme/spend"))),
        problem
    );
    let wish = json!({ "budget": "tenant/day", "change_microusd": 1, "reason": "why not" });
    assert_eq!(refusal(adjust(&node, Some("once"), wish)), problem);
    assert_eq!(node.get("/v1/tenants/acme/adjustments").body["adjustments"], json!([]));
}

#[test]
fn an_adjustment_moves_money_once_and_is_kept_with_who_when_and_why() {
    let node = spent();
    let wish = json!({ "budget": "agent:bot/day", "change_microusd": -1_250_000, "reason": "refund – #17" });
    let made = adjust(&node, Some("refund-17"), wish.clone()).unwrap().body;
    assert_eq!(
        (&made["spent_microusd"], &made["held_microusd"]),
        (&json!(1_750_000), &json!(4_000_000))
    );
    assert!(made["applied_at"].is_string());
    let again = adjust(&node, Some("refund-17"), wish.clone()).unwrap().body;
    assert_eq!(again, made);
    assert_eq!(spend_of(&node, "agent:bot/day")["spent_microusd"], 1_750_000);
    let other =
        json!({ "budget": "agent:bot/day", "change_microusd": -1, "reason": "refund – #17" });
    assert_eq!(
        refusal(adjust(&node, Some("refund-17"), other)),
        (422, "idempotency-key-reused".into())
    );

    let kept = node.get("/v1/tenants/acme/adjustments").body["adjustments"].clone();
    assert_eq!(kept.as_array().unwrap().len(), 1);
    assert_eq!(
        (&kept[0]["by"], &kept[0]["reason"]),
        (&json!("local admin"), &json!("refund – #17"))
    );
    assert_eq!((&kept[0]["change_microusd"], &kept[0]["id"]), (&json!(-1_250_000), &made["id"]));
    assert_eq!(node.get("/v1/tenants/other/adjustments").body["adjustments"], json!([]));
}

#[test]
fn an_adjustment_without_key_reason_or_amount_is_refused_and_leaves_nothing() {
    let node = spent();
    let day = |more: Value| {
        let mut wish = json!({ "budget": "tenant/day", "reason": "a reason" });
        wish.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        wish
    };
    let malformed = (400, "malformed".to_owned());
    assert_eq!(refusal(adjust(&node, None, day(json!({ "change_microusd": 1 })))), malformed);
    for wrong in [
        json!({}),
        json!({ "change_microusd": 0 }),
        json!({ "change_microusd": 1.5 }),
        json!({ "change_microusd": i64::MIN }),
        json!({ "change_microusd": 1, "purpose": "fun" }),
        json!({ "change_microusd": 1, "reason": "" }),
        json!({ "change_microusd": 1, "reason": "a\nb" }),
        json!({ "change_microusd": 1, "budget": "tenant" }),
    ] {
        assert_eq!(refusal(adjust(&node, Some("k"), day(wrong.clone()))), malformed, "{wrong}");
    }
    assert_eq!(node.get("/v1/tenants/acme/adjustments").body["adjustments"], json!([]));
}

/// A purse that fails until it is told not to, as a hot state in a failover does.
#[derive(Debug)]
struct Failing {
    purse: HotPurse,
    is_up: Arc<AtomicBool>,
}

#[async_trait]
impl Purse for Failing {
    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError> {
        self.purse.spend(budget, now).await
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError> {
        if self.is_up.load(Ordering::SeqCst) {
            self.purse.adjust(adjustment).await
        } else {
            Err(StateError::TimedOut)
        }
    }

    fn configured(&self) -> Arc<std::collections::BTreeMap<BudgetKey, BudgetTerms>> {
        self.purse.configured()
    }
}

#[test]
fn an_adjustment_that_the_hot_state_missed_is_on_record_as_not_done_and_sent_again_is_done_once() {
    let home = tempfile::tempdir().unwrap();
    let is_up = Arc::new(AtomicBool::new(false));
    let purse = HotPurse::new(opened(home.path()), []);
    let purse = Arc::new(Failing { purse, is_up: Arc::clone(&is_up) });
    let with = |control: Control| control.with_purse(purse);
    let node = Node::shaped(home, SubjectSources::default(), with);
    let wish = || json!({ "budget": "tenant/day", "change_microusd": 5, "reason": "a bill" });

    assert_eq!(refusal(adjust(&node, Some("bill"), wish())), (503, "not-adjusted".into()));
    let kept = || node.get("/v1/tenants/acme/adjustments").body["adjustments"].clone();
    assert_eq!((&kept()[0]["applied_at"], kept().as_array().unwrap().len()), (&Value::Null, 1));

    is_up.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(adjust(&node, Some("bill"), wish()).unwrap().body["spent_microusd"], 5);
    }
    assert!(kept()[0]["applied_at"].is_string());
    assert_eq!(kept().as_array().unwrap().len(), 1);
}

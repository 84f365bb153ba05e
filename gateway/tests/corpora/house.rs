//! The gateway these tests call: one tenant, whose policy lets everything through that a corpus asks for.
//!
//! Not here: what is asked (each test). Invariant: whatever is refused here is refused by the gate or by the rules on
//! addresses, never by the policy; the tests check that.

use aegis_testkit::Plan;
use serde_json::{Value, json};

/// One tool of the policy, at which anything may be done.
const TOOL: &str = r#"
  @name@:
    class: write
    match: { hosts: @hosts@, methods: @methods@, paths: ["/*"] }
    allow: { groups: [staff] }
    unknown_params: strip
    params: { _body: { type: object } }
"#;

/// Those of RFC 9110 and of the corpora.
const METHODS: &str = "[GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, REPORT, SEARCH, LINK, UNLINK, PURGE, QUERY, \
    SOURCE, PROPFIND, LIST]";

/// A tenant to be: tools by their routes, and where each may go.
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) tools: Vec<(String, Value, Vec<String>)>,
    /// How calls to origins without a tool go.
    pub(crate) direct: Value,
    /// The hosts that calls through the forward proxy may go to.
    pub(crate) hosts: Vec<String>,
}

impl Tenant {
    fn config(&self) -> Value {
        let tools: serde_json::Map<String, Value> =
            self.tools.iter().map(|(name, binding, _)| (name.clone(), binding.clone())).collect();
        json!({
            "org": "acme",
            "region": "eu-west-1",
            "policy": { "enforce": format!("{}.policy.yaml", self.name) },
            "agents": { "bot": { "groups": ["staff"] } },
            "tools": tools,
            "direct": self.direct,
        })
    }

    fn policy(&self) -> String {
        let tool = |name: &str, hosts: &[String]| {
            TOOL.replace("@name@", name)
                .replace("@hosts@", &json!(hosts).to_string())
                .replace("@methods@", METHODS)
        };
        let tools = self.tools.iter().map(|(name, _, hosts)| tool(name, hosts));
        let anywhere = (!self.hosts.is_empty()).then(|| tool("anywhere", &self.hosts));
        let tools: String = tools.chain(anywhere).collect();
        format!(
            "apiVersion: aegis.dev/v1\nkind: PolicySet\n\
             metadata: {{ name: corpora, tenant: {}, env: test }}\ntools:{tools}",
            self.name
        )
    }
}

/// A building for these tenants.
pub(crate) async fn plan(tenants: &[Tenant]) -> Plan {
    let plan = Plan::new().await;
    for tenant in tenants {
        plan.file(&format!("{}.policy.yaml", tenant.name), &tenant.policy());
    }
    let configs: serde_json::Map<String, Value> =
        tenants.iter().map(|tenant| (tenant.name.clone(), tenant.config())).collect();
    // Short enough to see the end of what never ends, long enough for a busy machine.
    plan.with("/tenants", Value::Object(configs))
        .with("/limits/idle", json!("2s"))
        .with("/limits/head_deadline", json!("3s"))
        .with("/limits/body_deadline", json!("2s"))
}

//! Calls of MCP tools: judged by server, tool and arguments, whatever else the message says.
//!
//! Not here: reading messages (`rooms::mcp`) and the language (`policies/engine`).

use aegis_domain::Reason;
use aegis_testkit::{Building, Plan};
use serde_json::{Value, json};

use crate::GATEWAY;

const TOOLS: &str = "tools:
  files.read:
    class: read
    match: { mcp: { server: files, tool: read_file } }
    allow: { groups: [staff] }
    params: { path: { type: string, required: true, pattern: '^/projects/.{1,80}$' } }
    rules:
    - { id: traversal, effect: deny, when: { param: path, contains: '..' } }
  files.session:
    class: read
    match: { hosts: [open.test], methods: [POST], paths: [/mcp] }
    allow: { groups: [staff] }
    params:
      jsonrpc: { type: string }
      id: { type: integer }
      method: { type: string, required: true, in: [initialize, tools/list, ping] }
      params: { type: object }
";

async fn house() -> Building {
    let plan = Plan::new().await.policy("acme", "tools:\n", TOOLS);
    let upstream = format!("https://open.test:{}", plan.upstream().port());
    let files = json!({
        "upstream": upstream, "addresses": ["127.0.0.1"], "resolve": ["127.0.0.1"],
        "ca_file": "ca.pem", "speaks": "mcp",
    });
    plan.with("/tenants/acme/tools/files", files).start(GATEWAY).await
}

fn call(tool: &str, arguments: &Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params })
}

#[tokio::test]
async fn a_tool_call_is_judged_by_its_arguments_and_sent_as_it_was() {
    let house = house().await;
    let bot = house.agent("bot");
    let message = call("read_file", &json!({ "path": "/projects/a.txt" }));
    let record = bot.post("/files/mcp").json(&message).send().await.is_ok().record();
    assert_eq!(record.tool.unwrap().as_str(), "files.read");
    let sent: Value = serde_json::from_str(house.upstream().last().text()).unwrap();
    assert_eq!(sent, message);
    let climbing = call("read_file", &json!({ "path": "/projects/../etc/passwd" }));
    bot.post("/files/mcp").json(&climbing).send().await.is_denied(Reason::PolicyDenied);
    let elsewhere = call("read_file", &json!({ "path": "/etc/passwd" }));
    bot.post("/files/mcp").json(&elsewhere).send().await.is_denied(Reason::PolicyDenied);
    assert_eq!(house.upstream().count(), 1);
}

#[tokio::test]
async fn a_tool_that_no_policy_names_is_denied_whatever_else_is_allowed() {
    let house = house().await;
    let bot = house.agent("bot");
    for tool in ["delete_file", "Read_file", "read_file2"] {
        let message = call(tool, &json!({ "path": "/projects/a.txt" }));
        bot.post("/files/mcp").json(&message).send().await.is_denied(Reason::PolicyDenied);
    }
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    bot.post("/files/mcp").json(&list).send().await.is_ok();
    let other = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read" });
    bot.post("/files/mcp").json(&other).send().await.is_denied(Reason::PolicyDenied);
    assert_eq!(house.upstream().count(), 1);
}

#[tokio::test]
async fn a_message_that_could_be_read_two_ways_goes_nowhere() {
    let house = house().await;
    let bot = house.agent("bot");
    let allowed = call("read_file", &json!({ "path": "/projects/a.txt" })).to_string();
    let forbidden = call("delete_file", &json!({})).to_string();
    for (content_type, body) in [
        // A batch, a second name for the same member, another content type for the same JSON.
        ("application/json", format!("[{allowed},{forbidden}]")),
        ("application/json", allowed.replace("\"id\":7", "\"id\":7,\"method\":\"ping\"")),
        ("application/json", allowed.replace("\"name\"", "\"name\":\"delete_file\",\"name\"")),
        ("text/plain", allowed.clone()),
        ("application/x-www-form-urlencoded", allowed.clone()),
    ] {
        let reply = bot.post("/files/mcp").body(content_type, body.clone()).send().await;
        reply.is_denied(Reason::UnreadableBody);
    }
    assert_eq!(house.upstream().count(), 0);
}

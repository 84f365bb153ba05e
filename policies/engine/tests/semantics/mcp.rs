//! Tools of MCP servers.

use aegis_domain::McpCall;
use aegis_policy::Snapshot;
use serde_json::json;

use crate::policy;
use crate::scene::{Scene, compile, one_tool};

pub(crate) const MCP_TOOL: &str = "match: { mcp: { server: files, tool: delete_file } }";

fn mcp_policy(matching: &str) -> Snapshot {
    let text = one_tool("{ path: { type: string, required: true } }", "      []");
    compile(&text.replace("match: { hosts: [api.test], methods: [POST], paths: [/pay] }", matching))
        .unwrap()
}

pub(crate) fn mcp_call(server: &str, tool: &str) -> Scene {
    let mut scene = Scene::pay().with(&[("path", json!("/a"))]);
    let (server, tool) = (server.parse().unwrap(), tool.parse().unwrap());
    scene.call.mcp = Some(McpCall { server, tool });
    scene
}

#[test]
fn an_mcp_tool_is_matched_by_server_and_name_whatever_the_endpoint() {
    let snapshot = mcp_policy(MCP_TOOL);
    let mut scene = mcp_call("files", "delete_file");
    scene.call.path = "/anything".to_owned();
    scene.call.host = "mcp.test".parse().unwrap();
    assert_eq!(scene.answer(&snapshot), "allow");
    for (server, tool, expected) in [
        ("files", "read_file", "deny request.mcp-tool"),
        ("files", "delete_file.", "deny request.mcp-tool"),
        ("other", "delete_file", "deny request.mcp-server"),
        ("other", "read_file", "deny request.mcp-server,request.mcp-tool"),
    ] {
        assert_eq!(mcp_call(server, tool).answer(&snapshot), expected);
    }
    let plain = Scene::pay().with(&[("path", json!("/a"))]);
    assert_eq!(plain.answer(&snapshot), "deny request.mcp-server,request.mcp-tool");
}

#[test]
fn an_mcp_tool_may_name_the_hosts_as_well() {
    let snapshot =
        mcp_policy("match: { hosts: ['*.mcp.test'], mcp: { server: files, tool: delete_file } }");
    let mut scene = mcp_call("files", "delete_file");
    assert_eq!(scene.answer(&snapshot), "deny request.host");
    scene.call.host = "a.mcp.test".parse().unwrap();
    assert_eq!(scene.answer(&snapshot), "allow");
}

#[test]
fn a_tool_of_plain_requests_refuses_mcp_calls() {
    let snapshot = policy("{ path: { type: string } }", "      []");
    assert_eq!(Scene::pay().answer(&snapshot), "allow");
    assert_eq!(mcp_call("files", "delete_file").answer(&snapshot), "deny request.mcp");
}

#[test]
fn an_mcp_call_finds_an_mcp_tool_and_never_one_by_path() {
    let tools = [
        ("mcp", "match: { hosts: [api.test], methods: [POST], paths: [/pay] }"),
        ("mcp.other", "match: { mcp: { server: mail, tool: delete } }"),
        ("mcp.read", "match: { mcp: { server: files, tool: read } }"),
        ("mcp.delete", "match: { mcp: { server: files, tool: delete } }"),
    ];
    let tools = tools
        .map(|(name, matching)| format!("  {name}: {{ class: write, {matching}, allow: {{}} }}\n"));
    let head = "apiVersion: aegis.dev/v1\nkind: PolicySet\nmetadata: { tenant: demo, env: dev }\n";
    let snapshot = compile(&format!("{head}tools:\n{}", tools.concat())).unwrap();
    let found = |mcp: Option<(&str, &str)>| {
        let mut scene = mcp.map_or_else(Scene::pay, |(server, tool)| mcp_call(server, tool));
        scene.call.route = "mcp".parse().unwrap();
        snapshot.resolve(&scene.call).unwrap().to_string()
    };
    assert_eq!(found(None), "mcp");
    assert_eq!(found(Some(("files", "delete"))), "mcp.delete");
    assert_eq!(found(Some(("mail", "delete"))), "mcp.other");
    assert_eq!(found(Some(("files", "read"))), "mcp.read");
    // Nothing matches: some MCP tool refuses it, never the tool whose path holds.
    assert_ne!(found(Some(("files", "write"))), "mcp");
}

//! Unknown parameters that are stripped.

use aegis_domain::{Detector, Obligation};
use aegis_policy::Snapshot;
use serde_json::json;

use crate::approvals::APPROVALS;
use crate::found;
use crate::mcp::{MCP_TOOL, mcp_call};
use crate::scene::{Scene, compile, one_tool};

fn stripping(rules: &str) -> Snapshot {
    let text = one_tool("{ x: { type: integer }, y: { type: string } }", rules);
    compile(&text.replace("    class: write", "    class: write\n    unknown_params: strip"))
        .unwrap()
}

#[test]
fn stripped_parameters_are_a_sanitize_that_keeps_the_declared_fields() {
    let snapshot = stripping("      []");
    let keep = Obligation::KeepFields { fields: vec!["x".to_owned(), "y".to_owned()] };
    assert_eq!(Scene::pay().with(&[("x", json!(1))]).answer(&snapshot), "allow");
    let scene = Scene::pay().with(&[("x", json!(1)), ("z", json!(1))]);
    assert_eq!(scene.answer(&snapshot), "sanitize schema.unknown-param");
    assert_eq!(scene.ask(&snapshot).obligations, [keep]);
    let scene = Scene::pay().with(&[("x", json!("1")), ("z", json!(1))]);
    assert_eq!(scene.answer(&snapshot), "deny schema.x");
}

#[test]
fn stripping_stands_beside_other_rules_as_any_sanitize_rule_does() {
    let snapshot = stripping(APPROVALS);
    let scene = Scene::pay().with(&[("x", json!(2)), ("z", json!(1))]);
    assert_eq!(scene.answer(&snapshot), "approval_needed one");
    assert_eq!(scene.ask(&snapshot).obligations.len(), 1);
    let mut scene = Scene::pay().with(&[("x", json!(1)), ("z", json!(1))]);
    scene.dlp = found(&[Detector::Ssn]);
    assert_eq!(scene.answer(&snapshot), "sanitize san,schema.unknown-param");
    assert_eq!(scene.ask(&snapshot).obligations.len(), 3);
}

#[test]
fn a_default_strips_where_the_tool_says_nothing_and_the_call_is_no_mcp_call() {
    let with = |more: &str| {
        let text = one_tool("{}", "      []")
            .replace("kind: PolicySet", "kind: PolicySet\ndefaults: { unknown_params: strip }");
        let plain = "match: { hosts: [api.test], methods: [POST], paths: [/pay] }";
        compile(&text.replace(plain, &more.replace("PLAIN", plain))).unwrap()
    };
    let scene = Scene::pay().with(&[("z", json!(1))]);
    assert_eq!(scene.answer(&with("PLAIN")), "sanitize schema.unknown-param");
    let denied = with("PLAIN\n    unknown_params: deny");
    assert_eq!(scene.answer(&denied), "deny schema.unknown-param");
    let mcp = mcp_call("files", "delete_file").answer(&with(MCP_TOOL));
    assert_eq!(mcp, "deny schema.unknown-param");
}

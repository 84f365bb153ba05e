//! The API as Schemathesis sees it: requests made from the document, sound and unsound, and every answer held against it.
//!
//! Not here: what answers mean. `make clients` installs Schemathesis; without it this test says so and is skipped, but where
//! `CI` is set it fails. Invariant: the seed is fixed, so that a finding can be found again.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::clients::installed;
use crate::node::Node;

/// Enough to meet every rule of the document within half a minute.
const EXAMPLES: &str = "10";
/// Enough to ask every operation of somebody who may do little.
const EXAMPLES_OF_FEW: &str = "3";

#[test]
fn schemathesis_finds_nothing() {
    let Some(clients) = installed("venv/bin/schemathesis") else { return };
    let node = crate::budgets::spent();
    node.agent("bot", 1, json!({}));
    let token = std::fs::read_to_string(node.home.path().join("admin.token")).unwrap();
    run(&clients, &node, token.trim(), EXAMPLES);
}

#[test]
fn schemathesis_finds_nothing_as_an_approver_of_one_tenant() {
    let Some(clients) = installed("venv/bin/schemathesis") else { return };
    let node = crate::budgets::spent();
    node.agent("bot", 1, json!({}));
    let wish = json!({ "as": "alice", "roles": ["approver"], "tenants": ["acme"] });
    let (token, _) = crate::roles::open(&node, wish);
    run(&clients, &node, &token, EXAMPLES_OF_FEW);
}

fn run(clients: &Path, node: &Node, token: &str, examples: &str) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let output = Command::new(clients.join("venv/bin/schemathesis"))
        .current_dir(node.home.path())
        .args([
            "--config-file",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/schemathesis.toml"),
        ])
        .args(["run", &format!("{}/v1/openapi.json", node.url)])
        .args([
            "--max-examples",
            examples,
            "--seed",
            "1",
            "--generation-deterministic",
            "--no-color",
            // Most of what is made up for a list holds a cursor, which our hooks leave out.
            "--suppress-health-check",
            "filter_too_much",
        ])
        .env("SCHEMATHESIS_HOOKS", scripts.join("schemathesis_hooks.py"))
        .env("AEGIS_ADMIN", token)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let last: Vec<_> = said.lines().rev().take(12).collect();
    println!("{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

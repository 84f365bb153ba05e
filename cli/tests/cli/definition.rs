//! Tools and tenants' limits from the command line: set from a file, shown as they were written, checked, taken back.
//!
//! Not here: the API's own rules (`control/tests`). Invariant: the control node and the program are real.

use std::fs;

use crate::region::Region;
use crate::support::{json, stderr, stdout};

const TOOL: &str = "# Customers.\nupstream: https://crm.example.com   # live\nkind: read\n";

#[test]
fn a_tool_is_set_from_a_file_shown_as_it_is_and_removed() {
    let region = Region::start();
    let file = region.home.path("crm.yaml");
    fs::write(&file, TOOL).unwrap();
    let file = file.to_str().unwrap();
    region.says("", &format!("tool set acme crm {file} --if-unchanged 0"));
    let shown = region.says("", "tool show acme crm");
    assert_eq!(shown, TOOL, "byte for byte");
    // What was shown can be set again, from stdin.
    region.says(&shown, "tool set acme billing");
    let listed = json(&region.run("", "tool list acme -o json").success());
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["billing", "crm"]);
    let version = listed[1]["version"].as_u64().unwrap();
    let late = region.run("", &format!("tool set acme crm {file} --if-unchanged 0")).failure();
    assert!(stderr(&late).contains("changed"), "{}", stderr(&late));
    region.says("", &format!("tool remove acme crm --if-unchanged {version}"));
    assert!(!region.says("", "tool list acme").contains("crm"));
    region.run("", "tool show acme crm").code(3);
    region.run("", "tool remove acme crm").code(3);
}

#[test]
fn a_mistake_is_told_by_the_line_of_the_file_that_was_named() {
    let region = Region::start();
    let file = region.home.path("crm.yaml");
    fs::write(&file, "upstream: https://crm.example.com\ncredential: { env: HOME }\n").unwrap();
    let file = file.to_str().unwrap();
    for command in ["check", "set"] {
        let refused = region.run("", &format!("tool {command} acme crm {file}")).code(3);
        let told = stderr(&refused);
        assert!(told.contains(&format!("{file}:2:13: ")), "{told}");
        assert!(told.contains("help: keep the secret on gateways"), "{told}");
    }
    let refused = region.run("kind: writes\n", "tool check acme crm").code(3);
    assert!(stderr(&refused).contains("stdin:1:7: "), "{}", stderr(&refused));
    let checked = region.run(TOOL, "tool check acme crm").success();
    assert!(stderr(&checked).contains("an author may set it"), "{}", stderr(&checked));
    let priced = format!("{TOOL}price: {{ per_call_usd: '0.01' }}\n");
    let checked = region.run(&priced, "tool check acme crm").success();
    assert!(stderr(&checked).contains("an admin may set it"), "{}", stderr(&checked));
    assert_eq!(json(&region.run("", "tool list acme -o json").success()), serde_json::json!([]));
}

#[test]
fn the_limits_of_a_tenant_are_set_shown_and_taken_back() {
    let region = Region::start();
    let limits = "budgets: { day_usd: '20' }\nin_flight: 4\n";
    region.says(limits, "tenant limits set acme");
    assert_eq!(region.says("", "tenant limits show acme"), limits);
    let refused = region.run("upstream: https://a.example\n", "tenant limits set acme").code(3);
    assert!(stderr(&refused).contains("stdin:1:1: "), "{}", stderr(&refused));
    region.says("", "tenant limits remove acme");
    region.run("", "tenant limits show acme").code(3);
    assert!(stdout(&region.run("", "tenant limits --help").success()).contains("remove"));
}

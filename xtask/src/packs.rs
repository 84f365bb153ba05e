//! Every policy we ship compiles and passes its own tests, and the tests see each rule both ways and each check refuse.
//!
//! Not here: the language (`policies/language`). Invariant: a file below `policies/packs` that ends in `.yaml` is a policy; a
//! tree without packs is in order.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aegis_document::{Diagnostics, Document, Location};
use aegis_domain::{RuleId, ToolName};
use aegis_policy::{CompileContext, Snapshot, cases};
use aegis_policy_language::{ExpectedRules, PolicySet, Tool};
use anyhow::Context as _;

use crate::finding::Finding;

const PACKS: &str = "policies/packs";
/// Shows the language rather than guarding anything, so its tests may leave checks out.
const DEMO: &str = "policies/packs/demo.yaml";

pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if root.join(PACKS).is_dir() {
        visit(root, PACKS, &mut findings)?;
    }
    Ok(findings)
}

fn visit(root: &Path, folder: &str, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| folder.to_owned())? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            visit(root, &path, findings)?;
        } else if path.ends_with(".yaml") {
            let text = fs::read_to_string(entry.path()).with_context(|| path.clone())?;
            match judge(&path, &text) {
                Ok(failed) => findings.extend(failed),
                Err(mistakes) => findings.extend(mistakes.iter().map(|mistake| Finding {
                    file: path.clone(),
                    line: usize::try_from(mistake.line).unwrap_or(1),
                    problem: mistake.message.clone(),
                    cure: mistake.help.clone().unwrap_or_else(|| "correct the policy".into()),
                })),
            }
        }
    }
    Ok(())
}

fn judge(path: &str, text: &str) -> Result<Vec<Finding>, Diagnostics> {
    let set = PolicySet::parse(&[Document::parse(path, text)?])?;
    let snapshot = Snapshot::of(&set, CompileContext { version: 1 })?;
    let report = cases::run(&snapshot, &set);
    let mut findings = if path == DEMO { Vec::new() } else { untested(path, &set, &report) };
    findings.extend(report.cases.into_iter().filter_map(|case| {
        let problem = format!("test {}: {}", case.name, case.failure?);
        Some(finding(path, &case.at, problem, "correct the rule or the test"))
    }));
    Ok(findings)
}

/// The rules that no test sees both ways, the checks that no test sees refuse, the exceptions that no test uses.
fn untested(path: &str, set: &PolicySet, report: &cases::CaseReport) -> Vec<Finding> {
    let rules = report.uncovered().map(|rule| {
        let problem = format!("no test sees the rule {} of {} both ways", rule.rule, rule.tool);
        finding(path, &rule.at, problem, "add a case where it fires and one where it does not")
    });
    let checks = set.tools.iter().flat_map(|(name, tool)| {
        let refused = refused(set, name);
        let unseen =
            checks(set, tool).into_iter().filter(move |check| !refused.contains(check.as_str()));
        unseen.map(move |check| {
            let problem = format!("no test of {name} is denied by {check}");
            finding(path, &tool.at, problem, "name it in the `deny` that a case expects")
        })
    });
    let used: BTreeSet<&RuleId> =
        set.examples.iter().filter_map(|example| example.exceptions.as_ref()).flatten().collect();
    let exceptions = set.all_exceptions().filter(|exception| !used.contains(&exception.id));
    let exceptions = exceptions.map(|exception| {
        let problem = format!("no test uses the exception {}", exception.id);
        finding(path, &exception.at, problem, "add a case that expects it, and one after its end")
    });
    rules.chain(checks).chain(exceptions).collect()
}

/// What the tests of a tool expect to be denied by.
fn refused<'s>(set: &'s PolicySet, tool: &ToolName) -> BTreeSet<&'s str> {
    let examples = set.examples.iter().filter(|example| example.tool == *tool);
    let ids = examples.filter_map(|example| match &example.rules {
        ExpectedRules::Exactly(ids) => Some(ids.iter().map(RuleId::as_str)),
        ExpectedRules::Any => None,
    });
    ids.flatten().collect()
}

/// The names of the checks that a tool's match, grant and parameters make.
fn checks(set: &PolicySet, tool: &Tool) -> Vec<String> {
    let host = (!set.members(&tool.matching.hosts).is_empty()).then_some("request.host");
    let matching: &[&str] = match tool.matching.mcp {
        Some(_) => &["request.mcp-server", "request.mcp-tool", "schema.unknown-param"],
        None => &["request.mcp", "request.method", "request.path", "schema.unknown-param"],
    };
    let groups = tool.allow.groups.as_ref().map(|_| "agent.group");
    let regions = tool.allow.regions.as_ref().map(|_| "request.region");
    let fixed =
        matching.iter().copied().chain(host).chain(groups).chain(regions).map(str::to_owned);
    let scopes = tool.allow.scopes.iter().map(|scope| scope.as_str().to_owned());
    let params = tool.params.keys().map(|param| format!("schema.{param}"));
    fixed.chain(scopes).chain(params).collect()
}

fn finding(path: &str, at: &Location, problem: String, cure: &str) -> Finding {
    let line = usize::try_from(at.position.line).unwrap_or(1);
    Finding { file: path.to_owned(), line, problem, cure: cure.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { name: a, tenant: a, env: prod, owners: [a] }
defaults: { effect: deny, on_error: deny, unknown_params: deny }
tools:
  t.read:
    class: read
    match: { hosts: [a.example], methods: [GET], paths: [/] }
    allow: { groups: [g] }
tests:
- name: granted
  tool: t.read
  agent: { groups: [g] }
  cases:
  - { params: {}, expect: allow }
  - name: grant
    agent: {}
    mcp: { server: s, tool: t }
    host: b.example
    method: PUT
    path: /x
    params: { x: 1 }
    expect: { deny: [agent.group, request.host, request.mcp, request.method, request.path, schema.unknown-param] }
";

    fn check_pack(text: &str) -> Vec<String> {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(PACKS).join("llm");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("p.yaml"), text).unwrap();
        check(home.path()).unwrap().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_pack_that_compiles_and_passes_its_tests_is_in_order() {
        assert_eq!(check_pack(GOOD), Vec::<String>::new());
        assert!(check(tempfile::tempdir().unwrap().path()).unwrap().is_empty());
    }

    #[test]
    fn a_pack_with_a_mistake_or_a_failing_test_is_found_at_its_line() {
        let broken = check_pack(&GOOD.replace("class: read", "class: raed"));
        assert!(broken[0].starts_with("policies/packs/llm/p.yaml:7: "), "{broken:?}");
        let failing = check_pack(&GOOD.replace("expect: allow", "expect: deny"));
        assert!(
            failing[0].starts_with("policies/packs/llm/p.yaml:15: test granted"),
            "{failing:?}"
        );
    }

    #[test]
    fn a_check_that_no_test_sees_refuse_is_found_at_its_tool() {
        let unseen = check_pack(&GOOD.replace("deny: [agent.group, ", "deny: ["));
        assert!(
            unseen.iter().any(|line| line.starts_with("policies/packs/llm/p.yaml:7: ")
                && line.contains("no test of t.read is denied by agent.group")),
            "{unseen:?}"
        );
    }

    #[test]
    fn a_rule_that_no_test_sees_both_ways_is_found_at_its_line() {
        let rule =
            "    rules:\n    - { id: secrets, effect: deny, when: { dlp: [secret] } }\ntests:";
        let unseen = check_pack(&GOOD.replace("tests:", rule));
        assert_eq!(unseen.len(), 1, "{unseen:?}");
        assert!(
            unseen[0].starts_with(
                "policies/packs/llm/p.yaml:11: no test sees the rule secrets of t.read both ways"
            ),
            "{unseen:?}"
        );
    }

    #[test]
    fn an_exception_that_no_test_uses_is_found_at_its_line() {
        let text = "exceptions:\n\
            - { id: once, owner: a, reason: b, expires: 2027-01-01T00:00:00Z, rules: [secrets] }\n\
            tests:";
        let rule = "    rules:\n    - { id: secrets, effect: deny, when: { dlp: [secret] } }\n";
        let unseen = check_pack(&GOOD.replace("tests:", &format!("{rule}{text}")));
        assert!(
            unseen.iter().any(|line| line
                .starts_with("policies/packs/llm/p.yaml:13: no test uses the exception once")),
            "{unseen:?}"
        );
    }
}

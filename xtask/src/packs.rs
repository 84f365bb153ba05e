//! Every policy we ship compiles and passes its own tests.
//!
//! Not here: the language (`policies/engine`). Invariant: a file below `policies/packs` that ends in `.yaml` is a policy; a
//! tree without packs is in order.

use std::fs;
use std::path::Path;

use aegis_document::{Diagnostics, Document};
use aegis_policy::{CompileContext, Snapshot, cases};
use aegis_policy_language::PolicySet;
use anyhow::Context as _;

use crate::finding::Finding;

const PACKS: &str = "policies/packs";

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
    let failed = report.cases.into_iter().filter_map(|case| {
        Some(Finding {
            file: path.to_owned(),
            line: usize::try_from(case.at.position.line).unwrap_or(1),
            problem: format!("test {}: {}", case.name, case.failure?),
            cure: "correct the rule or the test".into(),
        })
    });
    Ok(failed.collect())
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
}

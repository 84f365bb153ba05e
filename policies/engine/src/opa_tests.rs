//! The tests of a policy in OPA's own form, so that `opa test` on stock OPA runs them too.
//!
//! Not here: running them on our engines (`cases`). Invariant: these files are no part of the bundle, because `with` does
//! not compile for the RVM; they ask the bundle's dispatcher, each with the whole input document of its example.

use std::collections::BTreeMap;

use aegis_domain::RuleId;
use aegis_policy_language::{Example, ExpectedRules, PolicySet, canonical, package_of};

use crate::bundle::{BundleFile, json};
use crate::cases;
use crate::snapshot::Snapshot;

/// One `_test.rego` for every tool that has tests; an error names the example that is not a call.
pub fn files(snapshot: &Snapshot, set: &PolicySet) -> Result<Vec<BundleFile>, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (index, example) in set.examples.iter().enumerate() {
        let document = cases::document(snapshot, set, example)
            .map_err(|error| format!("{}: {error}", example.at))?;
        let package = package_of(&example.tool);
        let text = texts.entry(package.clone()).or_insert_with(|| {
            format!(
                "# Compiled by Aegis from the tests of the policy. Change those, not this file.\n\
                 package aegis_test.{package}\n"
            )
        });
        text.push_str(&test(example, index, &json::compact(&document)));
    }
    let named = |(package, text): (String, String)| BundleFile {
        name: format!("{package}_test.rego"),
        bytes: text.into_bytes(),
    };
    Ok(texts.into_iter().map(named).collect())
}

fn test(example: &Example, index: usize, document: &str) -> String {
    let file = example.at.file.rsplit(['/', '\\']).next().unwrap_or_default();
    let file: String = file.chars().filter(|c| !c.is_control()).collect();
    let line = example.at.position.line;
    let name: String =
        example.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let mut body = format!(
        "\tdecision := data.aegis.egress.decision with input as {document}\n\
         \tdecision.effect == \"{}\"\n",
        example.effect.as_str()
    );
    if let ExpectedRules::Exactly(ids) = &example.rules {
        body.push_str(&members("rules", ids.iter()));
    }
    if let Some(ids) = &example.would {
        body.push_str(&members("would", ids.iter()));
    }
    format!("\n# {file}:{line}\ntest_{index}_{name} if {{\n{body}}}\n")
}

/// The ladder answers with sets, and with empty arrays where nothing can be in them.
fn members<'r>(of: &str, ids: impl Iterator<Item = &'r RuleId>) -> String {
    let ids: Vec<String> = ids.map(|id| canonical::string(id.as_str())).collect();
    let set = if ids.is_empty() { "set()".to_owned() } else { format!("{{{}}}", ids.join(", ")) };
    format!("\t{{id | some id in decision.{of}}} == {set}\n")
}

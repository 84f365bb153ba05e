//! From the typed set to Rego: one module per tool, a dispatcher for stock OPA, and `data.json`.
//!
//! Not here: evaluating any of it (`rego`), hashing it (`snapshot`). Invariant: what comes out is inside the safe
//! subset that OPA, the interpreter and the RVM read alike; `linter` has read every tool's module; the dispatcher is a constant but for the tenant's id.

mod checks;
mod conditions;
mod data;
mod linter;
mod module;
mod shape;

use std::collections::BTreeMap;

use aegis_domain::ToolName;
use serde_json::Value;

use crate::projection::{Projection, Reads};
use aegis_document::{Diagnostics, Location};
use aegis_policy_language::PolicySet;
use aegis_policy_language::canonical;

pub(crate) use data::obligations;

/// Everything a set compiles to.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) tools: BTreeMap<ToolName, Module>,
    pub(crate) dispatcher: Module,
    /// The document under `data.aegis_data`.
    pub(crate) data: Value,
}

/// One Rego file.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) path: String,
    pub(crate) package: String,
    pub(crate) source: String,
    /// What it reads of the input.
    pub(crate) reads: Projection,
    /// Which line of the policy each emitted rule comes from, by the line of its head.
    pub(crate) source_map: Vec<(usize, Location)>,
}

impl Module {
    /// Where in the policy the rule around this emitted line comes from.
    fn origin(&self, line: usize) -> Location {
        let before = self.source_map.iter().take_while(|(head, _)| *head <= line).last();
        match before {
            Some((_, at)) => at.clone(),
            None => Location::start_of(&self.path),
        }
    }
}

pub(crate) fn lower(set: &PolicySet) -> Result<Lowered, Diagnostics> {
    let mut sets = data::Sets::new(set);
    let tools: BTreeMap<ToolName, Module> = set
        .tools
        .iter()
        .map(|(name, tool)| (name.clone(), module::tool_module(set, (name, tool), &mut sets)))
        .collect();
    let lowered = Lowered { dispatcher: dispatcher(set), data: data::document(set, &sets), tools };
    let mut found = Diagnostics::default();
    for module in lowered.tools.values() {
        for refusal in linter::refusals(&module.source) {
            let message = format!("{}:{}: {}", module.path, refusal.line, refusal.what);
            found.report(&module.origin(refusal.line), message, None);
        }
    }
    found.or(lowered)
}

/// What a module reads, and what the dispatcher before it does.
fn reads(source: &str) -> Projection {
    let mut reads = linter::reads(source);
    for part in ["tenant", "tool"] {
        reads.add(&[part.to_owned()], Reads::Value);
    }
    reads
}

/// `base.name`, or `base["name"]` where the name is a keyword.
fn member(base: &str, name: &str) -> String {
    if aegis_policy_language::is_keyword(name) {
        format!("{base}[{}]", canonical::string(name))
    } else {
        format!("{base}.{name}")
    }
}

/// The entry point of stock OPA: finds the tool's package, denies what has none.
fn dispatcher(set: &PolicySet) -> Module {
    let tenant = canonical::string(set.tenant.as_str());
    let source = format!(
        "# Compiled by Aegis. Change the policy, not this file.\n\
         package aegis.egress\n\
         \n\
         pkg := data.aegis_data.tools[input.tool].package\n\
         \n\
         default decision := {{\"effect\": \"deny\", \"rules\": [\"egress.default-deny\"], \
         \"obligations\": [], \"approvals\": [], \"would\": [], \"exceptions\": []}}\n\
         \n\
         decision := data.aegis.tool[pkg].decision if {{\n\
         \tinput.tenant == {tenant}\n\
         \tis_string(pkg)\n\
         }}\n"
    );
    Module {
        path: "aegis/egress.rego".to_owned(),
        package: "aegis.egress".to_owned(),
        source,
        reads: Projection::default(),
        source_map: Vec::new(),
    }
}

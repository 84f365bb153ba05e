//! Which tools may be called while the hot state is silent: decided when a policy is compiled, not in the outage.
//!
//! Not here: whether the operator wants that at all, and what a call costs (`decide::outage`). Invariant: such a tool
//! only reads, and its program looks at nothing the gateway finds out about a call: no scan, no budget, no calendar, no
//! approval. So its answer is the same with and without hot state.

use std::collections::BTreeSet;

use aegis_domain::{CallKind, ToolName};
use aegis_policy_language::PolicySet;

use crate::lower::Lowered;

/// What stands under `input` and is neither the call nor the agent.
const FOUND_OUT: [&str; 2] = ["input.context", "input.facts"];

pub(crate) fn tools(set: &PolicySet, lowered: &Lowered) -> BTreeSet<ToolName> {
    let reads = set.tools.iter().filter(|(_, tool)| tool.class == CallKind::Read);
    let names = reads.map(|(name, _)| name).filter(|name| {
        // The program itself is asked, so a new construct of the language cannot be forgotten here. Such a path inside
        // a constant only makes a tool wait for the hot state.
        let module = lowered.tools.get(*name);
        module.is_some_and(|module| !FOUND_OUT.iter().any(|path| module.source.contains(path)))
    });
    names.cloned().collect()
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;

    use super::*;
    use crate::{CompileContext, Snapshot};

    /// A tool of this class with these rules, and whether it may be called in an outage.
    fn may_degrade(class: &str, rules: &str) -> bool {
        let text = format!(
            "apiVersion: aegis.dev/v1\n\
             kind: PolicySet\n\
             metadata: {{ name: t, tenant: acme, env: prod }}\n\
             calendars: {{ open: {{ tz: UTC, weekly: [\"Mon-Fri 08:00-20:00\"] }} }}\n\
             approvals: {{ chief: {{ route: \"slack:#a\", expires: 15m }} }}\n\
             obligations: {{ slim: {{ keep_fields: [id] }} }}\n\
             tools:\n  t:\n    class: {class}\n    \
             match: {{ hosts: [a.test], methods: [GET], paths: [/x] }}\n    allow: {{}}\n    \
             params: {{ n: {{ type: integer }} }}\n    rules:\n    \
             - {{ id: base, effect: deny, when: {{ param: n, gt: 5 }} }}\n    {rules}\n"
        );
        let document = Document::parse("t.yaml", &text).unwrap();
        let snapshot = Snapshot::compile(&[document], CompileContext { version: 1 }).unwrap();
        snapshot.may_degrade(&ToolName::parse("t").unwrap())
    }

    #[test]
    fn a_read_that_needs_only_the_call_and_the_agent_may_go_on() {
        assert!(may_degrade("read", ""));
        assert!(may_degrade("read", "- { id: r, effect: deny, when: { agent: tier, eq: low } }"));
        let always = "- { id: r, effect: sanitize, when: always, obligation: slim }";
        assert!(may_degrade("read", always));
    }

    #[test]
    fn a_write_and_whatever_needs_a_fact_waits_for_the_hot_state() {
        assert!(!may_degrade("write", ""));
        for rule in [
            "- { id: r, effect: deny, when: { dlp: [secret] } }",
            "- { id: r, effect: deny, when: { not: { calendar: open } } }",
            "- { id: r, effect: deny, when: { budget_remaining: { lt: estimated_cost } } }",
            "- { id: r, effect: approval_needed, when: { param: n, gt: 3 }, approval: chief }",
        ] {
            assert!(!may_degrade("read", rule), "{rule}");
        }
    }

    #[test]
    fn an_unknown_tool_does_not_go_on() {
        let set = "apiVersion: aegis.dev/v1\nkind: PolicySet\n\
                   metadata: { name: t, tenant: acme, env: prod }\ntools: {}\n";
        let document = Document::parse("t.yaml", set).unwrap();
        let snapshot = Snapshot::compile(&[document], CompileContext { version: 1 }).unwrap();
        assert!(!snapshot.may_degrade(&ToolName::parse("t").unwrap()));
    }
}

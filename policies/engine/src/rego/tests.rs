//! What a decision costs, in RVM instructions: a figure that no busy machine changes.
//!
//! Not here: whether the decision is right. The count is the smallest limit under which the program still answers.

use aegis_document::Document;
use aegis_policy_language::PolicySet;

use super::*;
use crate::cases;
use crate::lower::lower;
use crate::snapshot::{CompileContext, Snapshot};

const DEMO: &str = include_str!("../../../packs/demo.yaml");

/// Instructions for the first test of a tool.
fn instructions(text: &str, tool: &str) -> usize {
    let set = PolicySet::parse(&[Document::parse("p.yaml", text).unwrap()]).unwrap();
    let snapshot = Snapshot::of(&set, CompileContext { version: 1 }).unwrap();
    let lowered = lower(&set).unwrap();
    let program = Program::compile(&lowered.tools[&tool.parse().unwrap()]).unwrap();
    let data = Data::new(&lowered.data);
    let example = set.examples.iter().find(|example| example.tool.as_str() == tool).unwrap();
    let document = cases::document(&snapshot, &set, example).unwrap();
    let answers = |limit: usize| {
        // Only the instruction limit counts here, not a wall clock that the machine's other work moves.
        std::iter::repeat_with(|| program.run(&data, Input::from_json(&document), limit))
            .find(|answer| !matches!(answer, Err(VmError::TimeLimitExceeded { .. })))
            .is_some_and(|answer| answer.is_ok_and(|value| value != Value::Undefined))
    };
    let (mut too_few, mut enough) = (0, INSTRUCTIONS_MAX);
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        if answers(middle) { enough = middle } else { too_few = middle }
    }
    enough
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are for whoever runs the test")]
fn a_decision_costs_few_instructions() {
    // A quarter above what was counted when this was written.
    for (tool, most) in
        [("payments.create", 495), ("chat.completions", 858), ("patients.read", 271)]
    {
        let counted = instructions(DEMO, tool);
        println!("RVM instructions for {tool}: {counted}");
        assert!(counted <= most, "{tool}: {counted}");
    }
}

#[test]
fn other_tools_do_not_make_a_decision_dearer() {
    let tools = DEMO.find("tools:\n").unwrap() + "tools:\n".len();
    let (head, rest) = DEMO.split_at(tools);
    let others = (0..50).map(|n| {
        format!(
            "  other.t{n}: {{ class: read, match: {{ hosts: [o{n}.test], methods: [GET], paths: [/] }}, allow: {{}} }}\n"
        )
    });
    let crowded = format!("{head}{}{rest}", others.collect::<String>());
    let tool = "payments.create";
    assert_eq!(instructions(&crowded, tool), instructions(DEMO, tool));
}

//! The second look at emitted Rego: reads each line again and refuses whatever is outside the safe subset.
//!
//! Not here: writing Rego, and what a line's shape is (`shape`). Invariant: this knows nothing of the tree that was
//! lowered, only text, so a mistake in lowering, or a name that broke out of its place, is caught before an engine
//! sees it.

use std::collections::BTreeSet;

use super::module::DECISION;
use super::shape::{self, Shape};
use crate::projection::{Projection, Reads};

/// A line outside the subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// Columns and lines that regorus takes.
const COLUMNS_MAX: usize = 1_024;
const LINES_MAX: usize = 20_000;

// In these lists R is a reference to the input, S a text, N a number, X a raw text, C the name of a condition,
// D the name of a detail set, W any name.

/// Lines that stand outside bodies.
const HEADS: [&str; 8] = [
    "package aegis.tool.W",
    "C if {",
    "}",
    "D := set()",
    "D contains S if C",
    "D contains S if not C",
    "declared(k) if data.aegis_data.sets.W[k]",
    "not_declared(k) if not declared(k)",
];

/// Body lines that are false when what they look at is missing or of another type, in every engine.
const PLAIN: [&str; 11] = [
    "true",
    "C",
    "not C",
    "not_declared(k)",
    "R == S",
    "R == N",
    "R == true",
    "R == false",
    "data.aegis_data.sets.W[R]",
    "data.aegis_data.sets.W[g]",
    "data.aegis_data.hosts[S][h]",
];

/// Body lines that establish a type.
const GUARDS: [&str; 5] =
    ["is_string(R)", "is_number(R)", "is_boolean(R)", "is_array(R)", "is_object(R)"];

/// Body lines whose references need a guard before them in the same body.
const TYPED: [&str; 21] = [
    "R == floor(R)",
    "R > N",
    "R >= N",
    "R < N",
    "R <= N",
    "R > R",
    "R >= R",
    "R < R",
    "R <= R",
    "count(R) <= N",
    "count(R) == N",
    "count(R) > N",
    "startswith(R, S)",
    "endswith(R, S)",
    "contains(R, S)",
    "regex.match(X, R)",
    "some h in R",
    "some g in R",
    "some k, _ in R",
    "S in R",
    "S in object.keys(R)",
];

/// Those of them that look at the keys of an object only.
const KEYED: [&str; 2] = ["some k, _ in R", "S in object.keys(R)"];

/// Every line of a tool's module that is not in the subset.
pub(super) fn refusals(source: &str) -> Vec<Refusal> {
    let ladder: BTreeSet<&str> = DECISION.lines().collect();
    let mut guarded: BTreeSet<String> = BTreeSet::new();
    let mut refusals = Vec::new();
    for (index, line) in source.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') || ladder.contains(line) {
            continue;
        }
        let number = index.saturating_add(1);
        let refused = if number > LINES_MAX || line.chars().count() > COLUMNS_MAX {
            Some("the module or the line is too long")
        } else if let Some(body) = line.strip_prefix('\t') {
            body_refusal(body, &mut guarded)
        } else {
            guarded.clear();
            let known = Shape::of(line).is_some_and(|shape| HEADS.contains(&shape.text.as_str()));
            (!known).then_some("not the head of a rule of the safe subset")
        };
        refusals.extend(refused.map(|what| Refusal { line: number, what }));
    }
    refusals
}

/// Everything a module that was not refused reads of the input, and how closely.
pub(super) fn reads(source: &str) -> Projection {
    let mut projection = Projection::default();
    for shape in source.lines().filter_map(|line| Shape::of(line.strip_prefix('\t')?)) {
        let reads = match shape.text.as_str() {
            text if GUARDS.contains(&text) => Reads::Type,
            text if KEYED.contains(&text) => Reads::Keys,
            _ => Reads::Value,
        };
        for reference in &shape.references {
            projection.add(&shape::path(reference), reads);
        }
    }
    projection
}

fn body_refusal(line: &str, guarded: &mut BTreeSet<String>) -> Option<&'static str> {
    let Some(Shape { text, references }) = Shape::of(line) else {
        return Some("not a line of the safe subset");
    };
    let text = text.as_str();
    if PLAIN.contains(&text) {
        None
    } else if GUARDS.contains(&text) {
        guarded.extend(references);
        None
    } else if !TYPED.contains(&text) {
        Some("not a line of the safe subset")
    } else if references.iter().all(|used| guarded.contains(used)) {
        None
    } else {
        Some("a typed use without its type guard before it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lint_body(lines: &str) -> Vec<Refusal> {
        let body: String = lines.lines().map(|line| format!("\t{line}\n")).collect();
        refusals(&format!("package aegis.tool.x\n\nc0 if {{\n{body}}}\n"))
    }

    #[test]
    fn emitted_forms_are_accepted() {
        let lines = "true\nc1\nnot c2\nis_number(input.params.n)\ninput.params.n == floor(input.params.n)\n\
            input.params.n <= -2.5\nis_string(input.params[\"in\"])\nstartswith(input.params[\"in\"], \"a\\\"(\")\n\
            regex.match(`^[0-9]{2}$`, input.params[\"in\"])\ndata.aegis_data.sets.s_1[input.request.method]\n\
            is_array(input.request.segments)\ncount(input.request.segments) == 3\ninput.request.segments[1] == \"x\"\n\
            input.context.approved[\"high-value\"] == true";
        assert_eq!(lint_body(lines), []);
    }

    #[test]
    fn what_engines_disagree_on_is_refused() {
        for line in [
            "x := input.params.n",
            "not input.params.n == 1",
            "not startswith(input.params.s, \"a\")",
            "not declared(k)",
            "input.params.n != 1",
            "input.params.n = 1",
            "data.aegis_data.sets[input.params.s].x",
            "time.now_ns() > 1",
            "http.send({})",
            "count([x | some x in input.params.a]) > 1",
            "input.params.n == [[1]]",
            "c1; c2",
            "c1 # comment",
            "print(input)",
            "deny",
            "input == 1",
            "input.params.with == 1",
        ] {
            assert_eq!(lint_body(line).len(), 1, "{line}");
        }
    }

    #[test]
    fn a_typed_use_needs_its_guard_in_the_same_body() {
        for line in [
            "input.params.n > 1",
            "startswith(input.params.s, \"a\")",
            "regex.match(`a`, input.params.s)",
            "\"a\" in input.agent.scopes",
            "some k, _ in input.params",
            "\"a\" in object.keys(input.params)",
        ] {
            let refused = lint_body(line);
            assert_eq!(refused.len(), 1, "{line}");
            assert_eq!(refused[0].what, "a typed use without its type guard before it");
        }
        let elsewhere = "package aegis.tool.x\nc0 if {\n\tis_number(input.a.n)\n}\nc1 if {\n\tinput.a.n > 1\n}\n";
        assert_eq!(refusals(elsewhere).len(), 1);
    }

    #[test]
    fn heads_outside_the_subset_are_refused() {
        for head in [
            "x := 1",
            "import data.x",
            "deny contains x if c0",
            "f(x) if c0",
            "package a",
            "default c0 := true",
        ] {
            assert_eq!(refusals(&format!("{head}\n")).len(), 1, "{head}");
        }
    }
}

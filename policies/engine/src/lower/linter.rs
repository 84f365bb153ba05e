//! The second look at emitted Rego: reads each line again and refuses whatever is outside the safe subset.
//!
//! Not here: writing Rego. Invariant: this knows nothing of the tree that was lowered, only text, so a mistake in
//! lowering, or a name that broke out of its place, is caught before an engine sees it.

use std::collections::BTreeSet;

use super::module::DECISION;
use super::token::{Token, tokens};

/// A line outside the subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// Columns and lines that regorus takes.
const COLUMNS_MAX: usize = 1_024;
const LINES_MAX: usize = 20_000;

const DISPATCHER: [&str; 6] = [
    "package aegis.egress",
    "pkg := data.aegis_data.tools[input.tool].package",
    "default decision := {\"effect\": \"deny\", \"rules\": [\"egress.default-deny\"], \
     \"obligations\": [], \"approvals\": [], \"would\": []}",
    "decision := data.aegis.tool[pkg].decision if {",
    "\tis_string(pkg)",
    "}",
];

/// Every line of a module that is not in the subset.
pub(super) fn refusals(source: &str) -> Vec<Refusal> {
    let ladder: BTreeSet<&str> = DECISION.lines().collect();
    let mut guarded: BTreeSet<String> = BTreeSet::new();
    let mut refusals = Vec::new();
    for (index, line) in source.lines().enumerate() {
        let number = index.saturating_add(1);
        let mut refuse = |what| refusals.push(Refusal { line: number, what });
        if line.chars().count() > COLUMNS_MAX {
            refuse("the line is too long");
        } else if number > LINES_MAX {
            refuse("the module is too long");
            break;
        } else if line.is_empty() || line.starts_with('#') {
            continue;
        } else if ladder.contains(line) || DISPATCHER.contains(&line) {
            guarded.clear();
        } else if let Some(body) = line.strip_prefix('\t') {
            match tokens(body).and_then(|tokens| literal(&tokens)) {
                None => refuse("not a line of the safe subset"),
                Some(Literal { needs, .. }) if !needs.iter().all(|used| guarded.contains(used)) => {
                    refuse("a typed use without its type guard before it");
                }
                Some(Literal { guards, .. }) => guarded.extend(guards),
            }
        } else {
            guarded.clear();
            if !tokens(line).is_some_and(|tokens| is_head(&tokens)) {
                refuse("not the head of a rule of the safe subset");
            }
        }
    }
    refusals
}

/// What one body line establishes and needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Literal {
    /// The reference whose type the line has checked.
    guards: Option<String>,
    /// The references whose types must have been checked before.
    needs: Vec<String>,
}

use Token::{Mark, Number, Raw, Text, Word};

/// Rules that have a name of their own: conditions, and the fixed ones.
fn is_rule_name(word: &str) -> bool {
    let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    word.strip_prefix('c').is_some_and(numbered)
        || matches!(word, "deny_clean" | "approval_clean" | "sanitize_clean")
}

fn is_detail(word: &str) -> bool {
    matches!(word, "deny" | "approval" | "sanitize" | "obligations" | "approvals" | "would")
}

fn is_head(tokens: &[Token<'_>]) -> bool {
    match tokens {
        [Word("package"), Word("aegis"), Mark("."), Word("tool"), Mark("."), Word(name)] => {
            !super::is_keyword(name)
        }
        [Word(name), Word("if"), Mark("{")] => is_rule_name(name),
        [Word(set), Mark(":="), Word("set"), Mark("("), Mark(")")] => is_detail(set),
        [Word(set), Word("contains"), Text(_), Word("if"), Word(rule)]
        | [Word(set), Word("contains"), Text(_), Word("if"), Word("not"), Word(rule)] => {
            is_detail(set) && is_rule_name(rule)
        }
        [Word("declared"), Mark("("), Word("k"), Mark(")"), Word("if"), look_up @ ..] => {
            is_look_up(look_up, &["k"])
        }
        [
            Word("not_declared"),
            Mark("("),
            Word("k"),
            Mark(")"),
            Word("if"),
            Word("not"),
            Word("declared"),
            Mark("("),
            Word("k"),
            Mark(")"),
        ] => true,
        [Mark("}")] => true,
        _ => false,
    }
}

/// Reads one body line, or says it is none.
fn literal(tokens: &[Token<'_>]) -> Option<Literal> {
    let plain = Some(Literal::default());
    match tokens {
        [Word("true")] => plain,
        [Word(rule)] | [Word("not"), Word(rule)] if is_rule_name(rule) => plain,
        [Word("not_declared"), Mark("("), Word("k"), Mark(")")] => plain,
        [Word("some"), Word("k"), Mark(","), Word("_"), Word("in"), rest @ ..]
        | [Word("some"), Word("h" | "g"), Word("in"), rest @ ..]
        | [Text(_), Word("in"), rest @ ..] => membership(rest),
        [
            Word("regex"),
            Mark("."),
            Word("match"),
            Mark("("),
            Raw(_),
            Mark(","),
            rest @ ..,
            Mark(")"),
        ] => needs(reference(rest)?),
        [
            Word("startswith" | "endswith" | "contains"),
            Mark("("),
            rest @ ..,
            Mark(","),
            Text(_),
            Mark(")"),
        ] => needs(reference(rest)?),
        [Word("count"), Mark("("), rest @ .., Mark(")"), Mark("<=" | "==" | ">"), Number(_)] => {
            needs(reference(rest)?)
        }
        [Word(guard), Mark("("), rest @ .., Mark(")")] if is_guard(guard) => {
            Some(Literal { guards: Some(reference(rest)?), needs: Vec::new() })
        }
        look_up if is_look_up(look_up, &["h", "g"]) => plain,
        comparison => compared(comparison),
    }
}

fn needs(reference: String) -> Option<Literal> {
    Some(Literal { guards: None, needs: vec![reference] })
}

/// The right side of `in`: a guarded array, or the keys or members of the guarded parameters.
fn membership(tokens: &[Token<'_>]) -> Option<Literal> {
    match tokens {
        [Word("object"), Mark("."), Word("keys"), Mark("("), rest @ .., Mark(")")] => {
            needs(reference(rest)?)
        }
        rest => needs(reference(rest)?),
    }
}

fn is_guard(word: &str) -> bool {
    matches!(word, "is_string" | "is_number" | "is_boolean" | "is_array" | "is_object")
}

/// `reference == constant`, `reference == floor(reference)`, or an ordering whose left side is guarded.
fn compared(tokens: &[Token<'_>]) -> Option<Literal> {
    let is_operator = |token: &Token<'_>| matches!(token, Mark("==" | ">" | ">=" | "<" | "<="));
    let at = tokens.iter().position(is_operator)?;
    let (left, operator, right) =
        (reference(tokens.get(..at)?)?, tokens.get(at)?, tokens.get(at.saturating_add(1)..)?);
    match (operator, right) {
        (Mark("=="), [Number(_) | Text(_) | Word("true" | "false")]) => Some(Literal::default()),
        (Mark("=="), [Word("floor"), Mark("("), rest @ .., Mark(")")]) => {
            (reference(rest)? == left).then(|| needs(left))?
        }
        (Mark("=="), _) => None,
        (_, [Number(_)]) => needs(left),
        (_, other) => Some(Literal { guards: None, needs: vec![left, reference(other)?] }),
    }
}

/// `data.aegis_data.sets.NAME[x]` or `data.aegis_data.hosts["tool"][x]`, where x is a variable or a reference.
fn is_look_up(tokens: &[Token<'_>], variables: &[&str]) -> bool {
    let key = match tokens {
        [
            Word("data"),
            Mark("."),
            Word("aegis_data"),
            Mark("."),
            Word("sets"),
            Mark("."),
            Word(_),
            Mark("["),
            key @ ..,
            Mark("]"),
        ]
        | [
            Word("data"),
            Mark("."),
            Word("aegis_data"),
            Mark("."),
            Word("hosts"),
            Mark("["),
            Text(_),
            Mark("]"),
            Mark("["),
            key @ ..,
            Mark("]"),
        ] => key,
        _ => return false,
    };
    matches!(key, [Word(variable)] if variables.contains(variable)) || reference(key).is_some()
}

/// Reads `input.a.b["c"][0]` and gives it back as one text.
fn reference(tokens: &[Token<'_>]) -> Option<String> {
    let [Word("input"), path @ ..] = tokens else { return None };
    let mut text = "input".to_owned();
    let mut rest = path;
    while !rest.is_empty() {
        rest = match rest {
            [Mark("."), Word(name), rest @ ..] if !super::is_keyword(name) => {
                text.push_str(&format!(".{name}"));
                rest
            }
            [Mark("["), Text(key) | Number(key), Mark("]"), rest @ ..] => {
                text.push_str(&format!("[{key}]"));
                rest
            }
            _ => return None,
        };
    }
    (text.len() > "input".len()).then_some(text)
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

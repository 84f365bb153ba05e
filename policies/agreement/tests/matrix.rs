//! What is known of the three engines, pattern by pattern: 68 on which they differ, 99 on which they agree.
//!
//! The safe subset of Rego rests on this table. It fails when an upgrade changes an answer: then look whether the subset
//! still avoids what differs, and write the new answer down.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "fixtures stand outside test functions"
)]

mod library;

use aegis_policy_agreement::{Answer, Opa, OpaError};
use library::opa;
use regorus::Engine;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Matrix {
    input: Value,
    differ: Vec<Differ>,
    same: Vec<Same>,
}

#[derive(Deserialize)]
struct Differ {
    id: String,
    rego: String,
    opa: Value,
    interp: Value,
    rvm: Value,
}

#[derive(Deserialize)]
struct Same {
    id: String,
    rego: String,
    all: Value,
}

fn matrix() -> Matrix {
    serde_json::from_str(include_str!("../engine-matrix.json")).unwrap()
}

/// Each pattern with what the three engines must say.
fn expectations(matrix: Matrix) -> Vec<(String, String, [Value; 3])> {
    let differ = matrix.differ.into_iter().map(|p| (p.id, p.rego, [p.interp, p.rvm, p.opa]));
    let same = matrix.same.into_iter().map(|p| {
        let all = p.all;
        (p.id, p.rego, [all.clone(), all.clone(), all])
    });
    differ.chain(same).collect()
}

/// The same with whole numbers as integers: engines write 1E3, 1000.0 and 1000.
fn plain(mut answer: Value) -> Value {
    let number = answer.pointer("/value").and_then(Value::as_f64);
    if let Some(number) = number.filter(|number| number.fract() == 0.0 && number.abs() < 1e15) {
        answer["value"] = format!("{number}").parse::<i64>().unwrap().into();
    }
    answer
}

fn module(rego: &str) -> String {
    format!("package a\n\n{rego}\n")
}

fn said(answer: Option<regorus::Value>) -> Value {
    match answer {
        None => json!("error"),
        Some(regorus::Value::Undefined) => json!("undefined"),
        Some(value) => json!({ "value": value }),
    }
}

/// The interpreter and the RVM; what does not compile for the one is not asked of the other.
fn regorus_answers(rego: &str, input: &Value) -> [Value; 2] {
    let input = regorus::Value::from(input.clone());
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    let compile = |engine: &mut Engine| {
        engine.add_policy("a.rego".to_owned(), module(rego)).ok()?;
        let policy = engine.compile_with_entrypoint(&"data.a.p".into()).ok()?;
        Compiler::compile_from_policy(&policy, &["data.a.p"]).ok()
    };
    let Some(program) = compile(&mut engine) else {
        return [json!("compile error"), json!("compile error")];
    };
    let mut vm = RegoVM::new();
    vm.set_max_instructions(50_000);
    vm.load_program(program);
    vm.set_data(regorus::Value::new_object()).unwrap();
    vm.set_input(input.clone());
    let rvm = vm.execute_entry_point_by_index(0).ok();
    engine.set_input(input);
    let interpreted = engine.eval_rule("data.a.p".to_owned()).ok();
    [said(interpreted), said(rvm)]
}

fn opa_answer(opa: &mut Opa, rego: &str, input: &Value) -> Value {
    let modules = serde_json::Map::from_iter([("a.rego".to_owned(), module(rego).into())]);
    match opa.load_modules(&modules, &json!({})) {
        Ok(()) => {}
        Err(OpaError::Load(_)) => return json!("parse error"),
        Err(error) => panic!("{error}"),
    }
    match opa.eval("a.p", input).unwrap() {
        Answer::Value(value) => json!({ "value": value }),
        Answer::Undefined => json!("undefined"),
        Answer::Error(_) => json!("error"),
    }
}

#[test]
fn regorus_answers_as_it_did() {
    let matrix = matrix();
    let input = matrix.input.clone();
    let mut changed = Vec::new();
    for (id, rego, [interp, rvm, _]) in expectations(matrix) {
        let found = regorus_answers(&rego, &input);
        let expected = [interp, rvm];
        if found.clone().map(plain) != expected.clone().map(plain) {
            changed.push(format!("{id}: interpreter and RVM said {expected:?}, now {found:?}"));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

#[test]
fn opa_answers_as_it_did() {
    let Some(mut opa) = opa() else { return };
    let matrix = matrix();
    let input = matrix.input.clone();
    let mut changed = Vec::new();
    for (id, rego, [_, _, expected]) in expectations(matrix) {
        let found = opa_answer(&mut opa, &rego, &input);
        if plain(found.clone()) != plain(expected.clone()) {
            changed.push(format!("{id}: OPA said {expected}, now {found}"));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

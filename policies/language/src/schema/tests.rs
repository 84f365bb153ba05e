//! The schema and the decoders say the same, held against each other in both directions.

mod samples;
mod validator;

use std::path::Path;

use aegis_document::Document;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use validator::is_valid;

/// Whether the decoder takes the document; names that are not declared are no matter of the schema.
fn is_decoded(value: &Value) -> bool {
    let document = Document::parse("s.json", &value.to_string());
    document.is_ok_and(|document| document.decode(crate::policy_set).is_ok())
}

fn json_of(text: &str) -> Value {
    Document::parse("p.yaml", text).unwrap().decode(|root, problems| root.json(problems)).unwrap()
}

/// Every policy that is shipped, shown or tested.
#[expect(clippy::disallowed_methods, reason = "a test may read the repository's own files")]
fn shipped() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("packs"), root.join("cases")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                if text.contains("apiVersion: aegis.dev/") {
                    found.push((path.display().to_string(), json_of(&text)));
                }
            }
        }
    }
    found
}

#[test]
fn every_shipped_policy_is_valid() {
    let (schema, shipped) = (schema(), shipped());
    assert!(shipped.len() >= 2);
    for (path, value) in shipped {
        assert_eq!(validator::refusal(&schema, &schema, &value), None, "{path}");
        assert!(is_decoded(&value), "{path}");
    }
}

#[test]
fn whatever_the_schema_names_the_decoder_knows() {
    let schema = schema();
    let samples = samples::valid(&schema, &schema);
    assert!(samples.len() > 500, "{}", samples.len());
    for sample in &samples {
        assert_eq!(validator::refusal(&schema, &schema, sample), None, "{sample}");
        let document = Document::parse("s.json", &sample.to_string()).unwrap();
        if let Err(found) = document.decode(crate::policy_set) {
            panic!("{found}\n{sample}");
        }
    }
}

#[test]
fn keys_that_are_unknown_or_missing_are_refused_by_both() {
    let schema = schema();
    let broken = samples::broken(&schema, &schema);
    assert!(broken.len() > 200, "{}", broken.len());
    for sample in &broken {
        assert!(!is_valid(&schema, sample), "the schema accepts {sample}");
        assert!(!is_decoded(sample), "the decoder accepts {sample}");
    }
}

/// The value of the key that nothing knows, wherever it stands.
fn unknown(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(map) => map.get(samples::UNKNOWN).or_else(|| map.values().find_map(unknown)),
        Value::Array(items) => items.iter().find_map(unknown),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[test]
fn whatever_the_decoder_knows_the_schema_names() {
    let schema = schema();
    let mut compared = 0;
    for sample in samples::broken(&schema, &schema) {
        let Some(named) = unknown(&sample) else { continue };
        let document = Document::parse("s.json", &sample.to_string()).unwrap();
        let found = document.decode(crate::policy_set).unwrap_err();
        let helps = found.iter().filter(|found| found.message.contains(samples::UNKNOWN));
        let known = helps.filter_map(|found| found.help.as_deref()?.strip_prefix("known here: "));
        for key in known.flat_map(|known| known.split(", ")) {
            assert!(named.as_array().unwrap().contains(&key.into()), "`{key}` beside {named}");
            compared += 1;
        }
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn every_key_and_choice_has_a_description() {
    fn visit(shape: &Value, path: &str) {
        if let Some(properties) = shape.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(text.ends_with('.'), "{path}/{name} lacks its sentence");
            }
        }
        match shape {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| visit(value, &format!("{path}/{key}")))
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, path)),
            _ => {}
        }
    }
    visit(&schema(), "");
}

/// One change at one node; which node, by its number in the order of a walk.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(Value),
    DropKey(usize),
    AddKey(&'static str, Value),
    RenameKey(usize),
}

fn mutate(value: &mut Value, at: &mut usize, mutation: &Mutation) {
    if *at == 0 {
        *at = usize::MAX;
        apply(value, mutation);
        return;
    }
    *at -= 1;
    match value {
        Value::Object(map) => map.values_mut().for_each(|inner| {
            if *at != usize::MAX {
                mutate(inner, at, mutation)
            }
        }),
        Value::Array(items) => items.iter_mut().for_each(|inner| {
            if *at != usize::MAX {
                mutate(inner, at, mutation)
            }
        }),
        _ => {}
    }
}

fn apply(value: &mut Value, mutation: &Mutation) {
    let named = |map: &serde_json::Map<String, Value>, index: usize| {
        map.keys().nth(index % map.len().max(1)).cloned()
    };
    match (mutation, value) {
        (Mutation::Replace(with), value) => *value = with.clone(),
        (Mutation::DropKey(index), Value::Object(map)) => {
            if let Some(name) = named(map, *index) {
                map.remove(&name);
            }
        }
        (Mutation::AddKey(name, with), Value::Object(map)) => {
            map.insert((*name).to_owned(), with.clone());
        }
        (Mutation::RenameKey(index), Value::Object(map)) => {
            if let Some(name) = named(map, *index) {
                let inner = map.remove(&name).unwrap();
                map.insert(format!("{name}s"), inner);
            }
        }
        (Mutation::DropKey(_) | Mutation::AddKey(..) | Mutation::RenameKey(_), _) => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(11),
        json!(""),
        json!("a"),
        json!("always"),
        json!("$none"),
        json!("Deny"),
        json!("x".repeat(257)),
        json!([]),
        json!(["a"]),
        json!([1]),
        json!({}),
        json!({"a": 1}),
        json!("deny"),
        json!("15m"),
        json!("GET"),
        json!("/a"),
        json!({"param": "n", "gt": 1}),
    ])
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let key = prop::sample::select(vec![
        "id",
        "when",
        "in",
        "eq",
        "param",
        "reason",
        "zz",
        "name",
        "approval",
        "detectors",
    ]);
    prop_oneof![
        4 => any_value().prop_map(Mutation::Replace),
        2 => any::<usize>().prop_map(Mutation::DropKey),
        2 => (key, any_value()).prop_map(|(name, value)| Mutation::AddKey(name, value)),
        1 => any::<usize>().prop_map(Mutation::RenameKey),
    ]
}

#[test]
fn what_the_schema_refuses_the_decoder_refuses() {
    use proptest::test_runner::{Config, TestRunner};
    let schema = schema();
    let mut bases = samples::valid(&schema, &schema);
    bases.extend(shipped().into_iter().map(|(_, value)| value));
    let nodes = |value: &Value| value.to_string().matches([':', ',']).count() + 1;
    let strategy = (0..bases.len(), prop::collection::vec((any::<usize>(), mutation()), 1..3));
    let counts = std::cell::RefCell::new((0_u32, 0_u32));
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&strategy, |(base, mutations)| {
            let mut value = bases[base].clone();
            for (at, mutation) in mutations {
                let mut at = at % nodes(&value);
                mutate(&mut value, &mut at, &mutation);
            }
            let (valid, decoded) = (is_valid(&schema, &value), is_decoded(&value));
            prop_assert!(valid || !decoded, "only the decoder accepts {value}");
            let (refused, known) = *counts.borrow();
            *counts.borrow_mut() = (refused + u32::from(!decoded), known + u32::from(!valid));
            Ok(())
        })
        .unwrap();
    let (refused, known) = counts.into_inner();
    assert!(known * 10 > refused * 8, "{known} of {refused}");
}

//! A policy may be written as JSON: the same set, the same digest, the same program, and errors at the same kind of
//! place.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

use aegis_document::Document;
use aegis_policy::{CompileContext, Snapshot, cases};
use aegis_policy_language::PolicySet;

const YAML: &str = include_str!("../../cases/constructs.yaml");

fn as_json() -> String {
    let document = Document::parse("p.yaml", YAML).unwrap();
    let value = document.decode(|root, problems| root.json(problems)).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

fn compiled(file: &str, text: &str) -> (PolicySet, Snapshot) {
    let set = PolicySet::parse(&[Document::parse(file, text).unwrap()]).unwrap();
    let snapshot = Snapshot::of(&set, CompileContext { version: 1 }).unwrap();
    (set, snapshot)
}

/// The modules without comments, which name the lines of the source.
fn modules(snapshot: &Snapshot) -> Vec<String> {
    let files = snapshot.bundle_files().iter().filter(|file| file.name.ends_with(".rego"));
    files
        .map(|file| {
            let text = String::from_utf8(file.bytes.clone()).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
        })
        .collect()
}

#[test]
fn yaml_and_json_of_one_policy_compile_to_one_program() {
    let ((_, yaml), (set, json)) = (compiled("p.yaml", YAML), compiled("p.json", &as_json()));
    assert_eq!(yaml.source_digest(), json.source_digest());
    assert_eq!(modules(&yaml), modules(&json));
    assert!(cases::run(&json, &set).passed());
}

#[test]
fn errors_in_json_stand_where_they_are() {
    let wrong = as_json()
        .replacen("\"param\": \"amount\"", "\"parm\": \"amount\"", 1)
        .replacen("\"tool\": \"delete_file\"", "\"tool\": 7", 1)
        .replacen("\"office\": {", "\"offices\": {", 1);
    let found = Document::parse("p.json", &wrong)
        .and_then(|document| Snapshot::compile(&[document], CompileContext { version: 1 }))
        .unwrap_err();
    let lines: Vec<&str> = wrong.lines().collect();
    let shown: Vec<(&str, &str)> = found
        .iter()
        .map(|found| {
            let line = lines[usize::try_from(found.line).unwrap() - 1];
            (&line[usize::try_from(found.column).unwrap() - 1..], found.message.as_str())
        })
        .collect();
    assert_eq!(found.iter().map(|found| &*found.file).next(), Some("p.json"));
    let has = |begins: &str, message: &str| {
        assert!(
            shown.iter().any(|(at, said)| at.starts_with(begins) && said.contains(message)),
            "{begins}: {shown:?}"
        );
    };
    has("\"parm\"", "unknown key `parm`");
    has("7", "expected text, found the number `7`");
}

//! The OpenAPI document is true: every route stands in it, and every answer of every other test is as it says.
//!
//! Not here: what the answers mean. Invariant: an answer with a status or a member that the document does not name fails
//! the test that got it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use aegis_control::{OPENAPI, Permission};
use serde_json::Value;

use crate::node::{Node, refusal};

pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(OPENAPI).unwrap());

/// Holds an answer against the document.
pub(crate) fn check(method: &str, path: &str, status: u16, body: Option<&Value>) {
    let path = path.split('?').next().unwrap();
    let (template, item) = item(path);
    let answers = &item[method]["responses"];
    let answer = &answers[status.to_string()];
    assert!(answer.is_object(), "{method} {template} is not said to answer {status}");
    let content = answer["content"].as_object().map(|content| content.values().next().unwrap());
    if let (Some(body), Some(content)) = (body, content) {
        fits(&content["schema"], body, &format!("{method} {template} {status}"));
    }
}

fn item(path: &str) -> (&str, &Value) {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let parts: Vec<_> = path.split('/').collect();
    let is_it = |template: &str| {
        let pieces: Vec<_> = template.split('/').collect();
        let fits = |(piece, part): (&&str, &&str)| piece.starts_with('{') || piece == part;
        pieces.len() == parts.len() && pieces.iter().zip(&parts).all(fits)
    };
    let found = paths.iter().find(|(template, _)| is_it(template));
    let (template, item) = found.unwrap_or_else(|| panic!("{path} is not in the document"));
    (template, item)
}

/// JSON Schema 2020-12, formats and all, beside the document's named schemas.
fn fits(schema: &Value, value: &Value, place: &str) {
    let mut whole = schema.clone();
    whole["components"] = DOCUMENT["components"].clone();
    let schema = jsonschema::draft202012::options().should_validate_formats(true).build(&whole);
    let schema = schema.unwrap_or_else(|error| panic!("{place}: the document: {error}"));
    let wrong: Vec<_> = schema
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{place}: {wrong:?} in {value}");
}

/// A path of the document, for things that are not there.
pub(crate) fn filled(template: &str) -> String {
    let path = template.replace("{tenant}", "t").replace("{agent}", "a").replace("{kid}", "k");
    let path = path.replace("{name}", "tenant%2Fday").replace("{id}", "i").replace("{node}", "9");
    let path = path.replace("{digest}", "d").replace("{gateway}", "g");
    path.replace("{environment}", "prod").replace("{version}", "1")
}

#[test]
fn every_operation_is_routed_and_none_takes_a_method_the_document_does_not_name() {
    let node = Node::start();
    for (template, item) in DOCUMENT["paths"].as_object().unwrap() {
        let path = filled(template);
        for method in ["get", "post", "patch", "put", "delete"] {
            let answer = match method {
                "get" => node.anyone().get(&path),
                "post" => node.anyone().post(&path, &Value::Null, &Default::default()),
                "put" => node.anyone().put(&path, &Value::Null, &Default::default()),
                "delete" => node.anyone().delete(&path, &Default::default()),
                _ => node.anyone().patch(&path, &Value::Null, &Default::default()),
            };
            let is_there = item[method].is_object();
            let needs_token =
                item[method]["security"].as_array().is_some_and(|all| !all.is_empty());
            match answer {
                Ok(_) => assert!(is_there && !needs_token, "{method} {path}"),
                Err(_) if !is_there => {
                    assert_eq!(refusal(answer), (405, "method".into()), "{method} {path}");
                }
                Err(_) if needs_token => {
                    assert_eq!(refusal(answer), (401, "unauthorized".into()), "{method} {path}");
                }
                Err(_) => {
                    let (status, kind) = refusal(answer);
                    assert_ne!(kind, "no-route", "{method} {path}");
                    assert!(status < 500 && status != 405, "{method} {path} {status}");
                }
            }
        }
    }
}

/// The source of the routes, each with its whole path: those of policies share their beginning.
fn routes() -> String {
    let source = include_str!("../../src/api/mod.rs");
    let whole = source.replace("(&of(\"", "(\"/v1/policies/{tenant}/{environment}/");
    whole.replace("\"), ", "\", ")
}

#[test]
fn every_route_of_the_source_is_in_the_document() {
    let source = routes();
    let routes = source.split("(\"/").skip(1).map(|rest| rest.split('"').next().unwrap());
    let routes: BTreeSet<_> = routes.filter(|route| !route.contains("{{")).collect();
    let documented = DOCUMENT["paths"].as_object().unwrap().keys();
    let documented: BTreeSet<_> = documented.map(|path| path.trim_start_matches('/')).collect();
    assert_eq!(routes, documented);
}

#[test]
fn every_operation_names_the_one_permission_its_route_asks_for() {
    let (source, mut asked) = (routes(), BTreeMap::new());
    for method in ["get", "post", "put", "patch", "delete"] {
        for line in source.split(&format!("        .{method}(\"")).skip(1) {
            let (path, rest) = line.split_once("\", ").unwrap();
            let name = rest.trim_start_matches("narrowed(").split([',', ')']).next().unwrap();
            let permission = Permission::ALL.into_iter().find(|it| format!("{it:?}") == name);
            let twice = asked.insert((path, method), permission.unwrap().as_str());
            assert_eq!(twice, None, "{method} {path}");
        }
    }
    let mut documented = BTreeMap::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(scope) = operation["security"][0]["bearer"][0].as_str() {
                documented.insert((path.as_str(), method.as_str()), scope);
            }
        }
    }
    assert_eq!(asked, documented);
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    let references =
        OPENAPI.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    for reference in references {
        assert!(DOCUMENT.pointer(reference).is_some(), "{reference}");
    }
    let mut names: Vec<_> = OPENAPI
        .split("\"operationId\": ")
        .skip(1)
        .map(|rest| rest.split(',').next().unwrap())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn the_document_is_served_to_anyone() {
    let node = Node::start();
    assert_eq!(node.anyone().get("/v1/openapi.json").unwrap().body, *DOCUMENT);
}

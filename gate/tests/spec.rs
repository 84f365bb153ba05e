//! The spec page has a row for every refusal, and the tests that it names are there.

const SPEC: &str = include_str!("../../docs/spec/front-door.md");
const REFUSALS: &str = include_str!("../src/refusal.rs");
const SOURCES: [&str; 18] = [
    include_str!("../src/authority.rs"),
    include_str!("../src/body.rs"),
    include_str!("../src/fields.rs"),
    include_str!("../src/frames.rs"),
    include_str!("../src/hello.rs"),
    include_str!("../src/http2.rs"),
    include_str!("../src/lines.rs"),
    include_str!("../src/method.rs"),
    include_str!("../src/pace.rs"),
    include_str!("../src/connection.rs"),
    include_str!("../src/path.rs"),
    include_str!("../src/request.rs"),
    include_str!("../src/response.rs"),
    include_str!("../src/target.rs"),
    include_str!("probes.rs"),
    include_str!("properties.rs"),
    include_str!("../../gateway/tests/building/frames.rs"),
    include_str!("../../gateway/tests/building/slow.rs"),
];

/// The variants of `Refusal`, as they stand in its source.
fn refusals() -> Vec<&'static str> {
    let body = REFUSALS.split_once("pub enum Refusal {").map_or("", |(_, rest)| rest);
    let body = body.split_once("\n}").map_or("", |(body, _)| body);
    let names = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric())).collect()
}

#[test]
fn every_refusal_has_a_row() {
    let names = refusals();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(SPEC.contains(&format!("`{name}`")), "{name} has no row");
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let quoted = SPEC.split('`').skip(1).step_by(2);
    let tests: Vec<_> = quoted.filter(|text| text.matches('_').count() > 2).collect();
    assert!(tests.len() > 15, "{tests:?}");
    for test in tests {
        let head = format!("fn {test}(");
        assert!(SOURCES.iter().any(|source| source.contains(&head)), "{test} is not there");
    }
}

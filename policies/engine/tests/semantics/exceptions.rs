//! Clause 8: exceptions.

use aegis_domain::{Detector, DlpFacts, Timestamp};
use serde_json::json;

use crate::scene::{Scene, compile, one_tool};
use crate::{found, policy};

const EXCEPTED: &str = "
    - { id: big, effect: deny, when: { param: x, gt: 10 }, reason: too big }
    - { id: odd, effect: approval_needed, when: { param: x, gt: 5 }, approval: fin }
    - { id: san, effect: sanitize, when: { param: x, gt: 0 }, obligation: blank }
    - { id: sh, effect: deny, mode: shadow, when: { param: x, gt: 10 } }
    exceptions:
    - { id: EX-1, owner: ops@demo.test, reason: migration, expires: 2026-11-20T12:00:00Z, rules: [big, sh], when: { param: who, eq: batch } }
    - { id: EX-2, owner: ops@demo.test, reason: trial, expires: 2026-11-20T12:00:00Z, rules: [odd] }";

fn excepted(x: i64, who: &str, hour: u64) -> (String, Vec<String>, Vec<String>) {
    let snapshot = policy("{ x: { type: integer }, who: { type: string } }", EXCEPTED);
    let mut scene = Scene::pay().with(&[("x", json!(x)), ("who", json!(who))]);
    scene.now = Timestamp::from_unix_s(1_795_132_800 + hour * 3_600);
    let outcome = scene.ask(&snapshot);
    let texts = |ids: &[aegis_domain::RuleId]| ids.iter().map(ToString::to_string).collect();
    (scene.answer(&snapshot), texts(&outcome.exceptions), texts(&outcome.would))
}

#[test]
fn an_exception_lifts_the_rules_it_names_while_its_condition_holds_and_is_reported() {
    let both = vec!["EX-1".to_owned(), "EX-2".to_owned()];
    assert_eq!(excepted(20, "batch", 11), ("sanitize san".to_owned(), both, vec![]));
    let (answer, used, would) = excepted(20, "other", 11);
    assert_eq!((answer.as_str(), used.as_slice()), ("deny big", &["EX-2".to_owned()][..]));
    assert_eq!(would, ["sh"]);
    let used = vec!["EX-2".to_owned()];
    assert_eq!(excepted(7, "batch", 11), ("sanitize san".to_owned(), used, vec![]));
    // What did not fire was not lifted.
    assert_eq!(excepted(1, "batch", 11), ("sanitize san".to_owned(), vec![], vec![]));
}

#[test]
fn an_exception_that_has_expired_has_no_effect() {
    for hour in [12, 13, 24 * 365] {
        let (answer, used, _) = excepted(20, "batch", hour);
        assert_eq!((answer.as_str(), used.len()), ("deny big", 0));
        assert_eq!(excepted(7, "batch", hour).0, "approval_needed odd");
    }
}

#[test]
fn an_exception_of_the_set_lifts_the_rule_in_every_tool_that_has_it() {
    let rule = "    - { id: r, effect: deny, when: { param: x, gt: 1 } }\n";
    let exception = "exceptions:\n- { id: EX, owner: a, reason: b, expires: 2027-01-01T00:00:00Z, rules: [r], when: { param: x, lt: 9 } }\n";
    let snapshot =
        compile(&format!("{}{exception}", one_tool("{ x: { type: integer } }", rule))).unwrap();
    let answer = |x: i64| Scene::pay().with(&[("x", json!(x))]).answer(&snapshot);
    assert_eq!((answer(5).as_str(), answer(9).as_str()), ("allow", "deny r"));
}

#[test]
fn an_exception_never_lifts_a_check() {
    let snapshot = policy("{ x: { type: integer }, who: { type: string } }", EXCEPTED);
    let mut scene = Scene::pay().with(&[("x", json!(20)), ("who", json!("batch"))]);
    scene.now = Timestamp::from_unix_s(1_795_132_800);
    assert_eq!(scene.answer(&snapshot), "sanitize san");
    scene.agent.scopes.clear();
    assert_eq!(scene.answer(&snapshot), "deny scope.pay");
}

#[test]
fn a_fact_that_only_an_exception_reads_must_be_there_as_well() {
    let rules = "    - { id: r, effect: deny, when: always }
    exceptions: [ { id: EX, owner: a, reason: b, expires: 2027-01-01T00:00:00Z, rules: [r], when: { not: { dlp: [ssn] } } } ]";
    let snapshot = policy("{}", rules);
    let mut scene = Scene::pay();
    assert_eq!(scene.answer(&snapshot), "allow");
    scene.dlp = found(&[Detector::Ssn]);
    assert_eq!(scene.answer(&snapshot), "deny r");
    scene.dlp = DlpFacts::NotScanned;
    assert_eq!(scene.answer(&snapshot), "deny facts.missing");
}

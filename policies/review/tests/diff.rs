//! What a change does to calls is said in the direction that it has.

#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

use aegis_document::Document;
use aegis_policy_language::PolicySet;
use aegis_policy_review::diff::{self, Direction};

const BASE: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
lists: { codes: [USD, EUR], bad: [x] }
calendars: { hours: { tz: UTC, weekly: ['Mon-Fri 08:00-20:00'] } }
approvals: { fin: { route: a, quorum: 2, expires: 15m, bind: [amount] } }
obligations: { blank: { redact: { detectors: [ssn, email] } } }
tools:
  pay:
    class: write
    match: { hosts: [a.test, b.test], methods: [POST], paths: [/pay] }
    allow: { groups: [finance], scopes: [pay] }
    params:
      amount: { type: integer, required: true, min: 1, max: 9007199254740993 }
      code: { type: string, in: $codes }
    rules:
    - { id: ceiling, effect: deny, when: { param: amount, gt: 1000 } }
    - { id: listed, effect: deny, when: { param: code, in: $bad } }
    - { id: ask, effect: approval_needed, when: { all: [ { param: amount, gt: 500 }, { not: { calendar: hours } } ] }, approval: fin }
    - { id: pii, effect: sanitize, when: { dlp: [ssn] }, obligation: blank }
    exceptions:
    - { id: ex, owner: o, reason: r, expires: 2026-11-20T10:00:00Z, rules: [ceiling] }
";

/// What is replaced, by what, and what is said of it.
const EDITS: [(&str, &str, &str); 25] = [
    (
        "gt: 1000",
        "gt: 900",
        "p:17:7: tools.pay.rules.ceiling: fires on amount > 900, before on amount > 1000 [stricter]",
    ),
    (
        "gt: 1000",
        "gt: 2000",
        "p:17:7: tools.pay.rules.ceiling: fires on amount > 2000, before on amount > 1000 [looser]",
    ),
    (
        "gt: 1000",
        "gte: 1001",
        "p:17:7: tools.pay.rules.ceiling: is written as amount >= 1001, before on amount > 1000 [neutral]",
    ),
    (
        "gt: 1000",
        "eq: 7",
        "p:17:7: tools.pay.rules.ceiling: fires on amount == 7, before on amount > 1000 [unclear]",
    ),
    (
        "id: ceiling, effect: deny,",
        "id: ceiling, effect: deny, mode: shadow,",
        "p:17:7: tools.pay.rules.ceiling: is no longer enforced [looser] [downgrade]",
    ),
    (
        "id: ceiling, effect: deny,",
        "id: ceiling, effect: approval_needed, approval: fin,",
        "p:17:7: tools.pay.rules.ceiling: deny becomes approval_needed by `fin` [looser]",
    ),
    (
        "    - { id: pii, effect: sanitize, when: { dlp: [ssn] }, obligation: blank }\n",
        "",
        "p:20:7: tools.pay.rules.pii: is gone [looser]",
    ),
    (
        "max: 9007199254740993",
        "max: 9007199254740992",
        "p:14:15: tools.pay.params.amount: `max` from 9007199254740993 to 9007199254740992 [stricter]",
    ),
    (
        "required: true, min: 1",
        "required: true",
        "p:14:15: tools.pay.params.amount: `min` of 1 is gone [looser]",
    ),
    ("required: true, ", "", "p:14:15: tools.pay.params.amount: becomes optional [looser]"),
    (
        "in: $codes }",
        "in: $codes, max_length: 3 }",
        "p:15:13: tools.pay.params.code: `max_length` of 3 [stricter]",
    ),
    ("[a.test, b.test]", "[a.test]", "p:10:5: tools.pay.match.hosts: removes `b.test` [stricter]"),
    (
        "scopes: [pay]",
        "scopes: [pay, more]",
        "p:10:5: tools.pay.allow.scopes: adds `more` [stricter]",
    ),
    (
        "groups: [finance]",
        "groups: [eng]",
        "p:10:5: tools.pay.allow.groups: adds `eng`, removes `finance` [unclear]",
    ),
    ("[USD, EUR]", "[USD, EUR, GBP]", "p:4:10: lists.codes: adds `GBP` [looser]"),
    ("bad: [x]", "bad: [x, y]", "p:4:29: lists.bad: adds `y` [stricter]"),
    ("quorum: 2", "quorum: 1", "p:6:14: approvals.fin: needs 1 to agree instead of 2 [looser]"),
    (
        "expires: 15m",
        "expires: 5m",
        "p:6:14: approvals.fin: is good for 300000 ms instead of 900000 ms [stricter]",
    ),
    (
        "detectors: [ssn, email]",
        "detectors: [ssn]",
        "p:7:16: obligations.blank: asks for other things [looser]",
    ),
    ("08:00-20:00", "09:00-20:00", "p:5:14: calendars.hours: is open at other times [unclear]"),
    ("2026-11-20", "2027-11-20", "p:22:7: tools.pay.exceptions.ex: ends later [looser]"),
    ("class: write", "class: read", "p:10:5: tools.pay.class: becomes read [looser]"),
    (
        "class: write",
        "class: write\n    unknown_params: strip",
        "p:10:5: tools.pay.unknown_params: are taken out of the call [looser]",
    ),
    (
        "  pay:\n",
        "  pay2:\n",
        "p:10:5: tools.pay: is gone [stricter]\np:10:5: tools.pay2: is new [looser]",
    ),
    ("env: dev", "env: prod", "metadata: demo/dev becomes demo/prod [unclear]"),
];

fn read(text: &str) -> PolicySet {
    Document::parse("p", text).and_then(|document| PolicySet::parse(&[document])).unwrap()
}

#[test]
fn each_edit_is_one_change_in_its_direction() {
    let base = read(BASE);
    for (from, to, line) in EDITS {
        assert!(BASE.contains(from), "{from}");
        let changes = diff::between(&base, &read(&BASE.replacen(from, to, 1)));
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(lines.join("\n"), line);
    }
}

#[test]
fn there_and_back_the_directions_turn_round() {
    let (base, other) = (read(BASE), read(&BASE.replace("gt: 1000", "gt: 900")));
    let there = diff::between(&base, &other);
    let back = diff::between(&other, &base);
    assert_eq!((there[0].direction, back[0].direction), (Direction::Stricter, Direction::Looser));
    assert_eq!(there[0].old.as_ref().unwrap().position.line, 17);
}

#[test]
fn a_set_does_not_differ_from_itself_however_it_is_laid_out() {
    for text in
        [BASE, include_str!("../../packs/demo.yaml"), include_str!("../../cases/four-domains.yaml")]
    {
        let commented = format!("# a comment\n{text}");
        assert_eq!(diff::between(&read(text), &read(&commented)), []);
    }
}

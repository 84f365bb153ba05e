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

/// The constructs that `BASE` has not.
const NEWER: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
defaults: { unknown_params: strip }
lists: { verbs: [POST, PUT], rights: [pay] }
obligations: { blank: { redact: { detectors: [ssn] } } }
exceptions:
- { id: all, owner: o, reason: r, expires: 2026-11-20T10:00:00Z, rules: [ceiling], when: { param: amount, lt: 2000 } }
tools:
  pay:
    class: write
    match: { hosts: [a.test], methods: $verbs, paths: [/pay] }
    allow: { scopes: $rights }
    params:
      amount: { type: integer, required: true }
      memo: { type: string }
    rules:
    - { id: ceiling, effect: deny, when: { param: amount, gt: 1000 } }
    - { id: many, effect: deny, when: { fact: dlp.email, gt: 9 } }
    - { id: late, effect: deny, when: { context: estimated_cost, gt: 9 } }
    - { id: away, effect: deny, when: { request: region, neq: eu } }
    - { id: pii, effect: sanitize, when: { dlp: [ssn] }, obligation: blank }
  delete:
    class: write
    match: { mcp: { server: files, tool: delete } }
    allow: { groups: [eng] }
";

const NEWER_EDITS: [(&str, &str, &str); 23] = [
    ("2026-11-20", "2027-11-20", "p:8:3: exceptions.all: ends later [looser]"),
    ("2026-11-20", "2025-11-20", "p:8:3: exceptions.all: ends earlier [stricter]"),
    ("[ceiling]", "[ceiling, many]", "p:8:3: exceptions.all.rules: adds `many` [looser]"),
    (
        "lt: 2000",
        "lt: 3000",
        "p:8:3: exceptions.all: is for amount < 3000, before amount < 2000 [looser]",
    ),
    (
        "lt: 2000",
        "lt: 1500",
        "p:8:3: exceptions.all: is for amount < 1500, before amount < 2000 [stricter]",
    ),
    (
        "lt: 2000",
        "lte: 1999",
        "p:8:3: exceptions.all: is written as amount <= 1999, before amount < 2000 [neutral]",
    ),
    (
        "lt: 2000",
        "gt: 1500",
        "p:8:3: exceptions.all: is for amount > 1500, before amount < 2000 [unclear]",
    ),
    (
        "id: all,",
        "id: some,",
        "p:8:3: exceptions.all: is gone [stricter]\np:8:3: exceptions.some: is new, owned by `o` [looser]",
    ),
    ("owner: o", "owner: p", "p:8:3: exceptions.all: has another owner or reason [neutral]"),
    ("strip }", "deny }", "p:11:5: tools.pay.unknown_params: denies the call [stricter]"),
    ("      memo: { type: string }\n", "", "p:16:13: tools.pay.params.memo: is gone [unclear]"),
    (
        "memo: { type: string }",
        "memo: { type: string }\n      more: { type: string }",
        "p:17:13: tools.pay.params.more: is new [unclear]",
    ),
    ("[POST, PUT]", "[POST]", "p:5:10: lists.verbs: removes `PUT` [stricter]"),
    ("rights: [pay]", "rights: [pay, more]", "p:5:30: lists.rights: adds `more` [stricter]"),
    (
        "{ scopes: $rights }",
        "{ scopes: $rights, regions: [eu] }",
        "p:11:5: tools.pay.allow.regions: is limited [stricter]",
    ),
    (
        "methods: $verbs",
        "methods: [POST, PUT, PATCH]",
        "p:11:5: tools.pay.match.methods: adds `PATCH` [looser]",
    ),
    ("detectors: [ssn]", "detectors: [ssn], in: [body]", ""),
    (
        "email, gt: 9",
        "email, gt: 8",
        "p:19:7: tools.pay.rules.many: fires on dlp.email > 8, before on dlp.email > 9 [stricter]",
    ),
    (
        "cost, gt: 9",
        "cost, gt: 10",
        "p:20:7: tools.pay.rules.late: fires on estimated_cost > 10, before on estimated_cost > 9 [looser]",
    ),
    (
        "neq: eu",
        "prefix: eu",
        "p:21:7: tools.pay.rules.away: fires on request.region begins with \"eu\", before on request.region != \"eu\" [unclear]",
    ),
    (
        "tool: delete }",
        "tool: read }",
        "p:24:5: tools.delete.match.mcp: is for `read` of `files` instead of `delete` of `files` [unclear]",
    ),
    (
        "tool: delete } }",
        "tool: delete }, hosts: [a.test] }",
        "p:24:5: tools.delete.match.hosts: is limited [stricter]",
    ),
    (
        "{ mcp: { server: files, tool: delete } }",
        "{ hosts: [a.test], methods: [POST], paths: [/] }",
        "p:24:5: tools.delete.unknown_params: are taken out of the call [looser]\np:24:5: tools.delete.match: is for plain requests instead of MCP calls [unclear]",
    ),
];

fn read(text: &str) -> PolicySet {
    Document::parse("p", text).and_then(|document| PolicySet::parse(&[document])).unwrap()
}

#[test]
fn each_edit_is_one_change_in_its_direction() {
    let both = EDITS.iter().map(|edit| (BASE, edit));
    for (base, (from, to, line)) in both.chain(NEWER_EDITS.iter().map(|edit| (NEWER, edit))) {
        assert!(base.contains(from), "{from}");
        let changes = diff::between(&read(base), &read(&base.replacen(from, to, 1)));
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(lines.join("\n"), *line);
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
    for text in [
        BASE,
        NEWER,
        include_str!("../../cases/constructs.yaml"),
        include_str!("../../packs/demo.yaml"),
        include_str!("../../cases/four-domains.yaml"),
    ] {
        let commented = format!("# a comment\n{text}");
        assert_eq!(diff::between(&read(text), &read(&commented)), []);
    }
}

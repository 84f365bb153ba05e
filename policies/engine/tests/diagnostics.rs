//! Malformed and unwise policies: every finding at once, each where it stands.

use aegis_document::Document;
use aegis_policy::{CompileContext, Snapshot};
use aegis_policy_language::{PolicySet, lint};

fn errors(text: &str) -> String {
    let compiled = Document::parse("p.yaml", text)
        .and_then(|document| Snapshot::compile(&[document], CompileContext { version: 1 }));
    compiled.err().map(|found| found.to_string()).unwrap_or_default()
}

const MALFORMED: &str = "\
apiVersion: aegis.dev/v2
kind: PolicySet
metadata: { tenant: Demo, env: dev }
list: {}
defaults: { effect: allow }
calendars: { h: { tz: Mars/Olympus, weekly: ['Mon 8-20'] } }
approvals: { fin: { route: x, expires: 15 } }
obligations: { o: {} }
tools:
  Pay!: { class: write, match: { hosts: [a.test], methods: [POST], paths: [/] }, allow: {} }
  pay:
    class: wirte
    match: { hosts: [], methods: [post], paths: [v1] }
    allow: { scopes: ['a b'] }
    params:
      x: { type: int, requird: true }
      p: { type: string, pattern: '\\bx' }
    rules:
    - { id: 'a b', effect: approval_needed, when: { param: x, gt: 1, lt: 2 } }
    - { id: r, effect: deny, when: { parm: x }, approval: fin }
    - { id: s, effect: deny, when: sometimes }
";

#[test]
fn a_malformed_file_is_reported_whole() {
    let expected = "\
p.yaml:1:13: expected one of `aegis.dev/v1`, found the text `aegis.dev/v2`
    help: did you mean `aegis.dev/v1`?
p.yaml:3:21: a tenant id may hold only a-z 0-9 -
p.yaml:4:1: unknown key `list`
    help: did you mean `lists`?
p.yaml:5:21: expected one of `deny`, found the text `allow`
p.yaml:6:23: unknown time zone
    help: use a name of the IANA time zone database, such as Europe/Berlin
p.yaml:6:46: not a weekly window
    help: write it as `Mon-Fri 08:00-20:00` or `Sat,Sun 10:00-24:00`
p.yaml:7:40: expected a duration such as `10ms`, `30s`, `15m` or `12h`, found the number `15`
p.yaml:8:19: the obligation asks for nothing
p.yaml:10:3: a tool name may hold only a-z 0-9 . _ -
p.yaml:12:12: expected one of `read`, `write`, found the text `wirte`
    help: did you mean `write`?
p.yaml:13:21: an empty list matches nothing
p.yaml:13:35: a method is 1 to 32 of `A-Z 0-9 -`
p.yaml:13:50: a path begins with `/`
p.yaml:14:23: a scope is 1 to 122 of `A-Z a-z 0-9 . _ - : / @`
p.yaml:16:18: expected one of `string`, `integer`, `number`, `boolean`, `array`, `object`, found the text `int`
    help: did you mean `integer`?
p.yaml:16:23: unknown key `requird`
    help: did you mean `required`?
p.yaml:17:10: `pattern`: a word boundary (`\\b`) means different things to different engines
p.yaml:19:7: `approval` is missing
p.yaml:19:13: a rule id may hold only A-Z a-z 0-9 . _ - : / @
p.yaml:19:51: a test has exactly one of `gt`, `gte`, `lt`, `lte`, `eq`, `neq`, `in`, `prefix`, `suffix`, `contains`
p.yaml:20:36: a condition has exactly one of `all`, `any`, `not`, `param`, `agent`, `request`, `dlp`, `calendar`, `budget_remaining`, `estimated_cost`
p.yaml:20:38: unknown key `parm`
    help: did you mean `param`?
p.yaml:20:49: unknown key `approval`
    help: known here: id, effect, when, mode, reason
p.yaml:21:36: expected a mapping, found the text `sometimes`";
    assert_eq!(errors(MALFORMED), expected);
}

const INCOHERENT: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
lists: { currencies: [USD], none: [] }
approvals: { fin: { route: x, expires: 15m } }
tools:
  a.b: { class: read, match: { hosts: ['*'], methods: [GET], paths: ['/{id}'] }, allow: { groups: $none } }
  a-b:
    class: write
    match: { hosts: $hosts, methods: [POST], paths: [/x] }
    allow: {}
    params:
      n: { type: integer, pattern: a }
      s: { type: string, in: $currences, min: 1 }
    rules:
    - { id: r, effect: deny, when: { param: m, gt: 1 } }
    - { id: r, effect: approval_needed, when: { param: n, prefix: a }, approval: fni }
    - { id: schema.x, effect: sanitize, when: { calendar: hours }, obligation: gone }
tests:
- { name: t, tool: a.c, cases: [{ expect: allow }] }
";

#[test]
fn names_and_types_that_do_not_fit_are_reported_together() {
    let expected = "\
p.yaml:7:8: `*` is no host of the tool `a.b`
    help: write `api.example.com`, or `*.example.com` for every name below it
p.yaml:7:8: `{id}` in a path needs a parameter of type string
p.yaml:7:8: the tools `a-b` and `a.b` differ only in punctuation
p.yaml:7:99: the list `none` is empty and matches nothing
p.yaml:10:21: there is no list `hosts`
p.yaml:13:10: `pattern` does not fit this type
p.yaml:14:10: `min` does not fit this type
p.yaml:14:30: there is no list `currences`
    help: did you mean `currencies`?
p.yaml:16:45: there is no parameter `m`
p.yaml:17:7: a second rule `r` in this tool
p.yaml:17:7: there is no approval `fni`
    help: did you mean `fin`?
p.yaml:17:56: the test does not fit the type of what it tests
p.yaml:18:7: `schema.x` begins like the name of a built-in check
p.yaml:18:7: there is no obligation `gone`
p.yaml:18:59: there is no calendar `hours`
p.yaml:20:33: there is no tool `a.c`
    help: did you mean `a.b`?";
    assert_eq!(errors(INCOHERENT), expected);
}

const UNWISE: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
lists: { hosts: [a.test], spare: [] }
approvals: { fin: { route: x, expires: 5m, bind: [n] }, idle: { route: x, expires: 5m } }
obligations: { blank: { strip_attachments: true } }
tools:
  one:
    class: write
    match: { hosts: $hosts, methods: [POST], paths: ['/v1/*'] }
    allow: {}
    params: { n: { type: integer, required: true, min: 1, max: 500 }, m: { type: integer }, s: { type: string, pattern: '^acct_[a-z]+$' } }
    rules:
    - { id: high, effect: deny, when: { param: n, gt: 500 } }
    - { id: edge, effect: deny, when: { param: n, gte: 500 } }
    - { id: none, effect: deny, when: { all: [ { param: m, gt: 5 }, { param: m, lt: 5 } ] } }
    - { id: some, effect: deny, when: { all: [ { param: m, gte: 5 }, { param: m, lte: 5 } ] } }
    - { id: other, effect: deny, when: { param: s, prefix: user } }
    - { id: dots, effect: deny, when: { param: s, contains: .. } }
    - { id: top, effect: approval_needed, when: { param: n, eq: 500 }, approval: fin }
    - { id: ask, effect: approval_needed, when: { all: [ { param: n, gt: 400 }, { param: m, gt: 7 } ] }, approval: fin }
    - { id: would, effect: deny, mode: shadow, when: { all: [ { param: n, eq: 500 }, { dlp: [ssn] } ] } }
  two: { class: write, match: { hosts: ['*.test'], methods: [PUT, POST], paths: ['/{v}/x'] }, allow: { scopes: [a] }, params: { v: { type: string } } }
  three:
    class: write
    match: { hosts: ['*.a.test'], methods: [POST], paths: ['/v1/x'] }
    allow: { groups: [a] }
    params: { n: { type: integer, required: true }, e: { type: string, in: [a, b], max_length: 0 } }
    rules:
    - { id: all, effect: deny, when: { any: [ { param: n, lte: 5 }, { param: n, gt: 5 } ] } }
  four:
    class: write
    match: { hosts: ['b.example'], methods: [POST], paths: ['/v1/x'] }
    allow: { groups: [a] }
    params: { n: { type: integer, required: true } }
    rules:
    - { id: low, effect: deny, when: { param: n, lte: 5 } }
    - { id: high, effect: deny, when: { param: n, gt: 5 } }
    - { id: clean, effect: sanitize, when: always, obligation: blank }
  five:
    class: write
    match: { hosts: ['c.example'], methods: [POST], paths: ['/v2/x'] }
    allow: { groups: [a] }
    params: { n: { type: integer, max: 9007199254740993 }, m: { type: integer } }
    rules:
    - { id: exact, effect: deny, when: { param: n, gt: 9007199254740992 } }
    - { id: fails-closed, effect: deny, when: { not: { param: m, lte: 5 } } }
";

#[test]
fn lint_finds_what_is_legal_but_unwise() {
    let expected = "\
p.yaml:4:27: the list `spare` is never used [unused]
    help: remove it, or use it
p.yaml:5:57: the approval `idle` is never used [unused]
    help: remove it, or use it
p.yaml:9:5: every agent of the tenant may call `one` [open-tool]
    help: name the groups or scopes that may, under `allow`
p.yaml:14:7: the rule `high` can never fire [unreachable-rule]
    help: its condition contradicts itself or the checks of the tool
p.yaml:16:7: the rule `none` can never fire [unreachable-rule]
    help: its condition contradicts itself or the checks of the tool
p.yaml:17:7: a call that leaves out `m` escapes the rule `some` [vanishing-deny]
    help: make the parameter required, or deny what stays within the limit under a `not`
p.yaml:18:7: the rule `other` can never fire [unreachable-rule]
    help: its condition contradicts itself or the checks of the tool
p.yaml:19:7: the rule `dots` can never fire [unreachable-rule]
    help: its condition contradicts itself or the checks of the tool
p.yaml:20:7: the rule `top` changes nothing: whenever it fires, `edge` does too [ineffective-rule]
    help: remove it, or give it a condition that the other does not cover
p.yaml:21:7: the rule `ask` tests `m`, which its approval `fin` does not bind [unbound-approval]
    help: add the parameter to `bind`, so that the approver sees and grants it
p.yaml:22:7: the shadow rule `would` shows nothing that `edge` does not enforce already [redundant-shadow]
    help: remove it, or shadow a condition that differs
p.yaml:23:8: `one` and `two` match the same requests [overlapping-tools]
    help: the longer path wins, then the name that sorts first
p.yaml:23:8: `three` and `two` match the same requests [overlapping-tools]
    help: the longer path wins, then the name that sorts first
p.yaml:28:56: no value of `e` passes its checks [impossible-param]
    help: its bounds contradict each other; widen one of them
p.yaml:30:7: the rule `all` denies every call of the tool [always-denies]
    help: narrow its condition, or remove the tool
p.yaml:32:5: the deny rules of this tool leave no call to allow [never-allowed]
    help: every call fires one of them; narrow one, or remove the tool
p.yaml:46:7: a call that leaves out `n` escapes the rule `exact` [vanishing-deny]
    help: make the parameter required, or deny what stays within the limit under a `not`";
    let document = Document::parse("p.yaml", UNWISE).unwrap();
    let set = PolicySet::parse(&[document]).unwrap();
    assert_eq!(lint::findings(&set).to_string(), expected);
    assert_eq!(errors(UNWISE), "");
}

#[test]
fn the_shipped_policies_are_clean_but_for_what_is_known() {
    let unbound = "the rule `recursive` tests `recursive`, which its approval `fin` does not bind";
    for (text, expected) in [
        (include_str!("../../packs/demo.yaml"), vec![]),
        (include_str!("../../cases/four-domains.yaml"), vec![unbound]),
    ] {
        let set = PolicySet::parse(&[Document::parse("p.yaml", text).unwrap()]).unwrap();
        let found = lint::findings(&set);
        let messages: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(messages, expected);
    }
}

#[test]
fn a_set_may_be_split_over_files_of_one_tenant() {
    let head = |tenant: &str| {
        format!(
            "apiVersion: aegis.dev/v1\nkind: PolicySet\nmetadata: {{ tenant: {tenant}, env: dev }}\n"
        )
    };
    let lists = format!("{}lists: {{ hosts: [a.test] }}\ntools: {{}}\n", head("demo"));
    let tool =
        "  t: { class: read, match: { hosts: $hosts, methods: [GET], paths: [/] }, allow: {} }\n";
    let tools = format!("{}tools:\n{tool}", head("demo"));
    let foreign = format!("{}tools:\n{tool}", head("other"));
    let compile = |files: &[(&str, &str)]| {
        let documents: Vec<Document> =
            files.iter().map(|(name, text)| Document::parse(name, text).unwrap()).collect();
        Snapshot::compile(&documents, CompileContext { version: 1 })
    };
    let whole = compile(&[("a", &lists), ("b", &tools)]).unwrap();
    let other_order = compile(&[("b", &tools), ("a", &lists)]).unwrap();
    assert_eq!(whole.source_digest(), other_order.source_digest());
    let found = compile(&[("a", &lists), ("b", &tools), ("c", &foreign)]).unwrap_err();
    assert_eq!(
        found.to_string(),
        "c:1:1: the files of one set name the same tenant and environment\n\
         c:1:1: the tool `t` is also in another file of this set"
    );
    assert!(compile(&[]).is_err());
}

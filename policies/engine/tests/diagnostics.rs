//! Malformed and unwise policies: every finding at once, each where it stands.

use aegis_document::Document;
use aegis_policy::{CompileContext, Snapshot};
use aegis_policy_language::PolicySet;
use aegis_policy_review::lint;

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
p.yaml:20:36: a condition has exactly one of `all`, `any`, `not`, `param`, `agent`, `request`, `fact`, `context`, `dlp`, `calendar`, `budget_remaining`, `estimated_cost`
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

/// What MCP, exceptions, stripping, redaction, facts and context add.
const NEWER: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
defaults: { unknown_params: stripp }
calendars: { hours: { tz: UTC, weekly: ['Mon 08:00-20:00'] } }
approvals: { fin: { route: x, expires: 15m, bind: [amout] } }
obligations: { o: { redact: { detectors: [ssn], in: [bodi] } }, k: { keep_fields: [id] } }
tools:
  one:
    class: write
    match: { mcp: { server: Files, tol: x }, paths: [/x] }
    unknown_params: strip
    allow: {}
  two:
    class: write
    match: { mcp: { server: files, tool: 'a b' } }
    allow: {}
    rules:
    - { id: a, effect: deny, when: { fact: dlp.emial, gt: 1 } }
    - { id: b, effect: deny, when: { context: budget, gt: 1 } }
    - { id: c, effect: deny, when: { request: hots, eq: x } }
    exceptions:
    - { id: E1, owner: me, rules: [] }
    - { id: E2, owner: me, reason: r, expires: tomorrow, rules: [a], when: { parm: x } }
";

#[test]
fn the_newer_constructs_say_what_is_wrong_with_them() {
    let expected = "\
p.yaml:4:29: expected one of `deny`, `strip`, found the text `stripp`
    help: did you mean `strip`?
p.yaml:7:54: redaction covers the whole `body`
    help: to blank a field whatever it holds, name it under `fields`
p.yaml:11:19: `tool` is missing
p.yaml:11:29: a tool name may hold only a-z 0-9 . _ -
p.yaml:11:36: unknown key `tol`
    help: did you mean `tool`?
p.yaml:11:53: `paths` says nothing beside `mcp`
p.yaml:16:42: an MCP tool name may hold only A-Z a-z 0-9 . _ - : / @
p.yaml:19:44: expected one of `dlp.ssn`, `dlp.email`, `dlp.dob`, `dlp.card`, `dlp.secret`, found the text `dlp.emial`
    help: did you mean `dlp.email`?
p.yaml:20:47: expected one of `budget_remaining`, `estimated_cost`, `calendar.<name>`, found the text `budget`
    help: did you mean `budget_remaining`?
p.yaml:21:47: expected one of `host`, `method`, `path`, `region`, found the text `hots`
    help: did you mean `host`?
p.yaml:23:7: `expires` is missing
p.yaml:23:7: `reason` is missing
p.yaml:23:35: an empty list matches nothing
p.yaml:24:48: an instant is written like 2026-11-20T10:00:00Z
p.yaml:24:76: a condition has exactly one of `all`, `any`, `not`, `param`, `agent`, `request`, `fact`, `context`, `dlp`, `calendar`, `budget_remaining`, `estimated_cost`
p.yaml:24:78: unknown key `parm`
    help: did you mean `param`?";
    assert_eq!(errors(NEWER), expected);
}

/// Such a case was dropped without a word, and its tool went untested.
#[test]
fn a_test_that_expects_nothing_is_an_error() {
    let text = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
tools:
  one: { class: read, match: { hosts: [a.test], methods: [GET], paths: [/] }, allow: {} }
tests:
- { name: t, tool: one, cases: [{ expect: {} }] }
";
    assert_eq!(errors(text), "p.yaml:7:43: expected an effect and the ids of its rules");
}

const UNOPENED: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
obligations: { o: { redact: { detectors: [ssn] } } }
tools:
  one:
    class: read
    match: { hosts: [a.test], passthrough: true }
    allow: {}
    params: { x: { type: string } }
    rules:
    - { id: s, effect: sanitize, when: always, obligation: o }
";

#[test]
fn what_cannot_be_said_of_a_tunnel_nobody_looks_into_is_an_error() {
    let expected = "\
p.yaml:7:5: an unopened tunnel has no parameters
p.yaml:7:5: an unopened tunnel may change anything, so its class is `write`
p.yaml:12:7: nothing can be taken out of an unopened tunnel";
    assert_eq!(errors(UNOPENED), expected);
    let seen = UNOPENED.replace("passthrough: true", "passthrough: false, methods: [GET]");
    let expected = "\
p.yaml:8:44: `passthrough` is `true`, or is not said
p.yaml:8:60: `methods` says nothing beside `passthrough`";
    assert_eq!(errors(&seen), expected);
    let by_method = UNOPENED.replace("passthrough: true", "methods: [CONNECT], paths: [/]");
    let expected = "p.yaml:8:41: tunnels that are not opened are granted by `passthrough: true`";
    assert_eq!(errors(&by_method), expected);
}

const UNLIKELY: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
calendars: { hours: { tz: UTC, weekly: ['Mon 08:00-20:00'] } }
approvals: { fin: { route: x, expires: 15m, bind: [amout, amount] } }
obligations: { keep: { keep_fields: [id] } }
exceptions:
- { id: E1, owner: me, reason: r, expires: 2027-01-01T00:00:00Z, rules: [high, hihg, schema.amount, san] }
tools:
  pay:
    class: write
    match: { mcp: { server: files, tool: x } }
    unknown_params: strip
    allow: {}
    params: { amount: { type: integer } }
    rules:
    - { id: high, effect: approval_needed, when: { context: calendar.huors, eq: true }, approval: fin }
    - { id: type, effect: deny, when: { any: [ { context: calendar.hours, gt: 1 }, { fact: dlp.ssn, eq: a } ] } }
    - { id: san, effect: sanitize, when: always, obligation: keep }
    exceptions:
    - { id: E1, owner: me, reason: r, expires: 2027-01-01T00:00:00Z, rules: [typo], when: { param: mount, gt: 1 } }
";

#[test]
fn names_in_the_newer_constructs_are_checked_together() {
    let mcp = "p.yaml:13:21: nothing can be stripped from an MCP call";
    assert_eq!(errors(UNLIKELY), mcp);
    let expected = "\
p.yaml:5:19: there is no parameter `amout`
    help: did you mean `amount`?
p.yaml:8:3: `san` sanitizes; an exception cannot lift that
p.yaml:8:3: `schema.amount` is a check; an exception lifts rules only
p.yaml:8:3: there is no rule `hihg`
    help: did you mean `high`?
p.yaml:17:61: there is no calendar `huors`
    help: did you mean `hours`?
p.yaml:18:59: the test does not fit the type of what it tests
p.yaml:18:92: the test does not fit the type of what it tests
p.yaml:19:7: `keep` would drop the envelope of an MCP call
    help: `keep_fields` counts the outermost fields of the body only
p.yaml:21:7: a second exception `E1` in this set
p.yaml:21:7: there is no rule `typo`
    help: did you mean `type`?
p.yaml:21:100: there is no parameter `mount`
    help: did you mean `amount`?";
    assert_eq!(errors(&UNLIKELY.replace("strip", "deny")), expected);
}

#[test]
fn a_named_list_must_hold_what_its_place_takes() {
    let text = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
lists: { words: [GET, 'get it'], none: [] }
tools:
  a: { class: read, match: { hosts: [a.test], methods: $words, paths: $words }, allow: { scopes: $wrds, regions: $none } }
";
    let expected = "\
p.yaml:6:56: in the list `words`: a method is 1 to 32 of `A-Z 0-9 -`
p.yaml:6:71: in the list `words`: a path begins with `/`
p.yaml:6:71: in the list `words`: a path begins with `/`
p.yaml:6:98: there is no list `wrds`
    help: did you mean `words`?
p.yaml:6:114: the list `none` is empty and matches nothing";
    assert_eq!(errors(text), expected);
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
        (include_str!("../../packs/finance.yaml"), vec![]),
        (include_str!("../../packs/healthcare.yaml"), vec![]),
        (include_str!("../../packs/llm.yaml"), vec![]),
        (include_str!("../../packs/mcp.yaml"), vec![]),
        (include_str!("../../packs/msp.yaml"), vec![]),
        (include_str!("../../cases/four-domains.yaml"), vec![unbound]),
        (
            include_str!("../../cases/constructs.yaml"),
            vec![
                "the rule `urgent` tests `urgent`, which its approval `fin` does not bind",
                unbound,
                "every agent of the tenant may call `notes.read`",
            ],
        ),
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

//! Every limit of the language, reached: what is just within it is read, one more is refused where it stands.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

use std::fmt::Write as _;

use aegis_document::Document;
use aegis_policy_language::PolicySet;

const HEAD: &str =
    "apiVersion: aegis.dev/v1\nkind: PolicySet\nmetadata: { tenant: demo, env: dev }\n";

fn refusal(files: &[String]) -> String {
    let documents: Result<Vec<Document>, _> =
        files.iter().enumerate().map(|(n, text)| Document::parse(&format!("f{n}"), text)).collect();
    let set = documents.and_then(|documents| PolicySet::parse(&documents));
    set.err().map(|found| found.to_string()).unwrap_or_default()
}

/// A tool on one line, from the second column on.
fn tool(name: &str, rest: &str) -> String {
    let matching = "match: { hosts: [a.test], methods: [GET], paths: [/] }, allow: { groups: [g] }";
    format!("  {name}: {{ class: read, {matching}{rest} }}\n")
}

fn numbered(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        write!(text, "{}", line(number)).unwrap();
        text
    })
}

fn rules(count: usize) -> String {
    let rules = numbered(count, |n| format!("{{ id: r{n}, effect: deny, when: always }}, "));
    format!(", rules: [{rules}]")
}

#[test]
fn a_set_has_at_most_200_tools_however_many_files() {
    let file = |from: usize, count: usize| {
        format!("{HEAD}tools:\n{}", numbered(count, |n| tool(&format!("t{}", from + n), "")))
    };
    assert_eq!(refusal(&[file(100, 100), file(200, 100)]), "");
    assert_eq!(refusal(&[file(100, 101), file(201, 100)]), "f1:104:9: a set has at most 200 tools");
}

#[test]
fn a_tool_has_at_most_500_rules() {
    let file = |count: usize| format!("{HEAD}tools:\n{}", tool("t", &rules(count)));
    assert_eq!(refusal(&[file(500)]), "");
    assert_eq!(refusal(&[file(501)]), "f0:5:6: a tool has at most 500 rules");
}

#[test]
fn a_set_has_at_most_2000_rules() {
    let file = |last: usize| {
        let full = numbered(4, |n| tool(&format!("t{n}"), &rules(500)));
        format!("{HEAD}tools:\n{full}{}", tool("u", &rules(last)))
    };
    assert_eq!(refusal(&[file(0)]), "");
    let found = refusal(&[file(1)]);
    assert!(found.starts_with("f0:9:") && found.ends_with("at most 2000 rules"), "{found}");
}

#[test]
fn a_list_has_at_most_100_000_members_and_500_where_each_becomes_a_check() {
    let file = |members: usize, rest: &str| {
        let members = "a,".repeat(members);
        format!("{HEAD}lists: {{ l: [{members}] }}\ntools:\n{}", tool("t", rest))
    };
    let param = ", params: { p: { type: string, in: $l } }";
    assert_eq!(refusal(&[file(100_000, param)]), "");
    assert_eq!(refusal(&[file(100_001, param)]), "f0:4:13: a list has at most 100000 members");
    let inline = |members: usize| {
        let rest = format!(", params: {{ p: {{ type: string, in: [{}] }} }}", "a,".repeat(members));
        format!("{HEAD}tools:\n{}", tool("t", &rest))
    };
    assert_eq!(refusal(&[inline(100_000)]), "");
    assert!(refusal(&[inline(100_001)]).ends_with("a list has at most 100000 members"));
    let scoped = |members: usize| file(members, "").replace("groups: [g]", "scopes: $l");
    assert_eq!(refusal(&[scoped(500)]), "");
    assert!(refusal(&[scoped(501)]).ends_with("more than 500 members for this place"));
}

#[test]
fn a_set_has_at_most_1000_patterns_and_1000_exceptions() {
    let patterns = |count: usize| {
        let params = numbered(count, |n| format!("p{n}: {{ type: string, pattern: '^a{n}$' }}, "));
        format!("{HEAD}tools:\n{}", tool("t", &format!(", params: {{ {params} }}")))
    };
    assert_eq!(refusal(&[patterns(1_000)]), "");
    assert!(refusal(&[patterns(1_001)]).ends_with("a set has at most 1000 different patterns"));
    let exceptions = |count: usize| {
        let text = "owner: a, reason: b, expires: 2026-11-20T10:00:00Z, rules: [r0]";
        let lines = numbered(count, |n| format!("- {{ id: e{n}, {text} }}\n"));
        format!("{HEAD}tools:\n{}exceptions:\n{lines}", tool("t", &rules(1)))
    };
    assert_eq!(refusal(&[exceptions(1_000)]), "");
    assert_eq!(refusal(&[exceptions(1_001)]), "f0:1007:3: a set has at most 1000 exceptions");
}

#[test]
fn a_pattern_has_at_most_512_bytes_and_100_kib_compiled() {
    let file = |pattern: &str| {
        let params = format!(", params: {{ p: {{ type: string, pattern: '{pattern}' }} }}");
        format!("{HEAD}tools:\n{}", tool("t", &params))
    };
    assert_eq!(refusal(&[file(&"a".repeat(512))]), "");
    assert!(refusal(&[file(&"a".repeat(513))]).contains("longer than 512 bytes"));
    // Grows until the next repeat is too much: the largest that fits passes, one more does not.
    let fits = |count: usize| refusal(&[file(&format!("[é-ÿ]{{{count}}}"))]).is_empty();
    let first = (1..=1_000).collect::<Vec<_>>().partition_point(|count| fits(*count)) + 1;
    assert!(fits(first - 1) && !fits(first) && first < 1_000, "{first}");
    assert!(refusal(&[file(&format!("[é-ÿ]{{{first}}}"))]).ends_with("more than 100 KiB"));
    assert_eq!(refusal(&[file("(?i)[a-\u{461}]")]), "");
    assert!(refusal(&[file("(?i)[a-\u{462}]")]).contains("more than 1024 characters"));
}

#[test]
fn undeclared_names_by_the_thousand_are_counted_not_listed() {
    let calendars = numbered(15_000, |n| format!("  c{n}: {{ tz: UTC, weekly: [] }}\n"));
    let leaves = "{ calendar: gone }, ".repeat(20_000);
    let rule = format!(", rules: [{{ id: r, effect: deny, when: {{ any: [{leaves}] }} }}]");
    let found = refusal(&[format!("{HEAD}calendars:\n{calendars}tools:\n{}", tool("t", &rule))]);
    assert!(found.ends_with("and 19900 more"), "{}", &found[found.len() - 40..]);
}

//! Lint names the pairs of tools that one request could belong to, and no others.

#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

use aegis_document::Document;
use aegis_policy_language::PolicySet;
use aegis_policy_review::lint::{self, Code};

/// Whether tools with these two matches are named as overlapping.
fn overlap(one: &str, other: &str) -> bool {
    let head =
        "apiVersion: aegis.dev/v1\nkind: PolicySet\nmetadata: { tenant: demo, env: dev }\ntools:\n";
    let tool = |name: &str, matching: &str| {
        format!(
            "  {name}: {{ class: read, match: {{ {matching} }}, allow: {{ groups: [g] }}, params: {{ id: {{ type: string }} }} }}\n"
        )
    };
    let text = format!("{head}{}{}", tool("one", one), tool("other", other));
    let set = PolicySet::parse(&[Document::parse("p", &text).unwrap()]).unwrap();
    let found = lint::findings(&set);
    found.iter().any(|finding| finding.code == Code::OverlappingTools)
}

/// Both ways round, since neither tool comes first.
fn check(pairs: &[(&str, &str)], expected: bool) {
    for (one, other) in pairs {
        assert_eq!(overlap(one, other), expected, "{one} and {other}");
        assert_eq!(overlap(other, one), expected, "{other} and {one}");
    }
}

const DELETE: &str = "mcp: { server: files, tool: delete }";

#[test]
fn mcp_tools_of_one_server_and_name_overlap_unless_their_hosts_differ() {
    let on = |hosts: &str| format!("{DELETE}, hosts: [{hosts}]");
    let (a, b, below) = (on("a.test"), on("b.test"), on("'*.test'"));
    check(&[(DELETE, DELETE), (DELETE, &a), (&a, &a), (&a, &below)], true);
    check(&[(&a, &b)], false);
}

#[test]
fn mcp_tools_of_another_server_or_name_do_not_overlap() {
    let (read, mail) =
        ("mcp: { server: files, tool: read }", "mcp: { server: mail, tool: delete }");
    check(&[(DELETE, read), (DELETE, mail), (read, mail)], false);
}

#[test]
fn an_mcp_tool_never_overlaps_one_of_plain_requests() {
    let plain = "hosts: [a.test], methods: [POST], paths: ['/*']";
    let mcp = format!("{DELETE}, hosts: [a.test]");
    check(&[(plain, DELETE), (plain, &mcp)], false);
}

#[test]
fn plain_tools_overlap_where_host_method_and_path_all_do() {
    let of = |host: &str, method: &str, path: &str| {
        format!("hosts: ['{host}'], methods: [{method}], paths: ['{path}']")
    };
    let base = of("a.test", "GET", "/x/{id}");
    check(&[(&base, &of("*.test", "GET", "/x/y")), (&base, &of("a.test", "GET", "/*"))], true);
    check(
        &[
            (&base, &of("b.test", "GET", "/x/y")),
            (&base, &of("a.test", "PUT", "/x/y")),
            (&base, &of("a.test", "GET", "/x")),
        ],
        false,
    );
}

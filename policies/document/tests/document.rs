//! What the decoder of hand-written files promises: every problem at once, each at its place.

use aegis_document::{BYTES_MAX, Diagnostics, Document, Node, Problems};
use aegis_domain::{Host, TenantId, Ttl};
use proptest::prelude::*;

fn parse_error(text: &str) -> String {
    Document::parse("f.yaml", text).err().map(|error| error.to_string()).unwrap_or_default()
}

#[derive(Debug, PartialEq)]
struct Listener {
    tenant: TenantId,
    port: u16,
    hosts: Vec<Host>,
    deadline: Ttl,
    tls: bool,
}

fn listener(node: &Node, problems: &mut Problems) -> Option<Listener> {
    let mut map = node.mapping(problems)?;
    let tenant = map.required("tenant", problems, Node::parsed);
    let port = map.required("port", problems, |port, p| port.integer(p, 1..=65_535));
    let hosts = map.required("hosts", problems, |hosts, p| hosts.list(p, Node::parsed));
    let deadline = map.optional("deadline", problems, Node::duration);
    let modes = [("on", true), ("off", false)];
    let tls = map.required("tls", problems, |tls, p| tls.choice(p, &modes));
    map.finish(problems);
    let deadline = deadline.unwrap_or(Ttl::from_s(1));
    Some(Listener { tenant: tenant?, port: port?, hosts: hosts?, deadline, tls: tls? })
}

fn decode(text: &str) -> Result<Listener, Diagnostics> {
    Document::parse("aegis.yaml", text)?.decode(listener)
}

#[test]
fn a_good_text_decodes_from_yaml_and_from_json() {
    let expected = Listener {
        tenant: TenantId::parse("demo").unwrap(),
        port: 8080,
        hosts: vec![Host::parse("a.test").unwrap()],
        deadline: Ttl::from_s(30),
        tls: true,
    };
    let yaml = "# comment\ntenant: demo\nport: 8080\nhosts: [a.test]\ndeadline: 30s\ntls: on\n";
    let json = "{\n\t\"tenant\": \"demo\", \"port\": 8080,\n\t\"hosts\": [\"a.test\"], \"deadline\": \"30s\",\n\t\"tls\": \"on\"\n}\n";
    assert_eq!(decode(yaml).unwrap(), expected);
    assert_eq!(decode(json).unwrap(), expected);
}

#[test]
fn every_problem_of_a_text_is_reported_at_its_place() {
    let text =
        "tenent: demo\nport: 70000\nhosts:\n- OK.test\n- 5\n- b.test\ndeadline: 15\ntls: onn\n";
    let expected = "\
aegis.yaml:1:1: `tenant` is missing
aegis.yaml:1:1: unknown key `tenent`
    help: did you mean `tenant`?
aegis.yaml:2:7: expected an integer from 1 to 65535, found the number `70000`
aegis.yaml:4:3: a host may hold only a-z 0-9 . - _ :
aegis.yaml:5:3: expected text, found the number `5`
    help: put it in quotes
aegis.yaml:7:11: expected a duration such as `10ms`, `30s`, `15m` or `12h`, found the number `15`
aegis.yaml:8:6: expected one of `on`, `off`, found the text `onn`
    help: did you mean `on`?";
    assert_eq!(decode(text).unwrap_err().to_string(), expected);
}

#[test]
fn a_key_without_a_value_is_not_an_absent_key() {
    let error = decode("tenant: demo\nport: 1\nhosts: []\ndeadline:\ntls: on\n").unwrap_err();
    assert_eq!(error.len(), 1);
    assert!(error.to_string().starts_with("aegis.yaml:4:9: expected a duration"), "{error}");
}

#[test]
fn duplicate_keys_are_reported_at_any_depth_also_when_quoted() {
    let text = "a: {x: 1, 'x': 2}\nb: 1\n\"b\": 2\nb: 3\n";
    let expected = "\
f.yaml:1:11: `x` stands here a second time; the first is at line 1
f.yaml:3:1: `b` stands here a second time; the first is at line 2
f.yaml:4:1: `b` stands here a second time; the first is at line 2";
    assert_eq!(parse_error(text), expected);
}

#[test]
fn aliases_anchors_and_tags_are_refused() {
    let expected = "\
f.yaml:1:4: anchors (`&name`) are not allowed
f.yaml:2:4: aliases (`*name`) are not allowed
f.yaml:3:4: tags (`!name`) are not allowed";
    assert_eq!(parse_error("a: &x 1\nb: *x\nc: !!str 5\n"), expected);
}

#[test]
fn keys_are_scalars() {
    assert_eq!(parse_error("? [a]\n: 1\n"), "f.yaml:1:3: a key must be text, found a list");
    assert_eq!(parse_error("~: 1\n"), "f.yaml:1:1: a key must be text, found nothing");
}

#[test]
fn a_file_holds_one_document_and_not_none() {
    let second = "f.yaml:2:1: a second document begins here; one file holds one document";
    assert_eq!(parse_error("a: 1\n---\nb: 1\n"), second);
    assert_eq!(parse_error("# nothing\n"), "f.yaml:1:1: the text is empty");
}

#[test]
fn syntax_errors_have_a_place() {
    assert!(parse_error("a: [1, 2\nb: 3\n").starts_with("f.yaml:2:"));
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
    assert!(Document::parse("f.yaml", &deep).is_ok());
    let deeper = "[".repeat(100);
    assert_eq!(parse_error(&deeper), "f.yaml:1:65: nested deeper than 64 levels");
    assert!(!parse_error(&"[".repeat(100_000)).is_empty());
    let long = "a".repeat(BYTES_MAX + 1);
    assert_eq!(parse_error(&long), "f.yaml:1:1: the text is longer than 1048576 bytes");
}

#[test]
fn any_value_becomes_json_and_rounding_is_refused() {
    let json = |text: &str| Document::parse("f.yaml", text)?.decode(|root, p| root.json(p));
    let value = json("{a: [1, -2, 0.5, true, ~, x], 5: {}}").unwrap();
    assert_eq!(value.to_string(), r#"{"5":{},"a":[1,-2,0.5,true,null,"x"]}"#);
    let error = json("a: 99999999999999999999").unwrap_err().to_string();
    assert!(
        error.starts_with("f.yaml:1:4: expected a decimal number that can be kept exactly"),
        "{error}"
    );
}

fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b: ", "- ", "\n", "  ", "[", "]", "{", "}", ",", ":", "\"", "'", "&x ", "*x", "!t ",
        "|", ">", "#", "---", "...", "%", "\t", "?", "1e9", "é", "\u{feff}", "\0",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_panics_and_every_refusal_says_why(text in prop_oneof![yamlish(), any::<String>()]) {
        if let Err(diagnostics) = decode(&text) {
            prop_assert!(!diagnostics.is_empty());
            prop_assert!(diagnostics.iter().all(|found| found.line >= 1 && found.column >= 1));
        }
    }

    #[test]
    fn what_json_writes_reads_back(map in prop::collection::btree_map("\\PC{0,12}", "\\PC{0,20}", 0..8)) {
        let json = serde_json::to_value(&map).unwrap();
        let document = Document::parse("f.json", &json.to_string()).unwrap();
        prop_assert_eq!(document.decode(|root, p| root.json(p)).unwrap(), json);
    }
}

/// The parser counts the bytes of a directive, not its characters.
#[test]
fn a_mistake_in_a_directive_is_placed_in_its_line() {
    let text = ["%", &"\u{1}".repeat(25), "\u{fffd}\u{fffd}\0"].concat();
    let found = Document::parse("f.yaml", &text).unwrap_err();
    let columns: Vec<u32> = found.iter().map(|one| one.column).collect();
    assert_eq!(columns, [30], "one past the last of 29 characters");
}

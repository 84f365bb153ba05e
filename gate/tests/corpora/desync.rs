//! http-desync-guardian: 68 requests in four tiers.

use aegis_document::Document;
use serde_json::Value;

use crate::replay::{Door, End, replay, unsafe_because};
use crate::{BestPeer, corpus, hold_above};

/// Cases of `rfc-compliant.yaml` that a strict gate may refuse: other codings than chunked, and an empty target.
const REFUSABLE: [usize; 4] = [8, 9, 10, 13];

struct Case {
    name: String,
    tier: String,
    bytes: Vec<u8>,
}

#[test]
fn ambiguous_and_severe_requests_are_refused_and_compliant_ones_pass() {
    let Some(folder) = corpus("http-desync-guardian") else { return };
    let mut accepted: Vec<(String, bool)> = Vec::new();
    for file in ["rfc-compliant", "acceptable", "ambiguous", "edge-cases"] {
        let text = std::fs::read_to_string(folder.join(format!("{file}.yaml"))).unwrap();
        for (at, case) in cases(&text).into_iter().enumerate() {
            let (heads, end) = replay(&case.bytes, Door::ToolRoute);
            for head in &heads {
                assert_eq!(unsafe_because(head), None, "{file} {at}: {}", case.name);
            }
            let passes = end == End::Clean;
            let may_fail = file != "rfc-compliant" || REFUSABLE.contains(&at);
            assert!(passes || may_fail, "{file} {at} {}: {end:?}", case.name);
            accepted.push((case.tier, passes));
        }
    }
    println!("| class | refused here | refused by the best peer |\n|---|---|---|");
    let count = |tier: &str, passes: bool| {
        accepted.iter().filter(|it| it.0 == tier && it.1 == passes).count()
    };
    let total = |tier: &str| accepted.iter().filter(|it| it.0 == tier).count();
    let severe = BestPeer { name: "nginx", refused: 57, of: 58 };
    let ambiguous = BestPeer { name: "Envoy", refused: 48, of: 58 };
    hold_above("Severe", count("Severe", false), total("Severe"), severe);
    hold_above("Ambiguous", count("Ambiguous", false), total("Ambiguous"), ambiguous);
    assert_eq!((count("Severe", true), count("Ambiguous", true)), (0, 0));
    println!("| Acceptable | {}/{} | |", count("Acceptable", false), total("Acceptable"));
    let compliant = count("Compliant", true);
    println!("accepted of Compliant: {compliant}/{}", total("Compliant"));
    assert!(compliant >= 10);
    assert_eq!(accepted.len(), 68);
}

fn cases(yaml: &str) -> Vec<Case> {
    let document = Document::parse("corpus", yaml).unwrap();
    let list = document.decode(|node, problems| node.json(problems)).unwrap();
    list.as_array().unwrap().iter().map(case).collect()
}

fn case(case: &Value) -> Case {
    let text = |key: &str| shown(&case[key]);
    let headers: Vec<(String, String)> = case["headers"].as_array().map_or_else(Vec::new, |list| {
        list.iter().map(|it| (shown(&it["name"]), shown(&it["value"]))).collect()
    });
    let version = text("version");
    let mut request = format!("{} {}", text("method"), text("uri"));
    if !version.is_empty() {
        request.push(' ');
        request.push_str(&version);
    }
    request.push_str("\r\n");
    if version == "HTTP/1.1" && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request.push_str("Host: localhost\r\n");
    }
    for (name, value) in &headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(&body(&headers));
    Case { name: text("name"), tier: shown(&case["expected"]["tier"]), bytes: latin1(&request) }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string().replace("null", ""), str::to_owned)
}

fn body(headers: &[(String, String)]) -> String {
    let is = |wanted: &str| {
        let name = wanted.to_owned();
        move |it: &&(String, String)| it.0.eq_ignore_ascii_case(&name)
    };
    if headers.iter().any(|it| is("transfer-encoding")(&it)) {
        return "0\r\n\r\n".to_owned();
    }
    let lengths: Vec<_> = headers.iter().filter(is("content-length")).collect();
    match lengths.as_slice() {
        [(_, value)] => {
            "a".repeat(value.parse().ok().filter(|&length| length < 200_000).unwrap_or(0))
        }
        _ => String::new(),
    }
}

/// Latin-1, and UTF-8 for the characters that it lacks.
fn latin1(text: &str) -> Vec<u8> {
    let mut buffer = [0; 4];
    text.chars()
        .flat_map(|c| match u8::try_from(u32::from(c)) {
            Ok(byte) => vec![byte],
            Err(_) => c.encode_utf8(&mut buffer).as_bytes().to_vec(),
        })
        .collect()
}

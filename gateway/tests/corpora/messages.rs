//! The requests of three corpora as bytes: http-desync-guardian, te-gadgets and llhttp.
//!
//! Not here: how they are said to the gateway (`adapt`). Invariant: the bytes are built as the corpus's own description
//! says; what is not ours to know, such as a length over a tail that grows, is left open.

use aegis_document::Document;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::adapt::{Door, Piece};
use crate::{corpus, json_lines, text_of};

/// What a corpus says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Compliant,
    Acceptable,
    Ambiguous,
    Severe,
    /// A disguise of `Transfer-Encoding`.
    Disguise,
    LlhttpError,
    LlhttpValid,
}

/// One message of a corpus.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) class: Class,
    pub(crate) bytes: Vec<u8>,
    /// A tail whose length is to stand before it.
    counted: Option<Vec<u8>>,
}

impl Class {
    pub(crate) const ALL: [Class; 7] = [
        Class::Compliant,
        Class::Acceptable,
        Class::Ambiguous,
        Class::Severe,
        Class::Disguise,
        Class::LlhttpError,
        Class::LlhttpValid,
    ];
}

impl Sample {
    /// The message as this door could let it through, and how many requests are in it.
    pub(crate) fn through(&self, door: &Door, number: usize) -> (Vec<u8>, usize) {
        let mut nth = 0;
        let mut bytes = door.adapt(&self.bytes, Piece::Start, number, &mut nth);
        if let Some(tail) = &self.counted {
            let tail = door.adapt(tail, Piece::Rest, number, &mut nth);
            bytes.extend(format!("Content-Length: {}\r\n\r\n", tail.len()).into_bytes());
            bytes.extend(tail);
        }
        (bytes, nth)
    }
}

/// Every message there is, if the data is.
pub(crate) fn all() -> Option<Vec<Sample>> {
    let mut samples = guardian()?;
    samples.extend(gadgets()?);
    samples.extend(llhttp()?);
    Some(samples)
}

fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn gadgets() -> Option<Vec<Sample>> {
    let lines = json_lines(corpus("te-gadgets")?.join("te_gadgets.jsonl"));
    let sample = |line: &Value| Sample {
        name: text_of(line, "id").to_owned(),
        class: Class::Disguise,
        bytes: [
            b"POST /g HTTP/1.1\r\nHost: localhost\r\n".as_slice(),
            &base64(&line["header_b64"]),
            b"\r\n",
        ]
        .concat(),
        counted: Some(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    };
    Some(lines.iter().map(sample).collect())
}

fn llhttp() -> Option<Vec<Sample>> {
    let lines = json_lines(corpus("llhttp")?.join("http1_vectors.jsonl"));
    let requests = lines.iter().filter(|line| line["type"] == "request");
    let sample = |line: &Value| Sample {
        name: text_of(line, "title").to_owned(),
        class: if line["error"].is_null() { Class::LlhttpValid } else { Class::LlhttpError },
        bytes: base64(&line["raw_b64"]),
        counted: None,
    };
    Some(requests.map(sample).collect())
}

fn guardian() -> Option<Vec<Sample>> {
    let folder = corpus("http-desync-guardian")?;
    let mut samples = Vec::new();
    for file in ["rfc-compliant", "acceptable", "ambiguous", "edge-cases"] {
        let text = std::fs::read_to_string(folder.join(format!("{file}.yaml"))).unwrap();
        let document = Document::parse("corpus", &text).unwrap();
        let list = document.decode(|node, problems| node.json(problems)).unwrap();
        samples.extend(list.as_array().unwrap().iter().map(guardian_sample));
    }
    Some(samples)
}

fn guardian_sample(case: &Value) -> Sample {
    let headers: Vec<(String, String)> = case["headers"].as_array().map_or_else(Vec::new, |list| {
        list.iter().map(|it| (shown(&it["name"]), shown(&it["value"]))).collect()
    });
    let version = shown(&case["version"]);
    let mut request = format!("{} {}", shown(&case["method"]), shown(&case["uri"]));
    if !version.is_empty() {
        request.push(' ');
        request.push_str(&version);
    }
    request.push_str("\r\n");
    for (name, value) in &headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(&body(&headers));
    let class = match text_of(&case["expected"], "tier") {
        "Compliant" => Class::Compliant,
        "Acceptable" => Class::Acceptable,
        "Ambiguous" => Class::Ambiguous,
        "Severe" => Class::Severe,
        tier => panic!("the corpus has a tier {tier}"),
    };
    Sample { name: shown(&case["name"]), class, bytes: latin1(&request), counted: None }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string().replace("null", ""), str::to_owned)
}

fn body(headers: &[(String, String)]) -> String {
    let of = |wanted: &str| -> Vec<&String> {
        let is = |it: &&(String, String)| it.0.eq_ignore_ascii_case(wanted);
        headers.iter().filter(is).map(|(_, value)| value).collect()
    };
    if !of("transfer-encoding").is_empty() {
        return "0\r\n\r\n".to_owned();
    }
    match of("content-length").as_slice() {
        [value] => "a".repeat(value.parse().ok().filter(|length| *length < 200_000).unwrap_or(0)),
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

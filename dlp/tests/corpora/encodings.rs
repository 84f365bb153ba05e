//! The same labels in fifteen encodings, plain, and each again inside base64 and gzip.

use std::fmt::Write as _;
use std::io::Write as _;

use aegis_dlp::{ContentCoding, ContentKind, decode_body, redact, scan};
use aegis_domain::{Detector, Obligation};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::labelled::{Sentence, sentences};
use crate::percent;

const JSON: ContentKind = ContentKind::Json;
const TEXT: ContentKind = ContentKind::Text;

/// A sentence with its labels rewritten.
fn relabelled(sentence: &Sentence, kind: &str, rewrite: fn(&str) -> String) -> String {
    let mut text = sentence.text.clone();
    let mut spans: Vec<_> = sentence.labels.iter().filter(|(name, _)| name == kind).collect();
    spans.sort_by_key(|(_, span)| std::cmp::Reverse(span.start));
    for (_, span) in spans {
        let label = rewrite(&text[span.clone()]);
        text.replace_range(span.clone(), &label);
    }
    text
}

fn each(text: &str, write: impl Fn(&mut String, char)) -> String {
    let mut out = String::new();
    text.chars().for_each(|c| write(&mut out, c));
    out
}

fn joined(label: &str, between: &str) -> String {
    label.chars().map(String::from).collect::<Vec<_>>().join(between)
}

fn utf16_escapes(text: &str) -> String {
    text.encode_utf16().fold(String::new(), |mut out, unit| {
        write!(out, "\\u{unit:04x}").unwrap();
        out
    })
}

fn urlencoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn fullwidth(label: &str) -> String {
    let wide =
        |c: char| if c.is_ascii_graphic() { char::from_u32(c as u32 + 0xfee0).unwrap() } else { c };
    label.chars().map(wide).collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// The body of a sentence in one form.
fn body(form: &str, sentence: &Sentence, kind: &str) -> (String, ContentKind) {
    let text = sentence.text.as_str();
    let label = |rewrite| relabelled(sentence, kind, rewrite);
    let xml = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    match form {
        "plain" => (text.to_owned(), TEXT),
        "json" => (serde_json::json!({ "note": text }).to_string(), JSON),
        "xml" => (format!("<m><t>{xml}</t></m>"), TEXT),
        "csv" => (format!("id,note\n1,\"{}\"\n", text.replace('"', "\"\"")), TEXT),
        "form" => {
            (format!("id=1&note={}", urlencoded(text).replace("%20", "+")), ContentKind::Form)
        }
        "nb-hyphen" => (label(|label| label.replace('-', "\u{2011}")), TEXT),
        "json-uXXXX" => (format!("{{\"note\":\"{}\"}}", utf16_escapes(text)), JSON),
        "url" => (urlencoded(text), TEXT),
        "base64" => (STANDARD.encode(text), TEXT),
        "hex" => (text.bytes().map(|byte| format!("{byte:02x}")).collect(), TEXT),
        "html" => (each(text, |out, c| write!(out, "&#{};", c as u32).unwrap()), TEXT),
        "zero-width" => (label(|label| joined(label, "\u{200b}")), TEXT),
        "fullwidth" => (label(fullwidth), TEXT),
        "spaced" => (label(|label| joined(label, " ")), TEXT),
        "reversed" => (label(|label| label.chars().rev().collect()), TEXT),
        other => panic!("no form {other}"),
    }
}

/// How a body in one form is wrapped again.
fn wrapped(wrap: &str, (body, kind): (String, ContentKind)) -> (Vec<u8>, ContentKind) {
    let quoted =
        |text: String| (serde_json::json!({ "data": text }).to_string().into_bytes(), JSON);
    match wrap {
        "bare" => (body.into_bytes(), kind),
        "base64" => quoted(STANDARD.encode(body)),
        "json" => quoted(body),
        "gzip+base64" => quoted(STANDARD.encode(gzip(body.as_bytes()))),
        "multipart" => {
            let content_type = match kind {
                ContentKind::Json => "application/json",
                ContentKind::Form => "application/x-www-form-urlencoded",
                _ => "text/plain; charset=utf-8",
            };
            let head =
                format!("Content-Disposition: form-data; name=a\r\nContent-Type: {content_type}");
            let body = format!("--b\r\n{head}\r\n\r\n{body}\r\n--b--\r\n");
            (body.into_bytes(), ContentKind::Multipart { boundary: "b".to_owned() })
        }
        "gzip" => {
            let sent = Bytes::from(gzip(body.as_bytes()));
            (decode_body(&sent, ContentCoding::Gzip, 1 << 20).unwrap().to_vec(), kind)
        }
        other => panic!("no wrap {other}"),
    }
}

const FORMS: [&str; 15] = [
    "plain",
    "json",
    "xml",
    "csv",
    "form",
    "nb-hyphen",
    "json-uXXXX",
    "url",
    "base64",
    "hex",
    "html",
    "zero-width",
    "fullwidth",
    "spaced",
    "reversed",
];

#[test]
fn labels_are_found_and_blanked_in_every_encoding() {
    let Some(sentences) = sentences() else { return };
    for (kind, detector) in [("US_SSN", Detector::Ssn), ("EMAIL_ADDRESS", Detector::Email)] {
        let labelled: Vec<&Sentence> = sentences
            .iter()
            .filter(|one| one.labels.iter().any(|(name, _)| name == kind))
            .collect();
        for wrap in ["bare", "json", "base64", "gzip+base64", "gzip", "multipart"] {
            for form in FORMS {
                let is_found = |one: &&&Sentence| {
                    let labels = one.labels.iter().filter(|(name, _)| name == kind).count();
                    let (body, content) = wrapped(wrap, body(form, one, kind));
                    let scanned = scan(&body, &content);
                    assert_eq!(scanned.gap, None, "{form} in {wrap}");
                    let order = [Obligation::Redact { detectors: vec![detector] }];
                    let redacted = redact(&Bytes::from(body), &content, &order).unwrap();
                    assert_eq!(redacted.counts.get(&detector), scanned.counts.get(&detector));
                    let found = scanned.counts.get(&detector).copied().unwrap_or(0);
                    usize::try_from(found).unwrap() >= labels
                };
                let found = labelled.iter().filter(is_found).count();
                let recall = percent(found, labelled.len());
                println!("{kind} {form} in {wrap}: {found}/{} {recall:.0} %", labelled.len());
                // A label read backwards is not one: said openly rather than guessed at.
                assert!(recall >= 99.0 || form == "reversed", "{kind} {form} in {wrap}");
            }
        }
    }
}

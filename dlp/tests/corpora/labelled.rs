//! The labelled sentences of presidio-research.

use std::ops::Range;

use aegis_dlp::{ContentKind, redact};
use aegis_domain::{Detector, Obligation};
use bytes::Bytes;
use serde_json::Value;

use crate::{corpus, percent};

/// A sentence and the byte spans of its labels.
pub(crate) struct Sentence {
    pub(crate) text: String,
    pub(crate) labels: Vec<(String, Range<usize>)>,
}

pub(crate) fn sentences() -> Option<Vec<Sentence>> {
    let file = corpus("presidio-research")?.join("synth_dataset_v2.json");
    let data: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    Some(data.as_array().unwrap().iter().map(sentence).collect())
}

fn sentence(entry: &Value) -> Sentence {
    let text = entry["full_text"].as_str().unwrap().to_owned();
    let offset = |chars: &Value| {
        let chars = usize::try_from(chars.as_u64().unwrap()).unwrap();
        text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
    };
    let label = |span: &Value| {
        let range = offset(&span["start_position"])..offset(&span["end_position"]);
        (span["entity_type"].as_str().unwrap().to_owned(), range)
    };
    let labels = entry["spans"].as_array().unwrap().iter().map(label).collect();
    Sentence { text, labels }
}

/// Where redaction changed the text.
fn findings(text: &str, detector: Detector, blank: &str) -> Vec<Range<usize>> {
    let order = [Obligation::Redact { detectors: vec![detector] }];
    let body = Bytes::from(text.to_owned());
    let redacted = redact(&body, &ContentKind::Text, &order).unwrap().body;
    let redacted = String::from_utf8(redacted.to_vec()).unwrap();
    let mut pieces = redacted.split(blank);
    let (mut spans, mut at) = (Vec::new(), pieces.next().unwrap().len());
    let pieces: Vec<&str> = pieces.collect();
    for (place, piece) in pieces.iter().enumerate() {
        let is_last = place + 1 == pieces.len();
        let end =
            if is_last { text.len() - piece.len() } else { at + text[at..].find(piece).unwrap() };
        spans.push(at..end);
        at = end + piece.len();
    }
    spans
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

#[test]
fn labelled_sentences_are_found_and_nothing_else() {
    let Some(sentences) = sentences() else { return };
    for (kind, detector, blank, recall_min, precision_min) in [
        ("US_SSN", Detector::Ssn, "[SSN]", 100.0, 100.0),
        ("EMAIL_ADDRESS", Detector::Email, "[EMAIL]", 100.0, 100.0),
        ("CREDIT_CARD", Detector::Card, "[CARD]", 99.0, 99.0),
    ] {
        let (mut labels, mut hit, mut found, mut right) = (0, 0, 0, 0);
        for sentence in &sentences {
            let findings = findings(&sentence.text, detector, blank);
            let of_kind = |(name, _): &&(String, _)| name == kind;
            let spans: Vec<_> =
                sentence.labels.iter().filter(of_kind).map(|(_, span)| span).collect();
            let is_hit = |span: &&&Range<usize>| findings.iter().any(|found| overlap(found, span));
            labels += spans.len();
            hit += spans.iter().filter(is_hit).count();
            for span in spans.iter().filter(|span| !is_hit(span)) {
                println!("{kind} missed: {}", &sentence.text[(**span).clone()]);
            }
            found += findings.len();
            let is_right = |found: &&Range<usize>| spans.iter().any(|span| overlap(found, span));
            right += findings.iter().filter(is_right).count();
            for found in findings.iter().filter(|found| !is_right(found)) {
                println!("{kind} false: {}", &sentence.text[found.clone()]);
            }
        }
        let (recall, precision) = (percent(hit, labels), percent(right, found));
        println!(
            "{kind}: recall {hit}/{labels} {recall:.1} %, precision {right}/{found} {precision:.1} %"
        );
        assert!(recall >= recall_min && precision >= precision_min, "{kind}");
    }
}

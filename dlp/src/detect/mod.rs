//! Finds what must not leave in one plain text.
//!
//! Not here: undoing encodings (`inspect`). Invariant: every finding lies on character boundaries of the text.

mod card;
mod digits;
mod dob;
mod email;
mod secret;
mod ssn;
mod words;

use std::ops::Range;
use std::sync::LazyLock;

use aegis_domain::Detector;

pub(crate) use words::Context;

use words::Words;

use crate::glance::Glance;
use crate::hit::Hit;

/// The fewest digits that matter: `3 May 1980`.
const DIGITS_MIN: usize = 5;

/// The findings of one text, and the context it gives as the name of a field.
pub(crate) struct Found {
    pub(crate) hits: Vec<Hit>,
    pub(crate) context: Context,
}

/// Builds all patterns now rather than at first use.
pub(crate) fn prepare() {
    LazyLock::force(&words::AUTOMATON);
    LazyLock::force(&secret::PATTERNS);
    LazyLock::force(&dob::DATES);
}

/// Runs the wanted detectors over `text`, the value of a field whose name gave `field`.
pub(crate) fn detect(text: &str, glance: Glance, field: Context, wanted: &[Detector]) -> Found {
    let is_name = field.says(Context::NAME);
    let needs_words = is_name || glance.digits >= DIGITS_MIN || glance.may_tell();
    let words = if needs_words { Words::read(text) } else { Words::none() };
    let groups = if glance.digits >= DIGITS_MIN { digits::groups(text) } else { Vec::new() };
    let mut hits = Vec::new();
    for detector in wanted {
        let spans = match detector {
            Detector::Ssn => ssn::find(text, &groups, &words, field),
            Detector::Email if !glance.has_at() => continue,
            Detector::Email => email::find(text),
            Detector::Dob => dob::find(text, &groups, &words, field),
            Detector::Card => card::find(text, &groups, &words, field),
            Detector::Secret => secret::find(text, glance, &words, field),
        };
        hits.extend(disjoint(spans).into_iter().map(|span| Hit::new(*detector, span)));
    }
    Found { hits, context: words.context() }
}

/// One detector's spans, those that overlap joined, so that each thing counts once.
fn disjoint(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_by_key(|span| span.start);
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
pub(crate) fn found(text: &str, detector: Detector) -> Vec<&str> {
    let hits = detect(text, Glance::over(text), Context::NONE, &[detector]).hits;
    hits.iter().map(|hit| &text[hit.span.clone()]).collect()
}

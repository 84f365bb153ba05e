//! A place in a text that must be blanked, and the blanking.
//!
//! Not here: how it was found (`detect`) or decoded (`inspect`). Invariant: merged hits are sorted and disjoint.

use std::collections::BTreeMap;
use std::ops::Range;

use aegis_domain::Detector;

/// How often each detector found something; those not in the map found nothing.
pub(crate) type Counts = BTreeMap<Detector, u32>;

/// One span to replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) span: Range<usize>,
    /// What goes in its place, already in the encoding of the text it lies in.
    pub(crate) with: String,
    pub(crate) counts: Counts,
}

/// What stands in the place of a finding.
pub(crate) fn label(detector: Detector) -> &'static str {
    match detector {
        Detector::Ssn => "[SSN]",
        Detector::Email => "[EMAIL]",
        Detector::Dob => "[DOB]",
        Detector::Card => "[CARD]",
        Detector::Secret => "[SECRET]",
    }
}

impl Hit {
    pub(crate) fn new(detector: Detector, span: Range<usize>) -> Self {
        let with = label(detector).to_owned();
        Self { span, with, counts: Counts::from([(detector, 1)]) }
    }
}

/// Sorts hits and joins those that overlap. Two views of one place count once: the higher count wins.
pub(crate) fn merge(mut hits: Vec<Hit>) -> Vec<Hit> {
    if hits.len() < 2 {
        return hits;
    }
    hits.sort_by_key(|hit| (hit.span.start, usize::MAX - hit.span.end));
    let mut merged: Vec<Hit> = Vec::with_capacity(hits.len());
    for hit in hits {
        match merged.last_mut() {
            Some(last) if hit.span.start < last.span.end => {
                last.span.end = last.span.end.max(hit.span.end);
                for (detector, count) in hit.counts {
                    let known = last.counts.entry(detector).or_default();
                    *known = count.max(*known);
                }
            }
            _ => merged.push(hit),
        }
    }
    merged
}

/// Adds up the counts of hits.
pub(crate) fn total<'a>(hits: impl IntoIterator<Item = &'a Hit>) -> Counts {
    let mut sum = Counts::new();
    for hit in hits {
        add(&mut sum, &hit.counts);
    }
    sum
}

/// Adds `more` to `sum`.
pub(crate) fn add(sum: &mut Counts, more: &Counts) {
    for (detector, count) in more {
        let known = sum.entry(*detector).or_default();
        *known = known.saturating_add(*count);
    }
}

/// One hit over everything, in the name of the first finding.
pub(crate) fn whole(hits: &[Hit], length: usize) -> Vec<Hit> {
    let counts = total(hits);
    let Some(detector) = counts.keys().next().copied() else { return Vec::new() };
    vec![Hit { span: 0..length, with: label(detector).to_owned(), counts }]
}

/// `source` with each hit replaced. The hits are merged.
pub(crate) fn splice(source: &[u8], hits: &[Hit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(source.len());
    let mut copied = 0;
    for hit in hits {
        out.extend_from_slice(source.get(copied..hit.span.start).unwrap_or_default());
        out.extend_from_slice(hit.with.as_bytes());
        copied = hit.span.end;
    }
    out.extend_from_slice(source.get(copied..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_hits_become_one_and_count_once() {
        let hits = vec![
            Hit::new(Detector::Email, 4..9),
            Hit::new(Detector::Email, 2..6),
            Hit::new(Detector::Ssn, 12..13),
        ];
        let merged = merge(hits);
        assert_eq!(merged.len(), 2);
        assert_eq!(total(&merged), Counts::from([(Detector::Email, 1), (Detector::Ssn, 1)]));
        assert_eq!(splice(b"0123456789abcdef", &merged), b"01[EMAIL]9ab[SSN]def");
    }
}

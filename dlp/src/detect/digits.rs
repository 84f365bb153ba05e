//! Groups of digits in a text, and what stands between and around them.
//!
//! Not here: what the numbers mean (`ssn`, `card`). Invariant: groups are maximal and in order.

use std::ops::Range;

/// Every maximal run of ASCII digits.
pub(super) fn groups(text: &str) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        if byte.is_ascii_digit() {
            match groups.last_mut() {
                Some(last) if last.end == at => last.end += 1,
                _ => groups.push(at..at + 1),
            }
        }
    }
    groups
}

/// The one byte between two groups, if there is just one.
pub(super) fn separator(text: &str, left: &Range<usize>, right: &Range<usize>) -> Option<u8> {
    (left.end.checked_add(1)? == right.start).then(|| text.as_bytes().get(left.end).copied())?
}

/// What touches a number on its outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Edge {
    /// Blank, punctuation or the end of the text.
    Clear,
    /// A letter: `SSN460-89-9847`.
    Letter,
    /// More of the same number: a digit, or `-`, `.`, `/` with a digit behind it.
    Digit,
}

/// The worse of the two edges of `span`.
pub(super) fn edge(text: &str, span: &Range<usize>) -> Edge {
    let bytes = text.as_bytes();
    let near = |back: usize| span.start.checked_sub(back).and_then(|at| bytes.get(at).copied());
    let far = |ahead: usize| bytes.get(span.end.saturating_add(ahead)).copied();
    outward(near(1), near(2)).max(outward(far(0), far(1)))
}

fn outward(first: Option<u8>, second: Option<u8>) -> Edge {
    match first {
        Some(b'0'..=b'9') => Edge::Digit,
        Some(b'-' | b'.' | b'/') if second.is_some_and(|byte| byte.is_ascii_digit()) => Edge::Digit,
        Some(byte) if byte.is_ascii_alphabetic() => Edge::Letter,
        _ => Edge::Clear,
    }
}

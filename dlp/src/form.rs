//! Reads `application/x-www-form-urlencoded` text: bodies and queries.
//!
//! Not here: duplicate fields (`params`) and findings (`inspect`). Invariant: spans cover the text exactly.

use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::json::hex_value;
use crate::view::{View, ViewBuilder};

/// WHATWG URL §5.2: what the form serialiser leaves as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// One field, as it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: Range<usize>,
    /// Empty, at the end of the key, where there is no `=`.
    pub(crate) value: Range<usize>,
}

impl Pair {
    pub(crate) fn span(&self) -> Range<usize> {
        self.key.start..self.value.end
    }
}

/// The fields of a form; empty ones between two `&` are left out.
pub(crate) fn pairs(text: &str) -> Vec<Pair> {
    let (mut pairs, mut at) = (Vec::new(), 0usize);
    for piece in text.split('&') {
        let end = at.saturating_add(piece.len());
        if !piece.is_empty() {
            let key_end = piece.find('=').map_or(end, |equals| at.saturating_add(equals));
            let value_start = key_end.saturating_add(1).min(end);
            pairs.push(Pair { key: at..key_end, value: value_start..end });
        }
        at = end.saturating_add(1);
    }
    pairs
}

/// The text that a key or value stands for; its sources count from `base`.
pub(crate) fn decoded(text: &str, base: usize) -> View {
    let mut view = ViewBuilder::for_source(text);
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at.saturating_add(1)..at.saturating_add(3)).and_then(hex_value);
        let (byte, length) = match (byte, escaped.and_then(|value| u8::try_from(value).ok())) {
            (b'%', Some(value)) => (value, 3),
            (b'+', _) => (b' ', 1),
            (other, _) => (*other, 1),
        };
        let start = base.saturating_add(at);
        view.byte(byte, start..start.saturating_add(length));
        at = at.saturating_add(length);
    }
    view.build()
}

/// `text` as a key or value of a form.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_where_they_stand() {
        let text = "a=1&&b&=c&d=x=y";
        let found: Vec<(&str, &str)> = pairs(text)
            .iter()
            .map(|pair| (&text[pair.key.clone()], &text[pair.value.clone()]))
            .collect();
        assert_eq!(found, [("a", "1"), ("b", ""), ("", "c"), ("d", "x=y")]);
    }

    #[test]
    fn escapes_and_plus_signs_are_undone_with_their_offsets() {
        let view = decoded("a+%40%zz", 10);
        assert_eq!(view.text(), "a @%zz");
        assert_eq!(view.source(&(2..3)), 12..15);
        assert_eq!(decoded(&encode("ü [x] & y"), 0).text(), "ü [x] & y");
    }
}

//! A decoded text that remembers where each of its bytes came from.
//!
//! Not here: the decodings themselves (`escapes`, `json`, `form`). Invariant: a span of a view maps to the
//! smallest span of its source that holds it.

use std::borrow::Cow;
use std::ops::Range;

/// A text and the source span of each of its bytes.
pub(crate) struct View {
    text: String,
    origin: Vec<(u32, u32)>,
}

impl View {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where a span of this text lies in the source.
    pub(crate) fn source(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.origin.get(span.start).map(|(start, _)| *start);
        let last = span.end.checked_sub(1).and_then(|last| self.origin.get(last));
        match (start, last) {
            (Some(start), Some((_, end))) => widen(start)..widen(*end),
            // An empty span, which no detector reports.
            _ => 0..0,
        }
    }
}

/// Collects a view byte by byte.
#[derive(Default)]
pub(crate) struct ViewBuilder {
    bytes: Vec<u8>,
    origin: Vec<(u32, u32)>,
}

impl ViewBuilder {
    /// Room for a text of about this size.
    pub(crate) fn for_source(source: &str) -> Self {
        Self { bytes: Vec::with_capacity(source.len()), origin: Vec::with_capacity(source.len()) }
    }

    pub(crate) fn byte(&mut self, byte: u8, source: Range<usize>) {
        self.bytes.push(byte);
        self.origin.push((narrow(source.start), narrow(source.end)));
    }

    pub(crate) fn char(&mut self, c: char, source: Range<usize>) {
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            self.byte(byte, source.clone());
        }
    }

    /// The view; bytes that are not UTF-8 became spaces, so that no offset moves.
    pub(crate) fn build(self) -> View {
        View { text: spaced_utf8(self.bytes), origin: self.origin }
    }
}

/// The text of `bytes`, each byte that is not UTF-8 as a space: same length, same offsets.
pub(crate) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(spaced_utf8(bytes.to_vec())),
    }
}

fn spaced_utf8(mut bytes: Vec<u8>) -> String {
    let mut checked = 0;
    while let Err(error) = std::str::from_utf8(bytes.get(checked..).unwrap_or_default()) {
        checked += error.valid_up_to();
        if let Some(bad) = bytes.get_mut(checked) {
            *bad = b' ';
        }
        checked += 1;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

// Bodies are bounded far below 4 GiB, so 32 bits hold every offset.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn widen(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Folds what only looks different: invisible characters go, fullwidth ASCII, hyphens and blanks become plain.
pub(crate) fn fold(text: &str) -> View {
    let mut view = ViewBuilder::for_source(text);
    for (at, c) in text.char_indices() {
        if let Some(folded) = folded(c) {
            view.char(folded, at..at.saturating_add(c.len_utf8()));
        }
    }
    view.build()
}

fn folded(c: char) -> Option<char> {
    match c {
        '\0'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}' => None,
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => Some('-'),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        _ => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_finding_in_folded_text_maps_to_the_bytes_it_was_written_with() {
        let source = "x 4\u{200b}6\u{2011}\u{ff18}!";
        let view = fold(source);
        assert_eq!(view.text(), "x 46-8!");
        assert_eq!(source.get(view.source(&(2..6))), Some("4\u{200b}6\u{2011}\u{ff18}"));
    }

    proptest! {
        #[test]
        fn broken_utf8_keeps_every_offset(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = text_of(&bytes);
            prop_assert_eq!(text.len(), bytes.len());
        }

        #[test]
        fn every_span_of_a_folded_text_maps_into_its_source(source in "\\PC{0,40}") {
            let view = fold(&source);
            for (at, c) in view.text().char_indices() {
                prop_assert!(source.get(view.source(&(at..at + c.len_utf8()))).is_some());
            }
        }
    }
}

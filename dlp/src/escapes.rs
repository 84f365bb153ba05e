//! Undoes escapes that stand inside a text: `%40`, `&#64;`, `\u0040`, and letters spread out with blanks.
//!
//! Not here: encodings of a whole run, such as base64 (`encoded`). Invariant: every view maps back to its source.

use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::glance::Glance;
use crate::json::{hex_value, unicode_escape};
use crate::view::{View, ViewBuilder};

/// RFC 3986 §2.3: everything but the unreserved characters is escaped.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest entity that is looked at, `&` and `;` included.
const ENTITY_MAX: usize = 12;

/// Every other way to read `text` that its bytes suggest.
pub(crate) fn views(text: &str, glance: Glance) -> Vec<View> {
    let mut views = Vec::new();
    if glance.has_escape() {
        views.extend(unescaped(text));
    }
    if glance.is_spread() {
        views.extend(
            [Joints::All, Joints::Alike]
                .map(|joints| pulled_together(text, joints))
                .into_iter()
                .flatten(),
        );
    }
    views
}

/// `text` with every percent, backslash and HTML escape undone once; `None` when there is none.
fn unescaped(text: &str) -> Option<View> {
    let bytes = text.as_bytes();
    let mut view = ViewBuilder::for_source(text);
    let (mut at, mut undone) = (0, false);
    while let Some(byte) = bytes.get(at) {
        let escape = match byte {
            b'%' => percent(bytes, at),
            b'&' => entity(bytes, at),
            b'\\' => backslash(bytes, at),
            _ => None,
        };
        let (unit, length) = escape.unwrap_or((Unit::Byte(*byte), 1));
        undone |= escape.is_some();
        let source = at..at.saturating_add(length);
        match unit {
            Unit::Byte(byte) => view.byte(byte, source),
            Unit::Char(c) => view.char(c, source),
        }
        at = at.saturating_add(length);
    }
    undone.then(|| view.build())
}

/// `with` in the way the text it replaces was written.
pub(crate) fn escaped_like(with: &str, source: &str) -> String {
    if source.contains('%') {
        utf8_percent_encode(with, RESERVED).to_string()
    } else if source.contains('\\') {
        crate::json::escape(with)
    } else {
        with.to_owned()
    }
}

#[derive(Clone, Copy)]
enum Unit {
    /// A byte of a character that may take several escapes to spell.
    Byte(u8),
    Char(char),
}

fn hex_byte(bytes: &[u8], digits: Range<usize>) -> Option<u8> {
    bytes.get(digits).and_then(hex_value).and_then(|value| u8::try_from(value).ok())
}

/// `%40`, and the `%u0040` that some servers still undo.
fn percent(bytes: &[u8], at: usize) -> Option<(Unit, usize)> {
    if bytes.get(at.checked_add(1)?) == Some(&b'u') {
        let unit = hex_value(bytes.get(at.checked_add(2)?..at.checked_add(6)?)?)?;
        return Some((Unit::Char(char::from_u32(unit)?), 6));
    }
    let byte = hex_byte(bytes, at.checked_add(1)?..at.checked_add(3)?)?;
    Some((Unit::Byte(byte), 3))
}

/// `\u0040`, `\x40`, and the one-letter escapes of JSON.
fn backslash(bytes: &[u8], at: usize) -> Option<(Unit, usize)> {
    let c = match bytes.get(at.checked_add(1)?)? {
        b'u' => {
            let (c, length) = unicode_escape(bytes, at);
            return Some((Unit::Char(c?), length));
        }
        b'x' => {
            let byte = hex_byte(bytes, at.checked_add(2)?..at.checked_add(4)?)?;
            return Some((Unit::Byte(byte), 4));
        }
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other @ (b'"' | b'\'' | b'\\' | b'/') => char::from(*other),
        _ => return None,
    };
    Some((Unit::Char(c), 2))
}

/// `&#64;`, `&#x40;` (the semicolon may be missing, as browsers allow) and the names that spell ASCII.
fn entity(bytes: &[u8], at: usize) -> Option<(Unit, usize)> {
    let window = bytes.get(at.checked_add(1)?..)?;
    let window = window.get(..ENTITY_MAX).unwrap_or(window);
    if let Some(number) = window.strip_prefix(b"#") {
        return numeric_entity(number);
    }
    let name =
        window.split(|byte| *byte == b';').next().filter(|name| name.len() < window.len())?;
    let c = match name {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        b"nbsp" => ' ',
        b"commat" => '@',
        b"period" => '.',
        b"hyphen" | b"dash" => '-',
        b"lowbar" => '_',
        b"plus" => '+',
        b"colon" => ':',
        b"sol" => '/',
        b"equals" => '=',
        _ => return None,
    };
    Some((Unit::Char(c), name.len().checked_add(2)?))
}

fn numeric_entity(number: &[u8]) -> Option<(Unit, usize)> {
    let (radix, digits, mut length) = match number.split_first()? {
        (b'x' | b'X', digits) => (16, digits, 3),
        _ => (10, number, 2),
    };
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let count = digits.iter().take_while(is_digit).count();
    let spelled = std::str::from_utf8(digits.get(..count)?).ok()?;
    let c = char::from_u32(u32::from_str_radix(spelled, radix).ok()?)?;
    length += count + usize::from(digits.get(count) == Some(&b';'));
    Some((Unit::Char(c), length))
}

/// The fewest spread-out characters that are pulled together: an SSN has nine digits.
const SPREAD_MIN: usize = 9;

/// Which blanks between lone characters are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joints {
    All,
    /// Those between a letter and a digit stay, so that the word before a number is not taken for part of it.
    Alike,
}

/// `text` with the blanks inside runs of lone characters (`4 6 0 - 8 9`) left out; `None` when there is none.
fn pulled_together(text: &str, joints: Joints) -> Option<View> {
    let runs = spread_runs(text);
    if runs.is_empty() {
        return None;
    }
    let mut view = ViewBuilder::for_source(text);
    let mut runs = runs.into_iter().peekable();
    for (at, c) in text.char_indices() {
        while runs.next_if(|run| run.end <= at).is_some() {}
        let is_spread = runs.peek().is_some_and(|run| run.contains(&at));
        let stays = joints == Joints::Alike && is_mixed(text.as_bytes(), at);
        if !(c == ' ' && is_spread) || stays {
            view.char(c, at..at.saturating_add(c.len_utf8()));
        }
    }
    Some(view.build())
}

/// Whether the byte at `at` stands between a letter and a digit.
fn is_mixed(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| bytes.get(at));
    match (before, bytes.get(at.saturating_add(1))) {
        (Some(a), Some(b)) => {
            a.is_ascii_alphabetic() && b.is_ascii_digit()
                || a.is_ascii_digit() && b.is_ascii_alphabetic()
        }
        _ => false,
    }
}

fn spread_runs(text: &str) -> Vec<Range<usize>> {
    let (mut runs, mut run, mut count) = (Vec::new(), 0..0, 0usize);
    let mut at = 0usize;
    for token in text.split(' ') {
        let mut chars = token.chars();
        let first = chars.next();
        let is_lone = first.is_some() && chars.next().is_none();
        if is_lone && count == 0 {
            run.start = at;
        }
        // The last character may carry a full stop or the like: `c o m.`
        let end = at.saturating_add(first.map_or(0, char::len_utf8));
        if is_lone || count > 0 {
            count += 1;
            run.end = end;
        }
        if !is_lone {
            if count >= SPREAD_MIN {
                runs.push(run.clone());
            }
            count = 0;
        }
        at = at.saturating_add(token.len()).saturating_add(1);
    }
    if count >= SPREAD_MIN {
        runs.push(run);
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn undone(text: &str) -> Option<String> {
        unescaped(text).map(|view| view.text().to_owned())
    }

    #[test]
    fn each_escape_is_undone_once() {
        assert_eq!(undone("a%40b%C3%BC"), Some("a@bü".to_owned()));
        assert_eq!(undone("&#97;&#x40;&commat;&amp;#64;"), Some("a@@&#64;".to_owned()));
        assert_eq!(undone("&#97 &#64"), Some("a @".to_owned()));
        assert_eq!(undone(r"\u0040\x41\ud83d\ude00\n"), Some("@A😀\n".to_owned()));
        assert_eq!(undone("%u0040"), Some("@".to_owned()));
        assert_eq!(undone("100 % & C:\\dir"), None);
    }

    #[test]
    fn a_finding_maps_back_over_its_escapes() {
        let view = unescaped("x%34%36y").unwrap();
        assert_eq!(view.source(&(1..3)), 1..7);
    }

    #[test]
    fn spread_out_characters_are_pulled_together_and_words_are_not() {
        let pulled =
            |text: &str| pulled_together(text, Joints::All).map(|view| view.text().to_owned());
        let spread = pulled("my SSN: 4 6 0 - 8 9 - 9 8 4 7. Thanks a lot");
        assert_eq!(spread, Some("my SSN: 460-89-9847. Thanks a lot".to_owned()));
        assert_eq!(pulled("I am a man of a few words"), None);
    }

    proptest! {
        #[test]
        fn every_character_of_a_view_maps_into_its_source(source in "[%&\\\\#xu0-9a-f; ü]{0,40}") {
            for view in [unescaped(&source), pulled_together(&source, Joints::Alike)].into_iter().flatten() {
                for (at, c) in view.text().char_indices() {
                    prop_assert!(source.get(view.source(&(at..at + c.len_utf8()))).is_some());
                }
            }
        }
    }
}

//! Reads the one JSON form that records have.
//!
//! Not here: writing it (`json`). Invariant: what is accepted is byte for byte what `Writer` writes.

use std::borrow::Cow;

use super::{Escape, LIST_MAX, NUMBER_MAX, escape};
use crate::record::head::{self, fixed};
use crate::record::{Kind, RecordError, alphabet};
use crate::tree::TEXT_BYTES;

/// Reads a record's fields in their order; nothing may be left out, added, moved or written differently.
pub(in crate::record) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

pub(super) type Read<T> = Result<T, RecordError>;

impl<'a> Reader<'a> {
    /// Stands behind the head's `"k":"`.
    pub(in crate::record) fn new(record: &'a [u8]) -> Read<Self> {
        let text = std::str::from_utf8(record)
            .map_err(|bad| RecordError::Malformed { field: "text", at: bad.valid_up_to() })?;
        Ok(Self { text, at: head::BYTES })
    }

    pub(in crate::record) fn kind(&mut self) -> Read<Kind> {
        let name = self.rest().split_once('"').map(|(name, _)| name);
        let kind = name.and_then(Kind::parse).ok_or_else(|| self.bad("k"))?;
        self.at = self.at.saturating_add(kind.as_str().len()).saturating_add(1);
        Ok(kind)
    }

    pub(in crate::record) fn finish(mut self) -> Read<()> {
        let whole = self.skip("}") && self.rest().is_empty();
        if whole { Ok(()) } else { Err(self.bad("end")) }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The same without looking whether a letter begins here.
    #[inline]
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    pub(in crate::record) fn bad(&self, field: &'static str) -> RecordError {
        RecordError::Malformed { field, at: self.at }
    }

    #[inline]
    fn skip(&mut self, literal: &str) -> bool {
        let found = self.bytes().starts_with(literal.as_bytes());
        if found {
            self.at = self.at.saturating_add(literal.len());
        }
        found
    }

    // What takes a key is inlined into the list of a record's fields, so that each key is compared by the word.

    /// Consumes `"key":` with the comma before it, if that is what comes next.
    #[inline(always)]
    pub(in crate::record) fn has(&mut self, key: &str) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.text.as_bytes().get(at));
        let first = matches!(before, Some(b'{' | b'['));
        let rest = self.bytes();
        let rest = if first { Some(rest) } else { rest.strip_prefix(b",") };
        let after = rest
            .and_then(|rest| rest.strip_prefix(b"\""))
            .and_then(|rest| rest.strip_prefix(key.as_bytes()))
            .and_then(|rest| rest.strip_prefix(b"\":"));
        if let Some(after) = after {
            self.at = self.text.len().saturating_sub(after.len());
        }
        after.is_some()
    }

    pub(in crate::record) fn text(&mut self, key: &'static str) -> Read<Cow<'a, str>> {
        if self.has(key) { self.value(key) } else { Err(self.bad(key)) }
    }

    #[inline(always)]
    pub(in crate::record) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Read<T> {
        let text = self.text(key)?;
        parse(&text).ok_or_else(|| self.bad(key))
    }

    #[inline(always)]
    pub(in crate::record) fn opt<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Read<Option<T>> {
        if !self.has(key) {
            return Ok(None);
        }
        let text = self.value(key)?;
        parse(&text).map(Some).ok_or_else(|| self.bad(key))
    }

    /// A hash in base64url that nobody needs the value of.
    #[inline(always)]
    pub(in crate::record) fn digest(&mut self, key: &'static str) -> Read<()> {
        if self.has(key) { self.digest_here(key) } else { Err(self.bad(key)) }
    }

    #[inline(always)]
    pub(in crate::record) fn opt_digest(&mut self, key: &'static str) -> Read<()> {
        if self.has(key) { self.digest_here(key) } else { Ok(()) }
    }

    fn digest_here(&mut self, key: &'static str) -> Read<()> {
        // Its length is known, so nothing has to be looked for; whatever is not as expected is read as any text is.
        let quoted = self.bytes().first_chunk::<{ TEXT_BYTES + 2 }>();
        if let Some([b'"', text @ .., b'"']) = quoted
            && alphabet::is_hash(text)
        {
            self.at = self.at.saturating_add(TEXT_BYTES + 2);
            return Ok(());
        }
        let text = self.value(key)?;
        alphabet::hash(&text).ok_or_else(|| self.bad(key))
    }

    pub(in crate::record) fn digests(&mut self, key: &'static str) -> Read<Vec<()>> {
        self.items(key, |reader| reader.digest_here(key))
    }

    #[inline(always)]
    pub(in crate::record) fn number(&mut self, key: &'static str) -> Read<u64> {
        if self.has(key) { self.digits(key) } else { Err(self.bad(key)) }
    }

    fn digits(&mut self, key: &'static str) -> Read<u64> {
        let text = self.bytes();
        let (mut value, mut count) = (0_u64, 0_usize);
        for digit in text.iter().map(|byte| byte.wrapping_sub(b'0')).take_while(|digit| *digit < 10)
        {
            value = value.saturating_mul(10).saturating_add(u64::from(digit));
            count = count.saturating_add(1);
        }
        let canonical = count == 1 || count > 1 && text.first() != Some(&b'0');
        if !canonical || value > NUMBER_MAX {
            return Err(self.bad(key));
        }
        self.at = self.at.saturating_add(count);
        Ok(value)
    }

    pub(in crate::record) fn opt_number(&mut self, key: &'static str) -> Read<Option<u64>> {
        if self.has(key) { self.digits(key).map(Some) } else { Ok(None) }
    }

    pub(in crate::record) fn wide(&mut self, key: &'static str) -> Read<u64> {
        self.parsed(key, |text| fixed::<20>(text.as_bytes().try_into().ok()?))
    }

    /// Reads an object's fields with `read` if `key` comes next.
    #[inline(always)]
    pub(in crate::record) fn object<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<Option<T>> {
        if !self.has(key) {
            return Ok(None);
        }
        if !self.skip("{") {
            return Err(self.bad(key));
        }
        let value = read(self)?;
        if self.skip("}") { Ok(Some(value)) } else { Err(self.bad(key)) }
    }

    pub(in crate::record) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Read<Vec<T>> {
        self.items(key, |reader| {
            let text = reader.value(key)?;
            parse(&text).ok_or_else(|| reader.bad(key))
        })
    }

    pub(in crate::record) fn objects<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        self.items(key, |reader| {
            let opened = reader.skip("{");
            let item = if opened { read(reader)? } else { return Err(reader.bad(key)) };
            if reader.skip("}") { Ok(item) } else { Err(reader.bad(key)) }
        })
    }

    #[inline(always)]
    fn items<T>(&mut self, key: &'static str, read: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        if self.has(key) { self.bracketed(key, read) } else { Ok(Vec::new()) }
    }

    fn bracketed<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let mut items = Vec::new();
        if !self.skip("[") {
            return Err(self.bad(key));
        }
        loop {
            items.push(read(self)?);
            if self.skip("]") {
                return Ok(items);
            }
            if items.len() >= LIST_MAX || !self.skip(",") {
                return Err(self.bad(key));
            }
        }
    }

    /// A string in quotes, unescaped.
    fn value(&mut self, key: &'static str) -> Read<Cow<'a, str>> {
        if !self.skip("\"") {
            return Err(self.bad(key));
        }
        let begins = self.at;
        self.at = begins.saturating_add(plain(self.bytes()));
        let text = self.text.get(begins..self.at).unwrap_or_default();
        if self.skip("\"") {
            return Ok(Cow::Borrowed(text));
        }
        if self.bytes().first() != Some(&b'\\') {
            self.at = begins;
            return Err(self.bad(key));
        }
        self.escaped(key, text.to_owned())
    }

    /// The rest of a string that has escapes.
    #[cold]
    fn escaped(&mut self, key: &'static str, mut owned: String) -> Read<Cow<'a, str>> {
        while !self.skip("\"") {
            owned.push(self.letter().ok_or_else(|| self.bad(key))?);
        }
        Ok(Cow::Owned(owned))
    }

    /// One letter of a string that has escapes.
    fn letter(&mut self) -> Option<char> {
        let rest = self.rest();
        let Some(escaped) = rest.strip_prefix('\\') else {
            let letter = rest.chars().next().filter(|letter| *letter >= ' ')?;
            self.at = self.at.saturating_add(letter.len_utf8());
            return Some(letter);
        };
        let (letter, width) = match escaped.bytes().next()? {
            same @ (b'"' | b'\\') => (same, 2),
            b'b' => (0x08, 2),
            b't' => (0x09, 2),
            b'n' => (0x0A, 2),
            b'f' => (0x0C, 2),
            b'r' => (0x0D, 2),
            b'u' => (control(escaped.get(1..5)?)?, 6),
            _ => return None,
        };
        self.at = self.at.saturating_add(width);
        Some(char::from(letter))
    }
}

/// How many bytes stand for themselves before the first quote, backslash or control character.
fn plain(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut before = 0_usize;
    for word in words {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            let within = usize::try_from(special.trailing_zeros() / 8).unwrap_or(0);
            return before.saturating_add(within);
        }
        before = before.saturating_add(8);
    }
    let is_special = |byte: &u8| matches!(*byte, b'"' | b'\\' | 0..b' ');
    before.saturating_add(rest.iter().position(is_special).unwrap_or(rest.len()))
}

/// Sets the highest bit of the first byte of a word that is a quote, a backslash or a control character, and of none before it.
/// Taking one from a zero byte borrows from the bytes after it, so those after the first may be wrong.
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES.wrapping_mul(bound)) & !word;
    let is = |byte: u8| below(word ^ ONES.wrapping_mul(u64::from(byte)), 1);
    (is(b'"') | is(b'\\') | below(word, u64::from(b' '))) & (ONES << 7)
}

/// The control character of `00xx`, lower-case, where no shorter escape exists.
fn control(hex: &str) -> Option<u8> {
    let lower = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let value = u8::from_str_radix(hex.strip_prefix("00")?, 16).ok()?;
    (lower && matches!(escape(value), Some(Escape::Hex))).then_some(value)
}

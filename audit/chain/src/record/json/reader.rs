//! Reads the one JSON form that records have, in the order of their fields.
//!
//! Not here: writing it (`json`), and which keys a record has. Invariant: nothing is accepted that `Writer` would have written in another
//! way: no other order, spacing, escape or number, and no longer text.

use std::borrow::Cow;

use super::{Escape, ITEM_MAX, LIST_MAX, NUMBER_MAX, TEXT_MAX, escape};
use crate::record::head::fixed;
use crate::record::scan::plain;
use crate::record::{Kind, RecordError, alphabet, head};
use crate::tree::TEXT_BYTES;

/// Reads a record's fields in their order; nothing may be left out, added, moved or written differently.
pub(in crate::record) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Read<T> = Result<T, RecordError>;

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
        if self.has(key) { self.value(key, TEXT_MAX) } else { Err(self.bad(key)) }
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
        let text = self.value(key, TEXT_MAX)?;
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
        let text = self.value(key, ITEM_MAX)?;
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
            let text = reader.value(key, ITEM_MAX)?;
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

    /// A string in quotes, unescaped; a longer one than `max` would have been cut by whoever wrote it.
    fn value(&mut self, key: &'static str, max: usize) -> Read<Cow<'a, str>> {
        let text = self.quoted(key)?;
        if text.len() <= max { Ok(text) } else { Err(self.bad(key)) }
    }

    fn quoted(&mut self, key: &'static str) -> Read<Cow<'a, str>> {
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

/// The control character of `00xx`, lower-case, where no shorter escape exists.
fn control(hex: &str) -> Option<u8> {
    let lower = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let value = u8::from_str_radix(hex.strip_prefix("00")?, 16).ok()?;
    (lower && matches!(escape(value), Some(Escape::Hex))).then_some(value)
}

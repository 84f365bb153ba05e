//! Writes and reads the one JSON form that records have: fixed key order, no spaces, one way to escape.
//!
//! Not here: which keys a record has. Invariant: what `Reader` accepts is byte for byte what `Writer` writes, so
//! one meaning has one encoding (RFC 8259 §8 and §9 leave that open).

use std::borrow::Cow;

use super::head::{digits, fixed};
use super::scan::plain;
use super::{Draft, Kind, MAX_BYTES, RecordError, alphabet, head};
use crate::Hash;
use crate::tree::TEXT_BYTES;

/// 2^53 - 1: integers above it stand as strings, because not every reader keeps them exact.
const NUMBER_MAX: u64 = 9_007_199_254_740_991;
/// Text longer than this is cut to its digest; a verifier key with the longest origin still fits.
const TEXT_MAX: usize = 320;
/// Items of a list are cut sooner: no id is longer.
const ITEM_MAX: usize = 128;
/// Lists longer than this are cut, and what was cut stands as a count and a digest.
pub(super) const LIST_MAX: usize = 20;

/// Builds the bytes of one record behind a head that the sequencer will patch.
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn new(kind: Kind) -> Self {
        let mut out = Vec::with_capacity(1_024);
        out.extend_from_slice(&[b' '; head::BYTES]);
        out.extend_from_slice(kind.as_str().as_bytes());
        out.push(b'"');
        Self { out }
    }

    pub(super) fn finish(mut self, draft: Draft) -> Result<Draft, RecordError> {
        self.out.push(b'}');
        if self.out.len() > MAX_BYTES {
            return Err(RecordError::TooLong);
        }
        Ok(Draft { bytes: self.out, ..draft })
    }

    fn comma(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }

    fn key(&mut self, key: &str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A text field; over-long text is replaced by its digest.
    #[inline(always)]
    pub(super) fn text(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key);
        self.bounded(text, TEXT_MAX);
        self
    }

    fn bounded(&mut self, text: &str, max: usize) {
        if text.len() > max {
            self.quoted(&format!("sha256:{}", Hash::of(text.as_bytes())));
        } else {
            self.quoted(text);
        }
    }

    pub(super) fn opt_text(&mut self, key: &str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.text(key, text);
        }
        self
    }

    pub(super) fn hash(&mut self, key: &str, hash: &Hash) -> &mut Self {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(&hash.text());
        self.out.push(b'"');
        self
    }

    /// A number that JSON keeps exact; larger ones stop at the largest such.
    pub(super) fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        let all = digits::<20>(value.min(NUMBER_MAX));
        let zeros = all.iter().take_while(|byte| **byte == b'0').count().min(19);
        self.out.extend_from_slice(all.get(zeros..).unwrap_or_default());
        self
    }

    #[inline(always)]
    pub(super) fn opt_number(&mut self, key: &str, value: Option<u64>) -> &mut Self {
        if let Some(value) = value {
            self.number(key, value);
        }
        self
    }

    /// A 64-bit counter: twenty digits in quotes.
    #[inline(always)]
    pub(super) fn wide(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(&digits::<20>(value));
        self.out.push(b'"');
        self
    }

    pub(super) fn open(&mut self, key: &str) -> &mut Self {
        self.key(key);
        self.out.push(b'{');
        self
    }

    pub(super) fn close(&mut self) -> &mut Self {
        self.out.push(b'}');
        self
    }

    /// A list of texts, left out when empty, cut when too long.
    pub(super) fn list<'t, I>(&mut self, key: &str, items: I) -> &mut Self
    where
        I: ExactSizeIterator<Item = &'t str> + Clone,
    {
        if items.len() == 0 {
            return self;
        }
        self.key(key);
        self.out.push(b'[');
        let kept = if items.len() > LIST_MAX { LIST_MAX.saturating_sub(1) } else { LIST_MAX };
        for item in items.clone().take(kept) {
            self.comma();
            self.bounded(item, ITEM_MAX);
        }
        if let Some(rest) = cut(items, kept) {
            self.comma();
            self.quoted(&rest);
        }
        self.out.push(b']');
        self
    }

    /// A list of objects, left out when empty.
    pub(super) fn objects<T>(
        &mut self,
        key: &str,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T),
    ) -> &mut Self {
        if items.is_empty() {
            return self;
        }
        self.key(key);
        self.out.push(b'[');
        for item in items {
            self.comma();
            self.out.push(b'{');
            write(self, item);
            self.out.push(b'}');
        }
        self.out.push(b']');
        self
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        if text.bytes().fold(false, |found, byte| found | escape(byte).is_some()) {
            for byte in text.bytes() {
                match escape(byte) {
                    Some(Escape::Short(letter)) => self.out.extend_from_slice(&[b'\\', letter]),
                    Some(Escape::Hex) => {
                        self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                    }
                    None => self.out.push(byte),
                }
            }
        } else {
            self.out.extend_from_slice(text.as_bytes());
        }
        self.out.push(b'"');
    }
}

/// What stands for the items after the first `kept`: `more:<count>:<digest>`, safe in every id's alphabet.
pub(super) fn cut<'t>(
    items: impl ExactSizeIterator<Item = &'t str>,
    kept: usize,
) -> Option<String> {
    let count = items.len().checked_sub(kept).filter(|count| *count > 0)?;
    let rest: Vec<&str> = items.skip(kept).collect();
    Some(format!("more:{count}:{}", Hash::of(rest.join("\n").as_bytes())))
}

enum Escape {
    Short(u8),
    Hex,
}

/// How a byte is escaped; `None` when it stands for itself. UTF-8 beyond ASCII always does.
fn escape(byte: u8) -> Option<Escape> {
    match byte {
        b'"' | b'\\' => Some(Escape::Short(byte)),
        0x08 => Some(Escape::Short(b'b')),
        0x09 => Some(Escape::Short(b't')),
        0x0A => Some(Escape::Short(b'n')),
        0x0C => Some(Escape::Short(b'f')),
        0x0D => Some(Escape::Short(b'r')),
        0x00..=0x1F => Some(Escape::Hex),
        _ => None,
    }
}

/// Reads a record's fields in their order; nothing may be left out, added, moved or written differently.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Read<T> = Result<T, RecordError>;

impl<'a> Reader<'a> {
    /// Stands behind the head's `"k":"`.
    pub(super) fn new(record: &'a [u8]) -> Read<Self> {
        let text = std::str::from_utf8(record)
            .map_err(|bad| RecordError::Malformed { field: "text", at: bad.valid_up_to() })?;
        Ok(Self { text, at: head::BYTES })
    }

    pub(super) fn kind(&mut self) -> Read<Kind> {
        let name = self.rest().split_once('"').map(|(name, _)| name);
        let kind = name.and_then(Kind::parse).ok_or_else(|| self.bad("k"))?;
        self.at = self.at.saturating_add(kind.as_str().len()).saturating_add(1);
        Ok(kind)
    }

    pub(super) fn finish(mut self) -> Read<()> {
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

    pub(super) fn bad(&self, field: &'static str) -> RecordError {
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
    pub(super) fn has(&mut self, key: &str) -> bool {
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

    pub(super) fn text(&mut self, key: &'static str) -> Read<Cow<'a, str>> {
        if self.has(key) { self.value(key, TEXT_MAX) } else { Err(self.bad(key)) }
    }

    #[inline(always)]
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Read<T> {
        let text = self.text(key)?;
        parse(&text).ok_or_else(|| self.bad(key))
    }

    #[inline(always)]
    pub(super) fn opt<T>(
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
    pub(super) fn digest(&mut self, key: &'static str) -> Read<()> {
        if self.has(key) { self.digest_here(key) } else { Err(self.bad(key)) }
    }

    #[inline(always)]
    pub(super) fn opt_digest(&mut self, key: &'static str) -> Read<()> {
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

    pub(super) fn digests(&mut self, key: &'static str) -> Read<Vec<()>> {
        self.items(key, |reader| reader.digest_here(key))
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: &'static str) -> Read<u64> {
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

    pub(super) fn opt_number(&mut self, key: &'static str) -> Read<Option<u64>> {
        if self.has(key) { self.digits(key).map(Some) } else { Ok(None) }
    }

    pub(super) fn wide(&mut self, key: &'static str) -> Read<u64> {
        self.parsed(key, |text| fixed::<20>(text.as_bytes().try_into().ok()?))
    }

    /// Reads an object's fields with `read` if `key` comes next.
    #[inline(always)]
    pub(super) fn object<T>(
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

    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Read<Vec<T>> {
        self.items(key, |reader| {
            let text = reader.value(key, ITEM_MAX)?;
            parse(&text).ok_or_else(|| reader.bad(key))
        })
    }

    pub(super) fn objects<T>(
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Close);
        writer.text("x", text);
        writer.finish(Draft::empty(Kind::Close)).unwrap().bytes
    }

    fn reread(bytes: &[u8]) -> Read<String> {
        let mut reader = Reader::new(bytes)?;
        reader.kind()?;
        let text = reader.text("x")?.into_owned();
        reader.finish()?;
        Ok(text)
    }

    proptest! {
        #[test]
        fn any_text_is_valid_json_and_reads_back(text in "[\\x00-\\x7fäß€😀]{0,80}") {
            let bytes = written(&text);
            prop_assert_eq!(reread(&bytes).unwrap(), text.clone());
            let mut json = b"{\"k\":\"".to_vec();
            json.extend_from_slice(&bytes[head::BYTES..]);
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(value["x"].as_str().unwrap(), text);
        }

        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut record = written("");
            record.truncate(head::BYTES + 12);
            record.extend_from_slice(&bytes);
            let _result = reread(&record);
        }
    }

    #[test]
    fn there_is_one_way_to_write_a_text() {
        for (loose, text) in
            [(r#""\u0041""#, "A"), (r#""\/""#, "/"), (r#""\u000A""#, "\n"), (r#""\u000a""#, "\n")]
        {
            let mut record = written("");
            record.truncate(record.len() - 3);
            record.extend_from_slice(loose.as_bytes());
            record.push(b'}');
            assert!(reread(&record).is_err(), "{loose} for {text:?}");
        }
    }

    #[test]
    fn text_that_a_writer_would_have_cut_is_refused() {
        for (text, fits) in [("a".repeat(TEXT_MAX), true), ("a".repeat(TEXT_MAX + 1), false)] {
            let mut writer = Writer::new(Kind::Close);
            writer.key("x");
            writer.quoted(&text);
            let record = writer.finish(Draft::empty(Kind::Close)).unwrap().bytes;
            assert_eq!(reread(&record).is_ok(), fits, "{}", text.len());
        }
        for (item, fits) in [("a".repeat(ITEM_MAX), true), ("a".repeat(ITEM_MAX + 1), false)] {
            let record = format!("{}close\",\"x\":[\"{item}\"]}}", " ".repeat(head::BYTES));
            let mut reader = Reader::new(record.as_bytes()).unwrap();
            reader.kind().unwrap();
            assert_eq!(reader.list("x", |_| Some(())).is_ok(), fits, "{}", item.len());
        }
    }

    #[test]
    fn over_long_text_is_cut_to_its_digest() {
        let text = "a".repeat(TEXT_MAX + 1);
        assert_eq!(
            reread(&written(&text)).unwrap(),
            format!("sha256:{}", Hash::of(text.as_bytes()))
        );
    }
}

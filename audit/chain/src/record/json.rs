//! Writes the one JSON form that records have: fixed key order, no spaces, one way to escape.
//!
//! Not here: which keys a record has, and reading them (`reader`). Invariant: what `Reader` accepts is byte for byte what `Writer` writes, so
//! one meaning has one encoding (RFC 8259 §8 and §9 leave that open).

mod reader;

use super::head::digits;
use super::{Draft, Kind, MAX_BYTES, RecordError, head};
use crate::Hash;

pub(super) use reader::Reader;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Close);
        writer.text("x", text);
        writer.finish(Draft::empty(Kind::Close)).unwrap().bytes
    }

    fn reread(bytes: &[u8]) -> Result<String, RecordError> {
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

//! Reads JSON token by token, strictly (RFC 8259), and says where each token lies.
//!
//! Not here: values (`params`) and findings (`inspect`). Invariant: a text whose tokens all came without an
//! error is valid JSON without lone surrogates, at most `DEPTH_MAX` levels deep.

use std::ops::Range;

use crate::DlpError;
use crate::view::{View, ViewBuilder};

/// The most levels of objects and arrays a body may nest.
pub(crate) const DEPTH_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    OpenObject,
    OpenArray,
    Close,
    /// A member name, quotes included.
    Key,
    /// A string value, quotes included.
    String,
    Number,
    /// `true`, `false` or `null`.
    Literal,
}

/// One token and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Range<usize>,
}

impl Token {
    /// The bytes between the quotes of a key or string.
    pub(crate) fn inner(&self) -> Range<usize> {
        self.span.start.saturating_add(1)..self.span.end.saturating_sub(1)
    }
}

/// Whether one text may hold more than one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    One,
    /// A sequence of values with white space between them, as NDJSON has.
    Many,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    CommaOrClose,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nest {
    Object,
    Array,
}

/// A pull reader of tokens.
pub(crate) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    nests: Vec<Nest>,
    expect: Expect,
    values: Values,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str, values: Values) -> Self {
        Self { text: text.as_bytes(), at: 0, nests: Vec::new(), expect: Expect::Value, values }
    }

    /// The next token, or `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Token>, DlpError> {
        self.skip_blanks();
        if self.expect == Expect::CommaOrClose {
            self.comma()?;
        }
        let Some(byte) = self.peek() else { return self.end() };
        match (self.expect, byte) {
            (Expect::End, _) if self.values == Values::One => self.fail("text after the value"),
            (Expect::ValueOrClose | Expect::CommaOrClose, b']')
            | (Expect::KeyOrClose | Expect::CommaOrClose, b'}') => self.close(byte),
            (Expect::Key | Expect::KeyOrClose, b'"') => self.key(),
            (Expect::Key | Expect::KeyOrClose, _) => self.fail("a member name was expected"),
            (Expect::CommaOrClose, _) => self.fail("a comma or a bracket was expected"),
            (Expect::Value | Expect::ValueOrClose | Expect::End, _) => self.value(byte),
        }
    }

    fn end(&self) -> Result<Option<Token>, DlpError> {
        if self.expect == Expect::End { Ok(None) } else { self.fail("the text ends too early") }
    }

    fn comma(&mut self) -> Result<(), DlpError> {
        if self.peek() == Some(b',') {
            self.at += 1;
            self.skip_blanks();
            self.expect = match self.nests.last() {
                Some(Nest::Object) => Expect::Key,
                Some(Nest::Array) => Expect::Value,
                None => return self.fail("a comma outside of brackets"),
            };
        }
        Ok(())
    }

    fn value(&mut self, byte: u8) -> Result<Option<Token>, DlpError> {
        let start = self.at;
        let kind = match byte {
            b'{' => return self.open(Nest::Object),
            b'[' => return self.open(Nest::Array),
            b'"' => {
                self.string()?;
                TokenKind::String
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                TokenKind::Number
            }
            _ => {
                self.literal()?;
                TokenKind::Literal
            }
        };
        self.expect = self.after_value();
        Ok(Some(Token { kind, span: start..self.at }))
    }

    fn open(&mut self, nest: Nest) -> Result<Option<Token>, DlpError> {
        if self.nests.len() >= DEPTH_MAX {
            return Err(DlpError::TooDeep { at: self.at, max: DEPTH_MAX });
        }
        self.nests.push(nest);
        let start = self.at;
        self.at += 1;
        let (kind, expect) = match nest {
            Nest::Object => (TokenKind::OpenObject, Expect::KeyOrClose),
            Nest::Array => (TokenKind::OpenArray, Expect::ValueOrClose),
        };
        self.expect = expect;
        Ok(Some(Token { kind, span: start..self.at }))
    }

    fn close(&mut self, byte: u8) -> Result<Option<Token>, DlpError> {
        let closes = if byte == b'}' { Nest::Object } else { Nest::Array };
        if self.nests.pop() != Some(closes) {
            return self.fail("brackets do not match");
        }
        let start = self.at;
        self.at += 1;
        self.expect = self.after_value();
        Ok(Some(Token { kind: TokenKind::Close, span: start..self.at }))
    }

    fn after_value(&self) -> Expect {
        if self.nests.is_empty() { Expect::End } else { Expect::CommaOrClose }
    }

    fn key(&mut self) -> Result<Option<Token>, DlpError> {
        let start = self.at;
        self.string()?;
        let span = start..self.at;
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return self.fail("a colon was expected");
        }
        self.at += 1;
        self.expect = Expect::Value;
        Ok(Some(Token { kind: TokenKind::Key, span }))
    }

    fn string(&mut self) -> Result<(), DlpError> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
                return self.fail("a string without end");
            };
            let plain = rest.get(..length).unwrap_or_default();
            if plain.iter().any(|byte| *byte < 0x20) {
                return self.fail("a control character in a string");
            }
            self.at = self.at.saturating_add(length);
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Ok(());
            }
            self.escape()?;
        }
    }

    fn escape(&mut self) -> Result<(), DlpError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xd800..=0xdbff => self.low_surrogate(),
                0xdc00..=0xdfff => self.fail("a lone surrogate"),
                _ => Ok(()),
            },
            _ => self.fail("an unknown escape"),
        }
    }

    fn low_surrogate(&mut self) -> Result<(), DlpError> {
        if self.peek() != Some(b'\\') || self.text.get(self.at.saturating_add(1)) != Some(&b'u') {
            return self.fail("a lone surrogate");
        }
        self.at += 1;
        match self.unit()? {
            0xdc00..=0xdfff => Ok(()),
            _ => self.fail("a lone surrogate"),
        }
    }

    /// Reads `uXXXX`.
    fn unit(&mut self) -> Result<u32, DlpError> {
        let digits = self.text.get(self.at.saturating_add(1)..self.at.saturating_add(5));
        let Some(unit) = digits.and_then(hex_value) else {
            return self.fail("a \\u escape without four hex digits");
        };
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), DlpError> {
        self.skip_if(|byte| byte == b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.skip_if(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.skip_if(|byte| matches!(byte, b'e' | b'E')) {
            self.skip_if(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), DlpError> {
        if !self.skip_if(|byte| byte.is_ascii_digit()) {
            return self.fail("a digit was expected");
        }
        while self.skip_if(|byte| byte.is_ascii_digit()) {}
        Ok(())
    }

    fn literal(&mut self) -> Result<(), DlpError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = ["true", "false", "null"].iter().find(|word| rest.starts_with(word.as_bytes()));
        match found {
            Some(word) => {
                self.at = self.at.saturating_add(word.len());
                Ok(())
            }
            None => self.fail("a value was expected"),
        }
    }

    fn skip_if(&mut self, is: fn(u8) -> bool) -> bool {
        let skips = self.peek().is_some_and(is);
        if skips {
            self.at += 1;
        }
        skips
    }

    fn skip_blanks(&mut self) {
        while self.skip_if(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {}
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, DlpError> {
        Err(DlpError::Json { at: self.at, what })
    }
}

/// The number that hex digits spell.
pub(crate) fn hex_value(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        value.checked_mul(16)?.checked_add(digit)
    })
}

/// The text that the inside of a checked JSON string stands for; its sources count from `base`.
pub(crate) fn unescape(inside: &str, base: usize) -> View {
    let mut view = ViewBuilder::for_source(inside);
    let bytes = inside.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let (c, length) = match (byte, bytes.get(at.saturating_add(1))) {
            (b'\\', Some(b'u')) => unicode_escape(bytes, at),
            (b'\\', Some(b'n')) => (Some('\n'), 2),
            (b'\\', Some(b't')) => (Some('\t'), 2),
            (b'\\', Some(b'r')) => (Some('\r'), 2),
            (b'\\', Some(b'b')) => (Some('\u{8}'), 2),
            (b'\\', Some(b'f')) => (Some('\u{c}'), 2),
            (b'\\', Some(other)) => (Some(char::from(*other)), 2),
            _ => (None, 1),
        };
        let source = base.saturating_add(at)..base.saturating_add(at).saturating_add(length);
        match c {
            Some(c) => view.char(c, source),
            None => view.byte(*byte, source),
        }
        at = at.saturating_add(length);
    }
    view.build()
}

/// The character of a `\uXXXX` or a surrogate pair at `at`, and how many bytes spell it.
pub(crate) fn unicode_escape(bytes: &[u8], at: usize) -> (Option<char>, usize) {
    let unit = |from: usize| {
        let escape = bytes.get(from..from.checked_add(6)?)?;
        escape.starts_with(b"\\u").then(|| hex_value(escape.get(2..)?)).flatten()
    };
    let pair = |high: u32, low: u32| {
        let (high, low) = (high.checked_sub(0xd800)?, low.checked_sub(0xdc00)?);
        (high < 0x400 && low < 0x400).then(|| char::from_u32(0x10000 + high * 0x400 + low))?
    };
    let Some(first) = unit(at) else { return (None, 1) };
    if let Some(c) = char::from_u32(first) {
        return (Some(c), 6);
    }
    match unit(at.saturating_add(6)).and_then(|second| pair(first, second)) {
        Some(c) => (Some(c), 12),
        None => (Some(char::REPLACEMENT_CHARACTER), 6),
    }
}

/// `text` as the inside of a JSON string.
pub(crate) fn escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Result<Vec<TokenKind>, DlpError> {
        let mut tokens = Tokens::new(text, Values::One);
        let mut kinds = Vec::new();
        while let Some(token) = tokens.next()? {
            kinds.push(token.kind);
        }
        Ok(kinds)
    }

    #[test]
    fn tokens_come_in_the_order_of_the_text() {
        use TokenKind::*;
        let expected = [OpenObject, Key, OpenArray, Number, String, Close, Key, Literal, Close];
        assert_eq!(kinds(r#" {"a":[-1.5e3,"x"] , "b":null}"#), Ok(expected.to_vec()));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in
            ["", "{", "[1,]", "{\"a\":1,}", "01", "1 2", "[1}", "\"\\ud800\"", "\"\n\"", ",", "{,}"]
        {
            assert!(kinds(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_unescaped_character_maps_to_its_whole_escape() {
        let inside = r#"a\u0041\ud83d\ude00\n"#;
        let view = unescape(inside, 1);
        assert_eq!(view.text(), "aA😀\n");
        assert_eq!(view.source(&(1..2)), 2..8);
        assert_eq!(view.source(&(2..6)), 8..20);
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(kinds(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
        assert!(matches!(kinds(&"[".repeat(65)), Err(DlpError::TooDeep { .. })));
    }
}

//! The normal form of path and query: what policy sees is what is sent.
//!
//! Not here: scheme and authority (`target`). Invariant: a text that leaves here is plain RFC 3986 and fixed: reading it
//! again gives the same text. What servers are known to read in two ways is refused; what only has to be written
//! properly, such as a raw quote, is escaped, before anyone judges it.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::Refusal;

/// Checks and escapes a path, which begins with a slash.
pub(crate) fn normal_path(raw: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    let path = normal(raw, Part::Path)?;
    if path.contains('%') {
        check_escapes_decode(&path)?;
    }
    // To a server that decodes an escaped slash before it routes, it parts segments too.
    let as_parted = match path.contains(ESCAPED_SLASH) {
        true => Cow::Owned(path.replace(ESCAPED_SLASH, "/")),
        false => Cow::Borrowed(&*path),
    };
    let rest = as_parted.strip_prefix('/').ok_or(Refusal::TargetForm)?;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        // Some servers merge empty segments, others route by them.
        if segment.is_empty() && segments.peek().is_some() {
            return Err(Refusal::EmptySegment);
        }
        // Some servers drop a semicolon and what follows it before they resolve dots.
        let name = segment.split([';', '%']).next().unwrap_or_default();
        if name == "." || name == ".." {
            return Err(Refusal::DotSegment);
        }
    }
    Ok(path)
}

/// Checks and escapes a query, without its question mark.
pub(crate) fn normal_query(raw: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    normal(raw, Part::Query)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Query,
}

/// The one spelling of a slash that stands in a segment.
const ESCAPED_SLASH: &str = "%2F";

/// What becomes of the next byte or bytes.
enum Step {
    Keep(usize),
    Escape(usize),
    /// An escaped slash in its other spelling.
    Slash,
}

fn normal(raw: &[u8], part: Part) -> Result<Cow<'_, str>, Refusal> {
    let mut rest = raw;
    while let Some(&byte) = rest.first() {
        if !is_plain(byte) {
            match step(rest, byte, part)? {
                Step::Keep(count) => rest = rest.get(count..).unwrap_or_default(),
                Step::Escape(_) | Step::Slash => return escaped(raw, part).map(Cow::Owned),
            }
            continue;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| Refusal::TargetByte)
}

/// The same once more for the few targets that need it, written anew.
fn escaped(raw: &[u8], part: Part) -> Result<String, Refusal> {
    let mut text = String::with_capacity(raw.len().saturating_mul(3));
    let mut rest = raw;
    while let Some(&byte) = rest.first() {
        let step = if is_plain(byte) { Step::Keep(1) } else { step(rest, byte, part)? };
        let count = match step {
            Step::Keep(count) | Step::Escape(count) => count,
            Step::Slash => {
                text.push_str(ESCAPED_SLASH);
                rest = rest.get(ESCAPED_SLASH.len()..).unwrap_or_default();
                continue;
            }
        };
        let (head, tail) = rest.split_at_checked(count).ok_or(Refusal::TargetByte)?;
        for &byte in head {
            match step {
                Step::Keep(_) | Step::Slash => text.push(char::from(byte)),
                // Writing to a string cannot fail.
                Step::Escape(_) => write!(text, "%{byte:02X}").map_err(|_| Refusal::TargetByte)?,
            }
        }
        rest = tail;
    }
    Ok(text)
}

/// Decides a byte that is not plain; `rest` begins with it.
fn step(rest: &[u8], byte: u8, part: Part) -> Result<Step, Refusal> {
    match byte {
        b'%' => match (escape(rest), part) {
            (Some(b'/'), Part::Path) if rest.starts_with(ESCAPED_SLASH.as_bytes()) => {
                Ok(Step::Keep(ESCAPED_SLASH.len()))
            }
            (Some(b'/'), Part::Path) => Ok(Step::Slash),
            (Some(code), Part::Path) if is_hidden_in_path(code) => Err(Refusal::HiddenCharacter),
            (Some(0), Part::Query) => Err(Refusal::HiddenCharacter),
            (Some(_), _) => Ok(Step::Keep(3)),
            (None, Part::Path) => Err(Refusal::Escape),
            (None, Part::Query) => Ok(Step::Escape(1)),
        },
        b'?' if part == Part::Query => Ok(Step::Keep(1)),
        b'#' if part == Part::Path => Err(Refusal::Fragment),
        b'\\' if part == Part::Path => Err(Refusal::TargetByte),
        b'#' | b'\\' | b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => {
            Ok(Step::Escape(1))
        }
        0x80.. => letter(rest).map(Step::Escape),
        _ => Err(Refusal::TargetByte),
    }
}

/// Unreserved characters, sub-delimiters, `:`, `@` and `/` (RFC 3986 §3.3).
fn is_plain(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'$' | b'&'..=b';' | b'=' | b'@'..=b'Z' | b'_' | b'a'..=b'z' | b'~')
}

/// The byte that a well-formed escape at the start stands for.
fn escape(rest: &[u8]) -> Option<u8> {
    let digits = rest.get(1..3)?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let [high, low] = digits else { return None };
    Some(digit(*high)?.wrapping_shl(4) | digit(*low)?)
}

/// Escapes that some servers decode before they route and others do not: separators, escapes, controls, and the
/// unreserved characters, which nobody has a reason to escape (RFC 3986 §2.3).
fn is_hidden_in_path(code: u8) -> bool {
    matches!(code, 0..0x20 | b'%' | b'-'..=b'9' | b'A'..=b'Z' | b'\\' | b'_' | b'a'..=b'z' | b'~' | 0x7f)
}

/// How many bytes the letter at the start has. RFC 3987 §3.1 says how to write a letter in a URI; other characters
/// than letters are refused raw, because some servers fold them into dots and slashes.
fn letter(rest: &[u8]) -> Result<usize, Refusal> {
    let chunk = rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    match chunk {
        Some(character) if character.is_alphabetic() => Ok(character.len_utf8()),
        Some(_) | None => Err(Refusal::TargetByte),
    }
}

/// Overlong and broken UTF-8 is a dot or a slash to some decoders (RFC 3629 §10).
fn check_escapes_decode(path: &str) -> Result<(), Refusal> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some(&byte) = rest.first() {
        let code = if byte == b'%' { escape(rest) } else { None };
        decoded.push(code.unwrap_or(byte));
        let count = if code.is_some() { 3 } else { 1 };
        rest = rest.get(count..).unwrap_or_default();
    }
    std::str::from_utf8(&decoded).map(|_| ()).map_err(|_| Refusal::PathNotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<Cow<'_, str>, Refusal> {
        normal_path(text.as_bytes())
    }

    #[test]
    fn an_escaped_slash_has_one_spelling_and_is_no_way_to_another_segment() {
        assert_eq!(path("/@scope%2fpkg").as_deref(), Ok("/@scope%2Fpkg"));
        assert_eq!(path("/a%2Fb%2F").as_deref(), Ok("/a%2Fb%2F"));
        assert_eq!(path("/\"a\"%2fb").as_deref(), Ok("/%22a%22%2Fb"));
    }

    #[test]
    fn a_plain_path_passes_as_it_is() {
        for text in [
            "/",
            "/a/b/",
            "/v1/models/gpt-4:generate",
            "/a@1.2.3/~user/$ref;v=1/(x)",
            "/caf%C3%A9/%e6%97%a5",
            "/a%20b%2Bc",
            "/...",
            "/.well-known/x",
        ] {
            assert!(matches!(path(text), Ok(Cow::Borrowed(same)) if same == text), "{text}");
        }
    }

    #[test]
    fn a_path_two_readers_could_see_differently_is_refused() {
        for (text, refusal) in [
            ("/a/../b", Refusal::DotSegment),
            ("/./a", Refusal::DotSegment),
            ("/a/..", Refusal::DotSegment),
            ("/a/..;x=1/b", Refusal::DotSegment),
            ("//evil.test/x", Refusal::EmptySegment),
            ("/a//b", Refusal::EmptySegment),
            ("/%2e%2e/a", Refusal::HiddenCharacter),
            ("/a%2F..%2fb", Refusal::DotSegment),
            ("/a%2f.%2F", Refusal::DotSegment),
            ("/..%2Fa", Refusal::DotSegment),
            ("/%2Fa", Refusal::EmptySegment),
            ("/a%2f%2Fb", Refusal::EmptySegment),
            ("/a%2F/b", Refusal::EmptySegment),
            ("/a%252Fb", Refusal::HiddenCharacter),
            ("/a%5cb", Refusal::HiddenCharacter),
            ("/%252e", Refusal::HiddenCharacter),
            ("/a%00", Refusal::HiddenCharacter),
            ("/a%0d%0ab", Refusal::HiddenCharacter),
            ("/%61dmin", Refusal::HiddenCharacter),
            ("/..%3bx/a", Refusal::DotSegment),
            ("/%c0%ae%c0%ae/a", Refusal::PathNotUtf8),
            ("/%e0%80%af", Refusal::PathNotUtf8),
            ("/%zz", Refusal::Escape),
            ("/a%4", Refusal::Escape),
            ("/%u002e", Refusal::Escape),
            ("/a\\b", Refusal::TargetByte),
            ("/a b", Refusal::TargetByte),
            ("/a\tb", Refusal::TargetByte),
            ("/a#b", Refusal::Fragment),
            // A fullwidth slash, a one-dot leader, a no-break space.
            ("/a\u{ff0f}b", Refusal::TargetByte),
            ("/\u{2024}\u{2024}/a", Refusal::TargetByte),
            ("/a\u{a0}b", Refusal::TargetByte),
        ] {
            assert_eq!(path(text).err(), Some(refusal), "{text}");
        }
        assert_eq!(normal_path(b"/\xff").err(), Some(Refusal::TargetByte));
    }

    #[test]
    fn what_only_has_to_be_written_properly_is_escaped() {
        assert_eq!(path("/a[0]|\"b\"").unwrap(), "/a%5B0%5D%7C%22b%22");
        assert_eq!(path("/ä/日本").unwrap(), "/%C3%A4/%E6%97%A5%E6%9C%AC");
        let query = normal_query("q={a}\\b#c&100%&%zz&%41?/ä".as_bytes()).unwrap();
        assert_eq!(query, "q=%7Ba%7D%5Cb%23c&100%25&%25zz&%41?/%C3%A4");
        assert_eq!(normal_query(b"a=%00").err(), Some(Refusal::HiddenCharacter));
        assert_eq!(normal_query(b"a=\xff").err(), Some(Refusal::TargetByte));
    }

    proptest::proptest! {
        #[test]
        fn the_normal_form_is_fixed(text in "(/[a-zä%.#{;]{0,6}){1,4}", query in "\\PC{0,20}") {
            if let Ok(normal) = normal_path(text.as_bytes()) {
                assert_eq!(normal_path(normal.as_bytes()).as_deref(), Ok(&*normal));
            }
            if let Ok(normal) = normal_query(query.as_bytes()) {
                assert!(matches!(normal_query(normal.as_bytes()), Ok(Cow::Borrowed(same)) if same == normal));
            }
        }
    }
}

//! Reads multipart bodies, strictly (RFC 7578, RFC 2046 §5.1).
//!
//! Not here: what is in the parts. Invariant: a body that two parsers could split differently is refused, so
//! line ends are CRLF, every part has a name, and nothing stands before the first or after the last boundary.

use std::ops::Range;

use crate::content::parameter;
use crate::{ContentKind, DlpError};

/// The most parts a body may have.
const PARTS_MAX: usize = 1_000;

/// RFC 2046 §5.1.1: a boundary is 1 to 70 characters.
const BOUNDARY_MAX: usize = 70;

/// One part, as it stands in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// From its boundary to the next one.
    pub(crate) whole: Range<usize>,
    /// Its header lines, the empty line not included.
    pub(crate) head: Range<usize>,
    pub(crate) content: Range<usize>,
    pub(crate) name: Option<String>,
    pub(crate) is_file: bool,
    pub(crate) kind: ContentKind,
}

/// The parts of `body`.
pub(crate) fn parts(body: &[u8], boundary: &str) -> Result<Vec<Part>, DlpError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let is_boundary = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    if !(1..=BOUNDARY_MAX).contains(&boundary.len()) || !boundary.bytes().all(is_boundary) {
        return fail(0, "no usable boundary");
    }
    let delimiter = format!("\r\n--{boundary}");
    let finder = memchr::memmem::Finder::new(delimiter.as_bytes());
    if !body.starts_with(delimiter.as_bytes().get(2..).unwrap_or_default()) {
        return fail(0, "the body does not start with its boundary");
    }
    let (mut parts, mut start) = (Vec::new(), 0usize);
    loop {
        let line = start.saturating_add(delimiter.len() - 2);
        match body.get(line..) {
            Some(b"--" | b"--\r\n") => return Ok(parts),
            Some(rest) if rest.starts_with(b"\r\n") => {}
            _ => return fail(line, "bytes after a boundary"),
        }
        if parts.len() >= PARTS_MAX {
            return fail(line, "too many parts");
        }
        let head = line.saturating_add(2);
        let Some(length) = body.get(line..).and_then(|rest| finder.find(rest)) else {
            return fail(head, "a part without end");
        };
        let end = line.saturating_add(length);
        let next = end.saturating_add(2);
        parts.push(part(body, start..next, head..end)?);
        start = next;
    }
}

fn part(body: &[u8], whole: Range<usize>, inside: Range<usize>) -> Result<Part, DlpError> {
    let bytes = body.get(inside.clone()).unwrap_or_default();
    let Some(blank) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return fail(inside.start, "a part without headers");
    };
    let head = inside.start..inside.start.saturating_add(blank);
    let content = head.end.saturating_add(4)..inside.end;
    let lines = bytes.get(..blank).and_then(|head| std::str::from_utf8(head).ok());
    let Some(lines) = lines else { return fail(head.start, "a header that is not UTF-8") };
    let mut part = Part {
        whole,
        head: head.clone(),
        content,
        name: None,
        is_file: false,
        kind: ContentKind::Text,
    };
    let mut seen: Vec<String> = Vec::new();
    for line in lines.split("\r\n") {
        header(line, &mut part, &mut seen)
            .map_err(|what| DlpError::Multipart { at: head.start, what })?;
    }
    if !seen.iter().any(|name| name == "content-disposition") {
        return fail(head.start, "a part without Content-Disposition");
    }
    Ok(part)
}

fn header(line: &str, part: &mut Part, seen: &mut Vec<String>) -> Result<(), &'static str> {
    if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err("a control character in a header");
    }
    let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
    let name = name.to_ascii_lowercase();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("a malformed header name");
    }
    if seen.contains(&name) {
        return Err("a header given twice");
    }
    match name.as_str() {
        "content-disposition" => disposition(value, part)?,
        "content-type" => {
            part.kind = ContentKind::parse(Some(value));
            // RFC 7578 §4.3 does away with parts inside parts.
            if matches!(part.kind, ContentKind::Multipart { .. }) {
                return Err("a multipart inside a multipart");
            }
            part.is_file |= matches!(part.kind, ContentKind::Other);
        }
        // RFC 7578 §4.7 deprecates it; a receiver that obeys it would read what nobody here saw.
        "content-transfer-encoding" => {
            let value = value.trim().to_ascii_lowercase();
            if !matches!(value.as_str(), "7bit" | "8bit" | "binary") {
                return Err("a transfer encoding");
            }
        }
        _ => {}
    }
    seen.push(name);
    Ok(())
}

fn disposition(value: &str, part: &mut Part) -> Result<(), &'static str> {
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    if !matches!(essence.trim().to_ascii_lowercase().as_str(), "form-data" | "attachment" | "file")
    {
        return Err("an unknown disposition");
    }
    part.name = parameter(parameters, "name");
    part.is_file |=
        ["filename", "filename*"].iter().any(|key| parameter(parameters, key).is_some());
    if part.name.is_none() && essence.trim().eq_ignore_ascii_case("form-data") {
        return Err("a part without a name");
    }
    Ok(())
}

fn fail<T>(at: usize, what: &'static str) -> Result<T, DlpError> {
    Err(DlpError::Multipart { at, what })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELD: &str = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhello\r\n";

    #[test]
    fn a_part_is_its_headers_and_the_bytes_up_to_the_next_boundary() {
        let body = format!("{FIELD}--b--\r\n");
        let parts = parts(body.as_bytes(), "b").unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(&body[parts[0].content.clone()], "hello");
        assert_eq!(parts[0].name.as_deref(), Some("a"));
        assert_eq!(&body[parts[0].whole.clone()], FIELD);
        assert!(!parts[0].is_file);
    }

    #[test]
    fn a_body_that_could_be_split_in_two_ways_is_refused() {
        for bad in [
            format!("preamble\r\n{FIELD}--b--"),
            format!("{FIELD}--b--\r\nepilogue"),
            FIELD.replace("--b", "--b ") + "--b--",
            FIELD.to_owned(),
            FIELD.replace("\r\n", "\n") + "--b--",
            format!("{}--b--", FIELD.replace("; name=\"a\"", "")),
            format!(
                "{}--b--",
                FIELD.replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n")
            ),
            format!(
                "{}--b--",
                FIELD.replace("\r\n\r\n", "\r\nContent-Type: multipart/mixed\r\n\r\n")
            ),
            format!(
                "{}--b--",
                FIELD.replace("\r\n\r\n", "\r\ncontent-disposition: form-data; name=x\r\n\r\n")
            ),
        ] {
            assert!(
                matches!(parts(bad.as_bytes(), "b"), Err(DlpError::Multipart { .. })),
                "{bad:?}"
            );
        }
        assert!(parts(format!("{}--b--", FIELD.repeat(1_001)).as_bytes(), "b").is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(body in "(--b|\r\n|:|a|content-disposition|; name=\"|--){0,40}") {
            if let Ok(parts) = parts(body.as_bytes(), "b") {
                prop_assert!(parts.iter().all(|part| body.get(part.content.clone()).is_some()));
            }
        }
    }
}

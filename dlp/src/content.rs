//! What a body claims to be: its media type and its content coding.
//!
//! Not here: undoing the coding (`inflate`) or parsing the body. Invariant: a type or charset that is not
//! understood is `Other`, never guessed.

use crate::DlpError;

/// The shape of a body, as its `Content-Type` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// `application/json` and every `+json` suffix (RFC 6839 §3.1).
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/*`; a missing boundary is empty and refused when the body is parsed.
    Multipart { boundary: String },
    /// `text/*`, XML, CSV, NDJSON.
    Text,
    /// Anything else, and any charset that is not a superset of ASCII.
    Other,
}

impl ContentKind {
    /// Reads the value of a `Content-Type` header; no header means `Other`.
    pub fn parse(header: Option<&str>) -> Self {
        let Some(header) = header else { return ContentKind::Other };
        let (essence, parameters) = header.split_once(';').unwrap_or((header, ""));
        let essence = essence.trim().to_ascii_lowercase();
        if essence.starts_with("multipart/") {
            let boundary = parameter(parameters, "boundary").unwrap_or_default();
            return ContentKind::Multipart { boundary };
        }
        if parameter(parameters, "charset").is_some_and(|charset| !is_ascii_superset(&charset)) {
            return ContentKind::Other;
        }
        match essence.as_str() {
            "application/json" | "text/json" => ContentKind::Json,
            "application/x-www-form-urlencoded" => ContentKind::Form,
            "application/xml"
            | "application/csv"
            | "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/graphql"
            | "application/javascript"
            | "application/yaml" => ContentKind::Text,
            other if other.ends_with("+json") => ContentKind::Json,
            other if other.ends_with("+xml") || other.starts_with("text/") => ContentKind::Text,
            _ => ContentKind::Other,
        }
    }
}

/// The value of a parameter, out of its quotes (RFC 9110 §5.6.6).
pub(crate) fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = value_of(after.trim_start());
        if key.trim_matches([' ', '\t', ';']).eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// One parameter value and what follows its semicolon.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, next) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), next);
    };
    let (mut value, mut chars) = (String::new(), quoted.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            _ => value.push(c),
        }
    }
    (value, chars.as_str().trim_start_matches([' ', '\t', ';']))
}

fn is_ascii_superset(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known))
}

/// How a body was compressed for the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    Identity,
    Gzip,
    /// RFC 9110 §8.4.1.2: the zlib format; the bare deflate stream some clients send is refused.
    Deflate,
}

impl ContentCoding {
    /// Reads the value of a `Content-Encoding` header; lists and unknown codings are refused.
    pub fn parse(header: Option<&str>) -> Result<Self, DlpError> {
        let Some(header) = header else { return Ok(ContentCoding::Identity) };
        match header.trim().to_ascii_lowercase().as_str() {
            "identity" => Ok(ContentCoding::Identity),
            "gzip" | "x-gzip" => Ok(ContentCoding::Gzip),
            "deflate" => Ok(ContentCoding::Deflate),
            _ => Err(DlpError::UnknownCoding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_read_without_regard_to_case_or_parameters() {
        let kind = |header| ContentKind::parse(Some(header));
        assert_eq!(kind("Application/JSON; charset=UTF-8"), ContentKind::Json);
        assert_eq!(kind("application/fhir+json"), ContentKind::Json);
        assert_eq!(kind("application/x-www-form-urlencoded"), ContentKind::Form);
        assert_eq!(kind("text/csv"), ContentKind::Text);
        assert_eq!(kind("application/soap+xml"), ContentKind::Text);
        assert_eq!(kind("application/pdf"), ContentKind::Other);
        assert_eq!(ContentKind::parse(None), ContentKind::Other);
    }

    #[test]
    fn a_charset_that_hides_ascii_is_opaque() {
        assert_eq!(
            ContentKind::parse(Some("application/json; charset=utf-16")),
            ContentKind::Other
        );
        assert_eq!(ContentKind::parse(Some("text/plain; charset=\"utf-7\"")), ContentKind::Other);
    }

    #[test]
    fn a_boundary_is_taken_out_of_its_quotes() {
        let of = |header| ContentKind::parse(Some(header));
        let boundary = |text: &str| ContentKind::Multipart { boundary: text.to_owned() };
        assert_eq!(of("multipart/form-data; boundary=abc"), boundary("abc"));
        assert_eq!(of("multipart/form-data; x=\"a;b\"; Boundary=\"a b\""), boundary("a b"));
        assert_eq!(of("multipart/form-data"), boundary(""));
    }

    #[test]
    fn a_coding_that_cannot_be_undone_is_refused() {
        assert_eq!(ContentCoding::parse(None), Ok(ContentCoding::Identity));
        assert_eq!(ContentCoding::parse(Some(" GZIP ")), Ok(ContentCoding::Gzip));
        for bad in ["br", "zstd", "gzip, gzip", ""] {
            assert_eq!(ContentCoding::parse(Some(bad)), Err(DlpError::UnknownCoding), "{bad}");
        }
    }
}

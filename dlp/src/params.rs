//! The one reading of a body that policy judges: strict, so that no upstream can read it differently.
//!
//! Not here: findings (`scan`). Invariant: a body with a duplicate field at any depth has no parameters.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aegis_domain::Params;
use serde_json::Value;

use crate::json::{TokenKind, Tokens, Values, unescape};
use crate::{DlpError, form, multipart};

/// Checks that a body is valid JSON (RFC 8259) of one meaning: UTF-8 without BOM, no duplicate keys at any
/// depth, no lone surrogates, at most 64 levels.
pub fn check_json(body: &[u8]) -> Result<(), DlpError> {
    let text =
        std::str::from_utf8(body).map_err(|error| DlpError::NotUtf8 { at: error.valid_up_to() })?;
    let mut tokens = Tokens::new(text, Values::One);
    let mut objects: Vec<BTreeSet<Cow<'_, str>>> = Vec::new();
    while let Some(token) = tokens.next()? {
        match token.kind {
            TokenKind::OpenObject | TokenKind::OpenArray => objects.push(BTreeSet::new()),
            TokenKind::Close => {
                objects.pop();
            }
            TokenKind::Key => {
                let inside = text.get(token.inner()).unwrap_or_default();
                let key = if inside.contains('\\') {
                    Cow::Owned(unescape(inside, 0).text().to_owned())
                } else {
                    Cow::Borrowed(inside)
                };
                if objects.last_mut().is_some_and(|keys| !keys.insert(key)) {
                    return Err(DlpError::DuplicateField { at: token.span.start });
                }
            }
            TokenKind::String | TokenKind::Number | TokenKind::Literal => {}
        }
    }
    Ok(())
}

/// The members of a JSON object that passes `check_json`.
pub fn json_params(body: &[u8]) -> Result<Params, DlpError> {
    check_json(body)?;
    match serde_json::from_slice(body) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(_) => Err(DlpError::NotAnObject),
        // Valid JSON that has no value here: a number beyond what a float holds.
        Err(_) => Err(DlpError::Json { at: 0, what: "a number out of range" }),
    }
}

/// The fields of a form body or a query, as strings.
pub fn form_params(body: &[u8]) -> Result<Params, DlpError> {
    let text =
        std::str::from_utf8(body).map_err(|error| DlpError::NotUtf8 { at: error.valid_up_to() })?;
    let mut params = Params::new();
    for pair in form::pairs(text) {
        let key = form_text(text.get(pair.key.clone()).unwrap_or_default(), pair.key.start)?;
        let value = form_text(text.get(pair.value.clone()).unwrap_or_default(), pair.value.start)?;
        if params.insert(key, Value::String(value)).is_some() {
            return Err(DlpError::DuplicateField { at: pair.key.start });
        }
    }
    Ok(params)
}

/// A key or value whose escapes are all well-formed UTF-8.
fn form_text(text: &str, at: usize) -> Result<String, DlpError> {
    let is_escaped = text.split('%').skip(1).all(|rest| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !is_escaped {
        return Err(DlpError::Form { at, what: "a percent sign without two hex digits" });
    }
    let plain = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&plain).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| DlpError::Form { at, what: "escapes that are not UTF-8" })
}

/// The named parts of a multipart body that are not files, as strings.
pub fn multipart_params(body: &[u8], boundary: &str) -> Result<Params, DlpError> {
    let mut params = Params::new();
    for part in multipart::parts(body, boundary)? {
        let Some(name) = part.name else { continue };
        let content = body.get(part.content.clone()).unwrap_or_default();
        let value = match std::str::from_utf8(content) {
            _ if part.is_file => Value::Null,
            Ok(text) => Value::from(text),
            Err(error) => {
                let at = part.content.start.saturating_add(error.valid_up_to());
                return Err(DlpError::NotUtf8 { at });
            }
        };
        if params.insert(name, value).is_some() {
            return Err(DlpError::DuplicateField { at: part.whole.start });
        }
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_occurs_twice_is_refused_at_any_depth_and_in_any_spelling() {
        assert_eq!(check_json(br#"{"a":1,"b":{"a":2}}"#), Ok(()));
        assert_eq!(check_json(br#"[{"a":1},{"a":2}]"#), Ok(()));
        let twice = Err(DlpError::DuplicateField { at: 12 });
        assert_eq!(
            check_json(br#"{"x":[{"a":1,"a":2}]}"#).map_err(|e| e.reason()),
            twice.clone().map_err(|e: DlpError| e.reason())
        );
        assert_eq!(
            check_json(br#"{"x": {"a":1,"\u0061":2}}"#),
            Err(DlpError::DuplicateField { at: 13 })
        );
    }

    #[test]
    fn a_byte_order_mark_or_another_encoding_is_refused() {
        assert!(check_json(b"\xef\xbb\xbf{}").is_err());
        assert_eq!(check_json(b"{\"a\":\"\xff\"}"), Err(DlpError::NotUtf8 { at: 6 }));
        assert!(
            check_json(
                "{}".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>().as_slice()
            )
            .is_err()
        );
    }

    #[test]
    fn parameters_are_the_members_of_an_object() {
        let params = json_params(br#"{"amount":900,"to":"acct"}"#).unwrap();
        assert_eq!(params["amount"], 900);
        assert_eq!(json_params(b"[]"), Err(DlpError::NotAnObject));
    }

    #[test]
    fn form_fields_are_decoded_once_and_duplicates_refused() {
        let params = form_params(b"a=1+2&b=%C3%BC&c").unwrap();
        assert_eq!(
            (&params["a"], &params["b"], &params["c"]),
            (&"1 2".into(), &"ü".into(), &"".into())
        );
        assert_eq!(form_params(b"a=1&%61=2"), Err(DlpError::DuplicateField { at: 4 }));
        assert!(matches!(form_params(b"a=%zz"), Err(DlpError::Form { at: 2, .. })));
        assert!(matches!(form_params(b"a=%ff"), Err(DlpError::Form { .. })));
    }

    #[test]
    fn multipart_fields_are_strings_and_files_are_null() {
        let part = |head: &str, content: &str| {
            format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
        };
        let body = format!("{}{}--b--", part("name=a", "1"), part("name=f; filename=x.bin", "z"));
        let params = multipart_params(body.as_bytes(), "b").unwrap();
        assert_eq!((&params["a"], &params["f"]), (&Value::from("1"), &Value::Null));
        let twice = format!("{0}{0}--b--", part("name=a", "1"));
        assert!(matches!(
            multipart_params(twice.as_bytes(), "b"),
            Err(DlpError::DuplicateField { .. })
        ));
    }
}

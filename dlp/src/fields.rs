//! Blanks named fields, or drops all but named ones.
//!
//! Not here: what the fields hold, and multipart (`redact`). Invariant: JSON stays JSON, and what is kept keeps
//! its bytes.

use std::ops::Range;

use crate::hit::{Counts, Hit, splice};
use crate::json::{Token, TokenKind, Tokens, Values, unescape};
use crate::{DlpError, form};

/// What stands in the place of a blanked field.
pub(crate) const BLANK: &str = "[REDACTED]";

/// A text after its fields were dealt with, and how many were.
pub(crate) type Cleared = (Vec<u8>, u32);

/// Whether a field has one of these names; case is ignored, as some readers of JSON do.
pub(crate) fn is_named(name: &str, fields: &[String]) -> bool {
    fields.iter().any(|field| field.eq_ignore_ascii_case(name))
}

/// Whether a form or part name, or a piece of a nested one (`user[ssn]`, `user.ssn`), is named.
pub(crate) fn is_nested_named(name: &str, fields: &[String]) -> bool {
    is_named(name, fields) || name.split(['[', ']', '.']).any(|piece| is_named(piece, fields))
}

/// Whether a form or part name, or the outermost piece of a nested one, is exactly one of `fields`.
pub(crate) fn is_kept(name: &str, fields: &[String]) -> bool {
    let outermost = name.split('[').next().unwrap_or(name);
    fields.iter().any(|field| field == name || field == outermost)
}

/// A member of an object: the name it spells, and where it and its value lie.
struct Member {
    name: String,
    depth: usize,
    whole: Range<usize>,
    value: Range<usize>,
}

/// Blanks the named members of every object.
pub(crate) fn blank_json(text: &str, fields: &[String]) -> Result<Cleared, DlpError> {
    let quoted = format!("\"{BLANK}\"");
    let mut hits: Vec<Hit> = Vec::new();
    for member in members(text)? {
        let is_inside = hits.last().is_some_and(|last| member.value.start < last.span.end);
        let is_blank = text.get(member.value.clone()) == Some(quoted.as_str());
        if is_named(&member.name, fields) && !is_inside && !is_blank {
            hits.push(Hit { span: member.value, with: quoted.clone(), counts: Counts::new() });
        }
    }
    Ok((splice(text.as_bytes(), &hits), count(hits.len())))
}

/// Drops every member of the outermost object but the named ones.
pub(crate) fn keep_json(text: &str, fields: &[String]) -> Result<Cleared, DlpError> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(DlpError::NotAnObject);
    }
    let members: Vec<Member> = members(text)?.into_iter().filter(|of| of.depth == 1).collect();
    let (Some(first), Some(last)) = (members.first(), members.last()) else {
        return Ok((text.as_bytes().to_vec(), 0));
    };
    let span = first.whole.start..last.whole.end;
    let kept: Vec<&str> = members
        .iter()
        .filter(|member| fields.contains(&member.name))
        .filter_map(|member| text.get(member.whole.clone()))
        .collect();
    let dropped = members.len().saturating_sub(kept.len());
    if dropped == 0 {
        return Ok((text.as_bytes().to_vec(), 0));
    }
    let hit = Hit { span, with: kept.join(","), counts: Counts::new() };
    Ok((splice(text.as_bytes(), &[hit]), count(dropped)))
}

/// Every member of every object, outer ones before those inside them.
fn members(text: &str) -> Result<Vec<Member>, DlpError> {
    let mut tokens = Tokens::new(text, Values::One);
    let mut members: Vec<Member> = Vec::new();
    // For each open bracket, the member whose value it is.
    let (mut open, mut pending): (Vec<Option<usize>>, Option<usize>) = (Vec::new(), None);
    while let Some(token) = tokens.next()? {
        match token.kind {
            TokenKind::Key => {
                let name = unescape(text.get(token.inner()).unwrap_or_default(), 0);
                pending = Some(members.len());
                members.push(Member {
                    name: name.text().to_owned(),
                    depth: open.len(),
                    whole: token.span.clone(),
                    value: 0..0,
                });
                continue;
            }
            TokenKind::OpenObject | TokenKind::OpenArray => {
                start_value(&mut members, pending, &token);
                open.push(pending.take());
            }
            TokenKind::Close => end_value(&mut members, open.pop().flatten(), &token),
            TokenKind::String | TokenKind::Number | TokenKind::Literal => {
                start_value(&mut members, pending, &token);
                end_value(&mut members, pending.take(), &token);
            }
        }
    }
    Ok(members)
}

fn end_value(members: &mut [Member], member: Option<usize>, token: &Token) {
    if let Some(member) = member.and_then(|at| members.get_mut(at)) {
        member.value.end = token.span.end;
        member.whole.end = token.span.end;
    }
}

fn start_value(members: &mut [Member], member: Option<usize>, token: &Token) {
    if let Some(member) = member.and_then(|at| members.get_mut(at)) {
        member.value.start = token.span.start;
    }
}

/// Blanks the named fields of a form or query.
pub(crate) fn blank_form(text: &str, fields: &[String]) -> Cleared {
    let blank = form::encode(BLANK);
    let hits: Vec<Hit> = form_fields(text)
        .filter(|(name, pair)| {
            let value = text.get(pair.value.clone()).unwrap_or_default();
            is_nested_named(name, fields) && !value.is_empty() && value != blank
        })
        .map(|(_, pair)| Hit { span: pair.value, with: blank.clone(), counts: Counts::new() })
        .collect();
    (splice(text.as_bytes(), &hits), count(hits.len()))
}

/// Drops every field of a form or query but the named ones.
pub(crate) fn keep_form(text: &str, fields: &[String]) -> Cleared {
    let all: Vec<_> = form_fields(text).collect();
    let kept: Vec<&str> = all
        .iter()
        .filter(|(name, _)| is_kept(name, fields))
        .filter_map(|(_, pair)| text.get(pair.span()))
        .collect();
    let dropped = all.len().saturating_sub(kept.len());
    if dropped == 0 {
        return (text.as_bytes().to_vec(), 0);
    }
    (kept.join("&").into_bytes(), count(dropped))
}

fn form_fields(text: &str) -> impl Iterator<Item = (String, form::Pair)> {
    form::pairs(text).into_iter().map(move |pair| {
        let key = text.get(pair.key.clone()).unwrap_or_default();
        (form::decoded(key, 0).text().to_owned(), pair)
    })
}

pub(crate) fn count(hits: usize) -> u32 {
    u32::try_from(hits).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn text((bytes, count): Cleared) -> (String, u32) {
        (String::from_utf8(bytes).unwrap(), count)
    }

    #[test]
    fn named_fields_are_blanked_at_any_depth_whatever_they_hold() {
        let json = r#"{ "memo": {"memo":1}, "a":[{"M\u0065mo" : [1,2]}], "b":"memo" }"#;
        let blanked = blank_json(json, &names(&["memo"])).unwrap();
        let expected =
            r#"{ "memo": "[REDACTED]", "a":[{"M\u0065mo" : "[REDACTED]"}], "b":"memo" }"#;
        assert_eq!(text(blanked), (expected.to_owned(), 2));
        assert_eq!(blank_json(expected, &names(&["memo"])).unwrap().1, 0);
    }

    #[test]
    fn only_named_fields_are_kept_and_they_keep_their_bytes() {
        let keep = |json| text(keep_json(json, &names(&["b", "d"])).unwrap());
        let json = r#"{ "a":1, "b" : {"a": 1.0}, "c":[], "d":"\u0041" }"#;
        assert_eq!(keep(json), (r#"{ "b" : {"a": 1.0},"d":"\u0041" }"#.to_owned(), 2));
        assert_eq!(keep(r#"{"a":1}"#), ("{}".to_owned(), 1));
        assert_eq!(keep("{ }"), ("{ }".to_owned(), 0));
        assert_eq!(keep_json("[]", &names(&["b"])), Err(DlpError::NotAnObject));
    }

    #[test]
    fn form_fields_are_blanked_or_kept_by_their_decoded_names() {
        let blanked = blank_form("a=1&%6Demo=x&user[memo]=y&memo=", &names(&["memo"]));
        let expected = "a=1&%6Demo=%5BREDACTED%5D&user[memo]=%5BREDACTED%5D&memo=";
        assert_eq!(text(blanked), (expected.to_owned(), 2));
        let kept = keep_form("a=1&b=2&user[x]=3", &names(&["a", "user"]));
        assert_eq!(text(kept), ("a=1&user[x]=3".to_owned(), 1));
    }
}

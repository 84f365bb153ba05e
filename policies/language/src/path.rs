//! Path patterns: `/v1/payouts`, `/v1/payouts/{payout_id}`, `/fhir/Patient/*`.
//!
//! Not here: how a pattern is written in Rego (`lower::checks`). Invariant: a `{name}` segment matches exactly one
//! non-empty segment of the raw path; `*` stands only at the end and matches whatever follows the slash before it.

use std::str::FromStr;

use crate::name::{Name, Text};

/// Why a text is not a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path begins with `/`")]
    Relative,
    #[error("a path is one line of at most 256 bytes")]
    Text,
    #[error("`*` may only be the whole last segment")]
    Star,
    #[error("a segment in braces is `{{name}}`, and each name stands once")]
    Braces,
    #[error("a path holds no `?`, `#`, and no `.` or `..` segment")]
    NotPlain,
    #[error("a path has at most 32 segments")]
    TooLong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Literal(Text),
    /// An empty segment, as in a trailing slash.
    Empty,
    Param(Name),
}

/// A pattern for whole paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: Text,
    segments: Vec<Segment>,
    open: bool,
}

const SEGMENTS_MAX: usize = 32;

impl FromStr for PathPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let text: Text = text.parse().map_err(|_| PathError::Text)?;
        let path = text.as_str().strip_prefix('/').ok_or(PathError::Relative)?;
        let (path, open) = match path.strip_suffix('*') {
            Some(path) if path.is_empty() || path.ends_with('/') => (path, true),
            Some(_) => return Err(PathError::Star),
            None => (path, false),
        };
        let mut segments = path.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        if open {
            segments.pop();
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(PathError::TooLong);
        }
        let pattern = Self { text, segments, open };
        let names: Vec<&Name> = pattern.params().collect();
        let repeated =
            names.iter().enumerate().any(|(at, name)| names.iter().take(at).any(|n| n == name));
        if repeated { Err(PathError::Braces) } else { Ok(pattern) }
    }
}

fn segment(text: &str) -> Result<Segment, PathError> {
    if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        return name.parse().map(Segment::Param).map_err(|_| PathError::Braces);
    }
    if text.contains(['{', '}']) {
        return Err(PathError::Braces);
    }
    if text.contains('*') {
        return Err(PathError::Star);
    }
    if text.contains(['?', '#']) || text == "." || text == ".." {
        return Err(PathError::NotPlain);
    }
    if text.is_empty() {
        return Ok(Segment::Empty);
    }
    text.parse().map(Segment::Literal).map_err(|_| PathError::Text)
}

impl PathPattern {
    /// As written.
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// The pattern without braces that matches itself only, or its beginning when it is open.
    pub fn literal(&self) -> Option<&str> {
        let literal = self.params().next().is_none();
        literal.then(|| self.text.as_str().trim_end_matches('*'))
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether anything may follow.
    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn params(&self) -> impl Iterator<Item = &Name> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) => Some(name),
            Segment::Literal(_) | Segment::Empty => None,
        })
    }

    /// How many bytes of a path this fixes: the more, the closer the match.
    pub fn literal_bytes(&self) -> usize {
        let bytes = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => text.as_str().len().saturating_add(1),
            Segment::Empty | Segment::Param(_) => 1,
        });
        bytes.sum()
    }

    /// The values of the `{name}` segments, if the path matches.
    pub fn matches<'p>(&'p self, path: &'p str) -> Option<Vec<(&'p Name, &'p str)>> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let mut params = Vec::new();
        for segment in &self.segments {
            let part = parts.next()?;
            match segment {
                Segment::Literal(text) if text.as_str() == part => {}
                Segment::Empty if part.is_empty() => {}
                Segment::Param(name) if !part.is_empty() => params.push((name, part)),
                Segment::Literal(_) | Segment::Empty | Segment::Param(_) => return None,
            }
        }
        (parts.next().is_some() == self.open).then_some(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_in_braces_matches_one_segment_that_is_not_empty() {
        let notes = pattern("/v1/patients/{patient_id}/notes");
        let found = notes.matches("/v1/patients/77/notes").unwrap();
        assert_eq!(found, [(&"patient_id".parse().unwrap(), "77")]);
        for other in [
            "/v1/patients//notes",
            "/v1/patients/1/2/notes",
            "/v1/patients/1/notes/",
            "/v1/patients/1",
            "/v2/patients/1/notes",
            "v1/patients/1/notes",
        ] {
            assert_eq!(notes.matches(other), None, "{other}");
        }
    }

    #[test]
    fn a_star_matches_whatever_follows_its_slash() {
        let star = pattern("/fhir/{kind}/*");
        assert!(star.matches("/fhir/Patient/1/2").is_some());
        assert!(star.matches("/fhir/Patient/").is_some());
        assert!(star.matches("/fhir/Patient").is_none());
        assert!(pattern("/*").matches("/").is_some());
    }

    #[test]
    fn slashes_are_literal() {
        assert!(pattern("/").matches("/").is_some());
        assert!(pattern("/a/").matches("/a").is_none());
        assert!(pattern("/a/").matches("/a/").is_some());
    }

    #[test]
    fn odd_patterns_are_refused() {
        for (text, error) in [
            ("v1", PathError::Relative),
            ("/a*", PathError::Star),
            ("/*/a", PathError::Star),
            ("/{a}{b}", PathError::Braces),
            ("/{a}/{a}", PathError::Braces),
            ("/x{a}", PathError::Braces),
            ("/a/../b", PathError::NotPlain),
            ("/a?b", PathError::NotPlain),
            ("/a\nb", PathError::Text),
        ] {
            assert_eq!(text.parse::<PathPattern>(), Err(error), "{text}");
        }
    }
}

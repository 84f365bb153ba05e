//! One value of a text, and the ways to decode it: each says what was expected and what was found.
//!
//! Not here: mappings with known keys (`mapping`). Invariant: a decoder that gives `None` has reported why, so
//! callers decode on and report everything together.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use aegis_domain::Ttl;
use serde_json::Value;

use super::Problems;
use super::mapping::{Mapping, nearest};
use super::scalar::{Scalar, duration};

/// A place in a text, counted from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Position {
    pub const START: Position = Position { line: 1, column: 1 };
}

/// A place in one of several texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    pub file: Arc<str>,
    pub position: Position,
}

impl Location {
    /// The beginning of a text, for what concerns all of it.
    pub fn start_of(file: &str) -> Self {
        Self { file: file.into(), position: Position::START }
    }
}

impl Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.position.line, self.position.column)
    }
}

/// One value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    position: Position,
    content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One line of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn new(position: Position, content: Content) -> Self {
        Self { position, content }
    }

    pub fn position(&self) -> Position {
        self.position
    }

    /// The text of a key; numbers and booleans count as written. `None` for nothing and for lists and mappings.
    pub(super) fn key_text(&self) -> Option<Cow<'_, str>> {
        match &self.content {
            Content::Scalar(
                Scalar::Text(text) | Scalar::Odd(text) | Scalar::Number { text, .. },
            ) => Some(text.into()),
            Content::Scalar(Scalar::Bool(value)) => Some(value.to_string().into()),
            Content::Scalar(Scalar::Null) | Content::List(_) | Content::Mapping(_) => None,
        }
    }

    /// What this is, for "expected .., found ..".
    pub(super) fn found(&self) -> String {
        match &self.content {
            Content::Scalar(scalar) => scalar.to_string(),
            Content::List(_) => "a list".to_owned(),
            Content::Mapping(_) => "a mapping".to_owned(),
        }
    }

    fn mismatch<T>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        problems.report(self.position, format!("expected {expected}, found {}", self.found()));
        None
    }

    pub fn is_mapping(&self) -> bool {
        matches!(self.content, Content::Mapping(_))
    }

    /// The text, if this is one; says nothing if not.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Scalar::Text(text)) => Some(text),
            Content::Scalar(_) | Content::List(_) | Content::Mapping(_) => None,
        }
    }

    pub fn text(&self, problems: &mut Problems) -> Option<String> {
        match &self.content {
            Content::Scalar(Scalar::Text(text)) => Some(text.clone()),
            Content::Scalar(Scalar::Null) | Content::List(_) | Content::Mapping(_) => {
                self.mismatch("text", problems)
            }
            Content::Scalar(scalar) => {
                let message = format!("expected text, found {scalar}");
                problems.report_with_help(self.position, message, "put it in quotes");
                None
            }
        }
    }

    pub fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match &self.content {
            Content::Scalar(Scalar::Bool(value)) => Some(*value),
            Content::Scalar(_) | Content::List(_) | Content::Mapping(_) => {
                self.mismatch("`true` or `false`", problems)
            }
        }
    }

    /// An integer within bounds: `node.integer(problems, 1..=65_535)` for a `u16` port.
    pub fn integer<N>(&self, problems: &mut Problems, bounds: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i128> + PartialOrd + Display,
    {
        let found = match &self.content {
            Content::Scalar(Scalar::Number { value, .. }) => value.as_i128(),
            Content::Scalar(_) | Content::List(_) | Content::Mapping(_) => None,
        };
        let fits = found.and_then(|n| N::try_from(n).ok()).filter(|n| bounds.contains(n));
        fits.or_else(|| {
            let expected = format!("an integer from {} to {}", bounds.start(), bounds.end());
            self.mismatch(&expected, problems)
        })
    }

    /// A length of time: `10ms`, `30s`, `15m`, `12h`, `7d`.
    pub fn duration(&self, problems: &mut Problems) -> Option<Ttl> {
        self.as_text()
            .and_then(duration)
            .or_else(|| self.mismatch("a duration such as `10ms`, `30s`, `15m` or `12h`", problems))
    }

    /// A text that `T` reads, with `T`'s own words when it does not.
    pub fn parsed<T>(&self, problems: &mut Problems) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.text(problems)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                problems.report(self.position, error.to_string());
                None
            }
        }
    }

    /// One of the named choices.
    pub fn choice<T: Copy>(&self, problems: &mut Problems, choices: &[(&str, T)]) -> Option<T> {
        let text = self.as_text();
        if let Some((_, value)) = choices.iter().find(|(name, _)| Some(*name) == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("expected one of `{}`, found {}", names.join("`, `"), self.found());
        let wanted = text.filter(|_| !problems.is_full());
        match wanted.and_then(|text| nearest(text, &names)) {
            Some(name) => {
                problems.report_with_help(
                    self.position,
                    message,
                    format!("did you mean `{name}`?"),
                );
            }
            None => problems.report(self.position, message),
        }
        None
    }

    /// A list whose items `decode` reads; all items are read, and one bad item fails the list.
    pub fn list<T>(
        &self,
        problems: &mut Problems,
        mut decode: impl FnMut(&Node, &mut Problems) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Content::List(items) = &self.content else { return self.mismatch("a list", problems) };
        let decoded: Vec<Option<T>> = items.iter().map(|item| decode(item, problems)).collect();
        decoded.into_iter().collect()
    }

    /// A mapping whose keys people choose; keys are nodes too, so `Node::parsed` reads them.
    pub fn map<K: Ord, V>(
        &self,
        problems: &mut Problems,
        mut decode_key: impl FnMut(&Node, &mut Problems) -> Option<K>,
        mut decode: impl FnMut(&Node, &mut Problems) -> Option<V>,
    ) -> Option<BTreeMap<K, V>> {
        let Content::Mapping(entries) = &self.content else {
            return self.mismatch("a mapping", problems);
        };
        let decoded: Vec<Option<(K, V)>> = entries
            .iter()
            .map(|entry| decode_key(&entry.key, problems).zip(decode(&entry.value, problems)))
            .collect();
        decoded.into_iter().collect()
    }

    /// A mapping with known keys.
    pub fn mapping(&self, problems: &mut Problems) -> Option<Mapping<'_>> {
        match &self.content {
            Content::Mapping(entries) => Some(Mapping::new(self.position, entries)),
            Content::Scalar(_) | Content::List(_) => self.mismatch("a mapping", problems),
        }
    }

    /// Any value, as JSON.
    pub fn json(&self, problems: &mut Problems) -> Option<Value> {
        match &self.content {
            Content::Scalar(Scalar::Null) => Some(Value::Null),
            Content::Scalar(Scalar::Bool(value)) => Some(Value::Bool(*value)),
            Content::Scalar(Scalar::Number { value, .. }) => Some(Value::Number(value.clone())),
            Content::Scalar(Scalar::Odd(_)) => {
                self.mismatch("a decimal number that can be kept exactly", problems)
            }
            Content::Scalar(Scalar::Text(text)) => Some(Value::String(text.clone())),
            Content::List(_) => self.list(problems, Node::json).map(Value::Array),
            Content::Mapping(_) => {
                let key = |key: &Node, _: &mut Problems| key.key_text().map(Cow::into_owned);
                let map = self.map(problems, key, Node::json)?;
                Some(Value::Object(map.into_iter().collect()))
            }
        }
    }
}

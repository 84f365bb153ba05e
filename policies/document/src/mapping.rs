//! A mapping with known keys: takes them one by one, then says which keys nobody asked for.
//!
//! Not here: mappings whose keys people choose (`Node::map`). Invariant: after `finish`, every key was either
//! decoded or reported. A key without a value is not an absent key: it is reported where it is decoded.

use super::Problems;
use super::node::{Entry, Node, Position};
use super::scalar::Excerpt;

/// A mapping that is being decoded.
#[must_use = "call `finish`, so that unknown keys are reported"]
#[derive(Debug)]
pub struct Mapping<'n> {
    position: Position,
    entries: &'n [Entry],
    asked: Vec<&'static str>,
}

impl<'n> Mapping<'n> {
    pub(super) fn new(position: Position, entries: &'n [Entry]) -> Self {
        Self { position, entries, asked: Vec::new() }
    }

    pub fn position(&self) -> Position {
        self.position
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The node under `name`, if it is there.
    pub fn get(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        let entry = self.entries.iter().find(|entry| entry.key.as_text() == Some(name));
        entry.map(|entry| &entry.value)
    }

    /// Decodes the value under `name`; `None` when it is absent or was reported.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
        decode: impl FnOnce(&'n Node, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        self.get(name).and_then(|node| decode(node, problems))
    }

    /// Decodes the value under `name` and reports its absence.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
        decode: impl FnOnce(&'n Node, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        match self.get(name) {
            Some(node) => decode(node, problems),
            None => {
                problems.report(self.position, format!("`{name}` is missing"));
                None
            }
        }
    }

    /// Reports the keys that were never asked for, with the nearest that was.
    pub fn finish(self, problems: &mut Problems) {
        for entry in self.entries {
            let name = entry.key.key_text().unwrap_or_default();
            if self.asked.contains(&name.as_ref()) && entry.key.as_text().is_some() {
                continue;
            }
            let message = format!("unknown key `{}`", Excerpt(&name));
            let near = if problems.is_full() { None } else { nearest(&name, &self.asked) };
            let help = match near {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            problems.report_with_help(entry.key.position(), message, help);
        }
    }
}

/// The known name that a person most likely meant.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    const LIKENESS_MIN: f64 = 0.7;
    const COMPARED_BYTES_MAX: usize = 64;
    if name.len() > COMPARED_BYTES_MAX {
        return None;
    }
    known
        .iter()
        .map(|candidate| {
            let slip = name.len() > 2 && strsim::damerau_levenshtein(name, candidate) <= 1;
            (if slip { 1.0 } else { strsim::jaro_winkler(name, candidate) }, *candidate)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

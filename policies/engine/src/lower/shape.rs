//! The shape of one line of Rego: the line with its names, texts, numbers and references put into letters.
//!
//! Not here: which shapes are allowed (`linter`). Invariant: letters stand only for what was read as such; a line in
//! which a capital letter stands anywhere else has no shape.

use super::module::DETAILS;

/// `startswith(input.params.s, "a")` has the shape `startswith(R, S)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) text: String,
    /// What each `R` stands for.
    pub(super) references: Vec<String>,
}

impl Shape {
    pub(super) fn of(line: &str) -> Option<Self> {
        let mut shape = Self { text: String::new(), references: Vec::new() };
        let mut rest = line;
        while let Some(next) = rest.chars().next() {
            let length = match next {
                '"' => shape.take('S', json_string(rest)?),
                '`' => shape.take('X', rest.get(1..)?.find('`')?.checked_add(2)?),
                '-' | '0'..='9' => shape.take('N', number(rest)?),
                'a'..='z' | 'A'..='Z' | '_' => shape.word(rest)?,
                other => {
                    shape.text.push(other);
                    other.len_utf8()
                }
            };
            rest = rest.get(length..)?;
        }
        Some(shape)
    }

    fn take(&mut self, letter: char, length: usize) -> usize {
        self.text.push(letter);
        length
    }

    fn word(&mut self, text: &str) -> Option<usize> {
        let length = word_length(text);
        let word = text.get(..length)?;
        if self.text.ends_with("data.aegis_data.sets.") || self.text.ends_with("aegis.tool.") {
            return (!aegis_policy_language::is_keyword(word)).then(|| self.take('W', length));
        }
        if word == "input" {
            let length = reference(text)?;
            self.references.push(text.get(..length)?.to_owned());
            return Some(self.take('R', length));
        }
        if is_condition(word) {
            return Some(self.take('C', length));
        }
        // `contains` is a detail's operator and a function; the sets have names of their own.
        if DETAILS.contains(&word) {
            return Some(self.take('D', length));
        }
        let plain = !word.bytes().any(|byte| byte.is_ascii_uppercase());
        plain.then(|| {
            self.text.push_str(word);
            length
        })
    }
}

/// The parts of a reference after `input`; an index ends it, since the list before it is read as a whole.
pub(super) fn path(reference: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = reference.strip_prefix("input").unwrap_or_default();
    while let Some(next) = rest.strip_prefix('.') {
        let (name, after) = next.split_at(word_length(next));
        parts.push(name.to_owned());
        rest = after;
        while let Some(key) = rest.strip_prefix('[') {
            let Some(length) = json_string(key) else { return parts };
            let (text, after) = key.split_at(length);
            parts.extend(serde_json::from_str::<String>(text).ok());
            rest = after.strip_prefix(']').unwrap_or_default();
        }
    }
    parts
}

fn is_condition(word: &str) -> bool {
    let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    word.strip_prefix('c').is_some_and(numbered)
        || matches!(word, "deny_clean" | "approval_clean" | "sanitize_clean")
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
}

fn number(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '.')));
    let length = end.unwrap_or(text.len());
    serde_json::from_str::<serde_json::Number>(text.get(..length)?).ok().map(|_| length)
}

/// How long the JSON string at the beginning of the text is.
fn json_string(text: &str) -> Option<usize> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    strings.next()?.ok()?;
    Some(strings.byte_offset())
}

/// How long the reference at the beginning of the text is: `input`, then one or more `.name`, `["name"]` or `[0]`.
fn reference(text: &str) -> Option<usize> {
    let mut length = "input".len();
    loop {
        let rest = text.get(length..)?;
        let step = if let Some(name) = rest.strip_prefix('.') {
            let name = name.get(..word_length(name))?;
            (!name.is_empty() && !aegis_policy_language::is_keyword(name))
                .then(|| name.len().saturating_add(1))?
        } else if let Some(key) = rest.strip_prefix('[') {
            let inside = if key.starts_with('"') { json_string(key)? } else { number(key)? };
            (key.get(inside..)?.starts_with(']')).then(|| inside.saturating_add(2))?
        } else if length > "input".len() {
            return Some(length);
        } else {
            return None;
        };
        length = length.saturating_add(step);
    }
}

//! Texts that pass some tests and fail others.
//!
//! Not here: which tests a condition holds against a subject (`values`). Invariant: texts that say they are none
//! are none; a finite list is tried member by member, an open one is judged by beginnings, ends and alphabet alone.

use regex::Regex;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look};

use super::Effort;
use aegis_policy_language::Text;

/// One question about a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum TextTest<'c> {
    Equals(&'c str),
    OneOf(&'c [Text]),
    Prefix(&'c str),
    Suffix(&'c str),
    Contains(&'c str),
}

impl TextTest<'_> {
    fn accepts(self, text: &str, effort: &Effort) -> bool {
        match self {
            TextTest::Equals(wanted) => text == wanted,
            TextTest::OneOf(members) => {
                effort.spend(members.len());
                members.iter().any(|member| member.as_str() == text)
            }
            TextTest::Prefix(part) => text.starts_with(part),
            TextTest::Suffix(part) => text.ends_with(part),
            TextTest::Contains(part) => text.contains(part),
        }
    }
}

/// What every text here is known to be, before any condition.
#[derive(Clone, Debug, Default)]
pub(super) struct TextBounds<'s> {
    pub(super) one_of: Option<Vec<&'s str>>,
    pub(super) length_max: Option<usize>,
    pub(super) pattern: Option<Pattern>,
    /// It begins with one of these; none given says nothing.
    pub(super) prefixes: Vec<Vec<u8>>,
}

/// A pattern, and what can be said of its matches without trying them.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    prefixes: Vec<Vec<u8>>,
    /// Every character of a match, when the pattern spans whole texts.
    alphabet: Option<ClassUnicode>,
}

impl Pattern {
    /// `None` for what does not compile, which `pattern::portable` has refused before.
    pub(super) fn of(text: &str) -> Option<Self> {
        let regex = Regex::new(text).ok()?;
        let tree = regex_syntax::parse(text).ok()?;
        let begins = tree.properties().look_set_prefix().contains(Look::Start);
        let ends = tree.properties().look_set_suffix().contains(Look::End);
        let literals = begins.then(|| Extractor::new().extract(&tree));
        let literals = literals.as_ref().and_then(|found| found.literals()).unwrap_or_default();
        let prefixes = literals.iter().map(|literal| literal.as_bytes().to_vec()).collect();
        let alphabet = (begins && ends).then(|| {
            let mut alphabet = ClassUnicode::empty();
            characters(&tree, &mut alphabet).then_some(alphabet)
        });
        Some(Self { regex, prefixes, alphabet: alphabet.flatten() })
    }
}

/// Adds every character that some match may hold; false when that cannot be told.
fn characters(tree: &Hir, alphabet: &mut ClassUnicode) -> bool {
    match tree.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            let Ok(text) = std::str::from_utf8(&literal.0) else { return false };
            text.chars().for_each(|c| alphabet.push(ClassUnicodeRange::new(c, c)));
            true
        }
        HirKind::Class(Class::Unicode(class)) => {
            alphabet.union(class);
            true
        }
        HirKind::Class(Class::Bytes(_)) => false,
        HirKind::Repetition(repetition) => characters(&repetition.sub, alphabet),
        HirKind::Capture(capture) => characters(&capture.sub, alphabet),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().all(|part| characters(part, alphabet))
        }
    }
}

impl TextBounds<'_> {
    fn accepts(&self, text: &str) -> bool {
        let long = self.length_max.is_some_and(|max| text.chars().count() > max);
        let begins = self.prefixes.is_empty()
            || self.prefixes.iter().any(|prefix| text.as_bytes().starts_with(prefix));
        !long && begins && self.pattern.as_ref().is_none_or(|pattern| pattern.regex.is_match(text))
    }

    /// Whether a text with this part in it could be within the bounds.
    fn may_hold(&self, part: &str) -> bool {
        let fits = self.length_max.is_none_or(|max| part.chars().count() <= max);
        let alphabet = self.pattern.as_ref().and_then(|pattern| pattern.alphabet.as_ref());
        let spelled = alphabet.is_none_or(|alphabet| {
            let in_range =
                |c: char, range: &ClassUnicodeRange| (range.start()..=range.end()).contains(&c);
            part.chars().all(|c| alphabet.iter().any(|range| in_range(c, range)))
        });
        fits && spelled
    }

    fn beginnings(&self) -> Vec<&[u8]> {
        let pattern = self.pattern.as_ref().map(|pattern| &pattern.prefixes);
        let known = pattern.filter(|prefixes| !prefixes.is_empty()).unwrap_or(&self.prefixes);
        if known.is_empty() { vec![b""] } else { known.iter().map(Vec::as_slice).collect() }
    }
}

/// The texts within bounds that answer each question as asked.
#[derive(Clone, Debug)]
pub(super) struct Texts<'c> {
    pub(super) bounds: &'c TextBounds<'c>,
    passed: Vec<TextTest<'c>>,
    failed: Vec<TextTest<'c>>,
}

impl<'c> Texts<'c> {
    pub(super) fn within(bounds: &'c TextBounds<'c>) -> Self {
        Self { bounds, passed: Vec::new(), failed: Vec::new() }
    }

    pub(super) fn keep(&mut self, test: TextTest<'c>, passes: bool) {
        if passes { self.passed.push(test) } else { self.failed.push(test) }
    }

    pub(super) fn is_empty(&self, effort: &Effort) -> bool {
        effort.spend(self.passed.len().saturating_add(self.failed.len()));
        match self.candidates() {
            Some(candidates) => {
                effort.spend(candidates.len());
                !candidates.iter().any(|text| self.accepts(text, effort))
            }
            None => self.is_contradiction(),
        }
    }

    /// The shortest list that holds every text left, if there is one.
    fn candidates(&self) -> Option<Vec<&'c str>> {
        let asked = self.passed.iter().filter_map(|test| match test {
            TextTest::Equals(text) => Some(vec![*text]),
            TextTest::OneOf(members) => Some(members.iter().map(Text::as_str).collect()),
            TextTest::Prefix(_) | TextTest::Suffix(_) | TextTest::Contains(_) => None,
        });
        asked.chain(self.bounds.one_of.clone()).min_by_key(Vec::len)
    }

    /// Whether a candidate passes; out of effort, it is taken to.
    fn accepts(&self, text: &str, effort: &Effort) -> bool {
        let declared = self.bounds.one_of.as_deref().unwrap_or_default();
        effort.spend(declared.len().saturating_add(1));
        effort.is_spent()
            || (self.bounds.accepts(text)
                && (self.bounds.one_of.is_none() || declared.contains(&text))
                && self.passed.iter().all(|test| test.accepts(text, effort))
                && !self.failed.iter().any(|test| test.accepts(text, effort)))
    }

    /// Whether beginnings, ends and alphabet of an open set of texts contradict each other.
    fn is_contradiction(&self) -> bool {
        let (mut heads, mut tails, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for test in &self.passed {
            match test {
                TextTest::Prefix(text) => heads.push(*text),
                TextTest::Suffix(text) => tails.push(*text),
                TextTest::Contains(text) => parts.push(*text),
                TextTest::Equals(_) | TextTest::OneOf(_) => {}
            }
        }
        let mut held = heads.iter().chain(&tails).chain(&parts);
        if held.any(|part| !self.bounds.may_hold(part)) {
            return true;
        }
        let Some(tail) = longest(&tails, |long, short| long.ends_with(short)) else { return true };
        let Some(head) = longest(&heads, |long, short| long.starts_with(short)) else {
            return true;
        };
        !self.bounds.beginnings().into_iter().any(|known| {
            let agree = known.starts_with(head.as_bytes()) || head.as_bytes().starts_with(known);
            let head = if known.len() > head.len() { known } else { head.as_bytes() };
            agree && !self.failed.iter().any(|test| is_forced(*test, (head, tail), &parts))
        })
    }
}

/// The longest of several beginnings (or ends) of one text; `None` when they contradict each other.
fn longest<'t>(parts: &[&'t str], holds: impl Fn(&str, &str) -> bool) -> Option<&'t str> {
    let longest = parts.iter().max_by_key(|part| part.len()).copied().unwrap_or_default();
    parts.iter().all(|part| holds(longest, part)).then_some(longest)
}

/// Whether every text with this beginning, this end and these parts passes the test.
fn is_forced(test: TextTest<'_>, (head, tail): (&[u8], &str), parts: &[&str]) -> bool {
    match test {
        TextTest::Prefix(text) => head.starts_with(text.as_bytes()),
        TextTest::Suffix(text) => tail.ends_with(text),
        TextTest::Contains(text) => {
            head.windows(text.len().max(1)).any(|window| window == text.as_bytes())
                || tail.contains(text)
                || parts.iter().any(|part| part.contains(text))
        }
        TextTest::Equals(_) | TextTest::OneOf(_) => false,
    }
}

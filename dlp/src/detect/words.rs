//! The words that make a number or a string suspicious, found in one pass over a text.
//!
//! Not here: what they are near to. Invariant: a word inside a longer word does not count (`adobe` is no `dob`).

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::automaton::Automaton as _;
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind};

use super::secret;
use crate::view::fold;

/// What a field's name, or the words of a text, say about the values beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context(u8);

impl Context {
    pub(crate) const NONE: Context = Context(0);
    /// The text is itself the name of a field, so its words are wanted.
    pub(crate) const NAME: Context = Context(32);
    pub(super) const SSN: Context = Context(1);
    pub(super) const DOB: Context = Context(2);
    pub(super) const CARD: Context = Context(4);
    pub(super) const SECRET: Context = Context(8);
    /// Names of values that look like secrets and are none, such as page tokens.
    pub(super) const HARMLESS: Context = Context(16);

    pub(crate) fn and(self, other: Context) -> Context {
        Context(self.0 | other.0)
    }

    /// What is left of it for fields further inside: `secrets` does not make every name under it one.
    pub(crate) fn inherited(self) -> Context {
        Context(self.0 & (Context::SSN.0 | Context::DOB.0 | Context::CARD.0))
    }

    /// What `name` says about the value beside it.
    pub(crate) fn of_name(name: &str) -> Context {
        Words::read(fold(name).text()).context()
    }

    pub(super) fn says(self, what: Context) -> bool {
        self.0 & what.0 != 0
    }
}

/// Whether a word must end where it ends here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The whole word, or a whole part of a `camelCase` or `snake_case` name.
    Whole,
    /// The beginning of a word: `birth` for `birthday`.
    Start,
}

const WORDS: &[(&str, Context, Form)] = &[
    ("ssn", Context::SSN, Form::Whole),
    ("ssns", Context::SSN, Form::Whole),
    ("s.s.n", Context::SSN, Form::Whole),
    ("ss#", Context::SSN, Form::Whole),
    ("ss no", Context::SSN, Form::Whole),
    ("ss number", Context::SSN, Form::Whole),
    ("ssnumber", Context::SSN, Form::Whole),
    ("soc sec", Context::SSN, Form::Start),
    ("socsec", Context::SSN, Form::Start),
    ("social sec", Context::SSN, Form::Start),
    ("social_sec", Context::SSN, Form::Start),
    ("social-sec", Context::SSN, Form::Start),
    ("socialsec", Context::SSN, Form::Start),
    ("social number", Context::SSN, Form::Whole),
    ("taxpayer", Context::SSN, Form::Start),
    ("sozialversicherung", Context::SSN, Form::Start),
    ("seguro social", Context::SSN, Form::Start),
    ("dob", Context::DOB, Form::Whole),
    ("d.o.b", Context::DOB, Form::Whole),
    ("born", Context::DOB, Form::Whole),
    ("bday", Context::DOB, Form::Whole),
    ("b-day", Context::DOB, Form::Whole),
    ("birth", Context::DOB, Form::Start),
    ("geb.", Context::DOB, Form::Start),
    ("geboren", Context::DOB, Form::Start),
    ("geburt", Context::DOB, Form::Start),
    ("naissance", Context::DOB, Form::Whole),
    ("né le", Context::DOB, Form::Whole),
    ("née le", Context::DOB, Form::Whole),
    ("nacimiento", Context::DOB, Form::Whole),
    ("nascita", Context::DOB, Form::Whole),
    ("card", Context::CARD, Form::Whole),
    ("cards", Context::CARD, Form::Whole),
    ("cardnumber", Context::CARD, Form::Start),
    ("creditcard", Context::CARD, Form::Start),
    ("cc", Context::CARD, Form::Whole),
    ("ccn", Context::CARD, Form::Whole),
    ("ccnum", Context::CARD, Form::Start),
    ("credit", Context::CARD, Form::Start),
    ("debit", Context::CARD, Form::Start),
    ("kreditkarte", Context::CARD, Form::Start),
    ("pan", Context::CARD, Form::Whole),
    ("visa", Context::CARD, Form::Whole),
    ("mastercard", Context::CARD, Form::Start),
    ("maestro", Context::CARD, Form::Start),
    ("amex", Context::CARD, Form::Whole),
    ("secret", Context::SECRET, Form::Start),
    ("token", Context::SECRET, Form::Whole),
    ("passw", Context::SECRET, Form::Start),
    ("passphrase", Context::SECRET, Form::Whole),
    ("pwd", Context::SECRET, Form::Whole),
    ("passwd", Context::SECRET, Form::Whole),
    ("credential", Context::SECRET, Form::Start),
    ("authorization", Context::SECRET, Form::Whole),
    ("authtoken", Context::SECRET, Form::Whole),
    ("accesstoken", Context::SECRET, Form::Whole),
    ("apikey", Context::SECRET, Form::Whole),
    ("api_key", Context::SECRET, Form::Whole),
    ("api-key", Context::SECRET, Form::Whole),
    ("api key", Context::SECRET, Form::Whole),
    ("accesskey", Context::SECRET, Form::Whole),
    ("access_key", Context::SECRET, Form::Whole),
    ("access-key", Context::SECRET, Form::Whole),
    ("accountkey", Context::SECRET, Form::Whole),
    ("account_key", Context::SECRET, Form::Whole),
    ("privatekey", Context::SECRET, Form::Whole),
    ("private_key", Context::SECRET, Form::Whole),
    ("signing_key", Context::SECRET, Form::Whole),
    ("encryption_key", Context::SECRET, Form::Whole),
    ("license_key", Context::SECRET, Form::Whole),
    ("auth_key", Context::SECRET, Form::Whole),
    ("page", Context::HARMLESS, Form::Start),
    ("next", Context::HARMLESS, Form::Whole),
    ("cursor", Context::HARMLESS, Form::Whole),
    ("continuation", Context::HARMLESS, Form::Whole),
    ("sync", Context::HARMLESS, Form::Whole),
    ("idempotency", Context::HARMLESS, Form::Whole),
    ("hash", Context::HARMLESS, Form::Whole),
    ("public", Context::HARMLESS, Form::Whole),
];

/// How far before and after a finding a word may stand.
const BEFORE_MAX: usize = 48;
const AFTER_MAX: usize = 24;

/// The words first, then the keywords of the secret rules.
pub(super) static AUTOMATON: LazyLock<Option<DFA>> = LazyLock::new(|| {
    let words = WORDS.iter().map(|(word, ..)| *word);
    let patterns = words.chain(secret::RULES.iter().flat_map(|rule| rule.keywords).copied());
    let builder =
        DFA::builder().ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(patterns);
    builder.ok()
});

/// For each keyword of the secret rules, in the automaton's order, the rule it belongs to.
static KEYWORD_RULES: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let rules = secret::RULES.iter().enumerate();
    rules.flat_map(|(rule, of)| of.keywords.iter().map(move |_| rule)).collect()
});

/// The words of one text.
pub(super) struct Words {
    near: Vec<(Context, Range<usize>)>,
    /// One bit for each secret rule a keyword of which occurs.
    rules: u128,
    /// What a first line says that is the header of a table: its words speak for every line.
    header: Context,
}

impl Words {
    pub(super) fn read(text: &str) -> Self {
        let mut words = Self::none();
        let Some(automaton) = AUTOMATON.as_ref() else { return words };
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return words };
        // The crate's own iterator costs more than the text of a short field; this is its loop.
        for (at, byte) in text.bytes().enumerate() {
            state = automaton.next_state(Anchored::No, state, byte);
            if automaton.is_special(state) && automaton.is_match(state) {
                for place in 0..automaton.match_len(state) {
                    let pattern = automaton.match_pattern(state, place).as_usize();
                    words.add(text, pattern, at.saturating_add(1));
                }
            }
        }
        if !words.near.is_empty() {
            let header = text.lines().next().filter(|line| line.contains([',', ';', '\t', '|']));
            let end = header.map_or(0, str::len);
            let inside = words.near.iter().take_while(|(_, word)| word.end <= end);
            words.header = inside.fold(Context::NONE, |sum, (context, _)| sum.and(*context));
        }
        words
    }

    /// The words of a text in which none would matter.
    pub(super) fn none() -> Self {
        Self { near: Vec::new(), rules: 0, header: Context::NONE }
    }

    /// Adds the pattern that ends at `end`.
    fn add(&mut self, text: &str, pattern: usize, end: usize) {
        let Some((word, context, form)) = WORDS.get(pattern) else {
            return self.add_rule(pattern.saturating_sub(WORDS.len()));
        };
        let span = end.saturating_sub(word.len())..end;
        if is_word(text, &span, *form) {
            self.near.push((*context, span));
        }
    }

    fn add_rule(&mut self, keyword: usize) {
        if let Some(rule) = KEYWORD_RULES.get(keyword).and_then(|rule| u32::try_from(*rule).ok()) {
            self.rules |= 1u128.checked_shl(rule).unwrap_or(0);
        }
    }

    /// What the text says as the name of a field; a long text is no name.
    pub(super) fn context(&self) -> Context {
        self.near.iter().fold(Context::NONE, |sum, (context, _)| sum.and(*context))
    }

    pub(super) fn has_rule(&self, rule: usize) -> bool {
        u32::try_from(rule).is_ok_and(|rule| self.rules.checked_shr(rule).unwrap_or(0) & 1 == 1)
    }

    pub(super) fn any_rule(&self) -> bool {
        self.rules != 0
    }

    /// Whether a word of that kind stands near `span`.
    pub(super) fn are_near(&self, span: &Range<usize>, what: Context) -> bool {
        let reach = span.start.saturating_sub(BEFORE_MAX)..span.end.saturating_add(AFTER_MAX);
        // Words are in the order of their ends; a text full of both must not cost their product.
        let first = self.near.partition_point(|(_, word)| word.end <= reach.start);
        let close = self.near.get(first..).unwrap_or_default();
        self.header.says(what)
            || close
                .iter()
                .take_while(|(_, word)| word.end < reach.end)
                .any(|(context, _)| context.says(what))
    }
}

fn is_word(text: &str, span: &Range<usize>, form: Form) -> bool {
    let bytes = text.as_bytes();
    let byte = |at: Option<usize>| at.and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
    let (before, first) = (byte(span.start.checked_sub(1)), byte(Some(span.start)));
    let (last, after) = (byte(span.end.checked_sub(1)), byte(Some(span.end)));
    // A hump of a camelCase name starts and ends a word as a blank does.
    let starts = !before.is_ascii_alphabetic()
        || (before.is_ascii_lowercase() && first.is_ascii_uppercase());
    let ends = form == Form::Start
        || !after.is_ascii_alphabetic()
        || (last.is_ascii_lowercase() && after.is_ascii_uppercase());
    starts && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_in_any_naming_style_but_not_inside_other_words() {
        let says = |name: &str, what| Words::read(name).context().says(what);
        for name in ["ssn", "SSN", "patient_ssn", "userSsn", "ssn2", "socialSecurityNumber"] {
            assert!(says(name, Context::SSN), "{name}");
        }
        for name in ["dateOfBirth", "birth_date", "birthDate", "patientDob", "DOB", "Geburtsdatum"]
        {
            assert!(says(name, Context::DOB), "{name}");
        }
        for name in ["adobe", "airborne", "newborn", "stubborn", "dobby"] {
            assert!(!says(name, Context::DOB), "{name}");
        }
        assert!(!says("classname", Context::SSN));
        assert!(!says("company", Context::CARD));
    }

    #[test]
    fn every_secret_rule_has_a_bit() {
        assert!(secret::RULES.len() <= 128);
        assert!(AUTOMATON.is_some());
    }
}

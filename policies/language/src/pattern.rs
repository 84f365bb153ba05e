//! Regular expressions that RE2 (stock OPA) and Rust's `regex` (regorus) read alike.
//!
//! Not here: matching. Invariant: a pattern that comes out has no construct the two disagree on; `\d`, `\w` and
//! `\s`, which Rust reads as Unicode and RE2 as ASCII, have been written out as ASCII classes.

use regex::RegexBuilder;
use regex_syntax::ast::{
    self, Ast, ClassPerl, ClassPerlKind, ClassSetItem, Flag, FlagsItemKind, GroupKind,
    HexLiteralKind, LiteralKind, RepetitionKind, RepetitionRange, Visitor,
};

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error(
        "the pattern is longer than 512 bytes, counting `\\d`, `\\w` and `\\s` as the classes they stand for"
    )]
    TooLong,
    #[error("the pattern holds a back-quote or a control character")]
    Unquotable,
    #[error("not a regular expression: {0}")]
    Syntax(String),
    #[error("{0} means different things to different engines")]
    Unportable(&'static str),
    #[error("the pattern repeats more than 1000 times")]
    Repeats,
    #[error("the pattern compiles to more than 100 KiB")]
    TooLarge,
    #[error("a range of more than 1024 characters in a pattern with `(?i)`")]
    WideFold,
}

const BYTES_MAX: usize = 512;
const REPEATS_MAX: u32 = 1_000;
const FOLDED_MAX: u32 = 1_024;
/// What regorus grants a compiled pattern.
const COMPILED_BYTES_MAX: usize = 100 * 1024;

/// The pattern with its Perl classes written out.
pub(crate) fn portable(pattern: &str) -> Result<String, PatternError> {
    if pattern.len() > BYTES_MAX {
        return Err(PatternError::TooLong);
    }
    if pattern
        .contains(|c: char| c == '`' || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
    {
        return Err(PatternError::Unquotable);
    }
    let tree = ast::parse::ParserBuilder::new()
        .nest_limit(32)
        .build()
        .parse(pattern)
        .map_err(|error| PatternError::Syntax(error.kind().to_string()))?;
    let folds = pattern.contains("(?") && pattern.contains('i');
    let perl = ast::visit(&tree, Portable { folds, ..Portable::default() })?;
    let pattern = written_out(pattern, &perl);
    if pattern.len() > BYTES_MAX {
        return Err(PatternError::TooLong);
    }
    Ok(pattern)
}

/// Whether the engine can hold the compiled pattern. Apart from `portable`, because compiling costs a thousand times as
/// much: `limits` says how many patterns are compiled.
pub(crate) fn compiles(pattern: &str) -> Result<(), PatternError> {
    let built = RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build();
    built.map(|_| ()).map_err(|_| PatternError::TooLarge)
}

/// A Perl class and whether it stands inside brackets.
type PerlClass = (ClassPerl, bool);

/// Walks a pattern, refuses what engines disagree on, collects the Perl classes.
#[derive(Debug, Default)]
struct Portable {
    perl: Vec<PerlClass>,
    /// Some part of the pattern may ignore case.
    folds: bool,
    /// The counted repetitions around the current place; their product is what RE2 bounds.
    repeats: Vec<u32>,
}

impl Visitor for Portable {
    type Output = Vec<PerlClass>;
    type Err = PatternError;

    fn finish(self) -> Result<Self::Output, PatternError> {
        Ok(self.perl)
    }

    fn visit_pre(&mut self, tree: &Ast) -> Result<(), PatternError> {
        match tree {
            Ast::Flags(set) => only_case(&set.flags),
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(flags) => only_case(flags),
                GroupKind::CaptureIndex(_) | GroupKind::CaptureName { .. } => Ok(()),
            },
            Ast::Assertion(assertion) => assertion_is_portable(&assertion.kind),
            Ast::Literal(literal) => literal_is_portable(&literal.kind),
            Ast::ClassUnicode(_) => Err(PatternError::Unportable("a Unicode class (`\\p`)")),
            Ast::ClassPerl(class) => {
                self.perl.push(((**class).clone(), false));
                Ok(())
            }
            Ast::Repetition(repetition) => self.enter_repetition(&repetition.op.kind),
            Ast::ClassBracketed(_)
            | Ast::Empty(_)
            | Ast::Dot(_)
            | Ast::Alternation(_)
            | Ast::Concat(_) => Ok(()),
        }
    }

    fn visit_post(&mut self, tree: &Ast) -> Result<(), PatternError> {
        if matches!(tree, Ast::Repetition(_)) {
            self.repeats.pop();
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), PatternError> {
        match item {
            ClassSetItem::Bracketed(_) => {
                Err(PatternError::Unportable("a bracket inside brackets"))
            }
            ClassSetItem::Unicode(_) => Err(PatternError::Unportable("a Unicode class (`\\p`)")),
            ClassSetItem::Perl(class) if class.negated => {
                Err(PatternError::Unportable("a negated class inside brackets"))
            }
            ClassSetItem::Perl(class) => {
                self.perl.push((class.clone(), true));
                Ok(())
            }
            ClassSetItem::Literal(literal) => literal_is_portable(&literal.kind),
            ClassSetItem::Range(range) => {
                literal_is_portable(&range.start.kind)?;
                literal_is_portable(&range.end.kind)?;
                // Each character of the range is folded by itself: a tenth of a second for all of Unicode.
                let width = u32::from(range.end.c).saturating_sub(u32::from(range.start.c));
                if self.folds && width > FOLDED_MAX { Err(PatternError::WideFold) } else { Ok(()) }
            }
            ClassSetItem::Empty(_) | ClassSetItem::Ascii(_) | ClassSetItem::Union(_) => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        _: &ast::ClassSetBinaryOp,
    ) -> Result<(), PatternError> {
        Err(PatternError::Unportable("a class operator (`&&`, `--`, `~~`)"))
    }
}

impl Portable {
    fn enter_repetition(&mut self, kind: &RepetitionKind) -> Result<(), PatternError> {
        let count = match kind {
            RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
            RepetitionKind::Range(
                RepetitionRange::Exactly(count)
                | RepetitionRange::AtLeast(count)
                | RepetitionRange::Bounded(_, count),
            ) => (*count).max(1),
        };
        self.repeats.push(count);
        let product = self.repeats.iter().try_fold(1_u32, |product, n| product.checked_mul(*n));
        match product {
            Some(product) if product <= REPEATS_MAX => Ok(()),
            Some(_) | None => Err(PatternError::Repeats),
        }
    }
}

/// Case folding is Unicode in both engines; the other flags differ.
fn only_case(flags: &ast::Flags) -> Result<(), PatternError> {
    let folds = |kind: &FlagsItemKind| matches!(kind, FlagsItemKind::Flag(Flag::CaseInsensitive));
    if flags.items.iter().all(|item| folds(&item.kind)) {
        Ok(())
    } else {
        Err(PatternError::Unportable("a flag other than `i`"))
    }
}

fn assertion_is_portable(kind: &ast::AssertionKind) -> Result<(), PatternError> {
    match kind {
        ast::AssertionKind::StartLine
        | ast::AssertionKind::EndLine
        | ast::AssertionKind::StartText
        | ast::AssertionKind::EndText => Ok(()),
        ast::AssertionKind::WordBoundary
        | ast::AssertionKind::NotWordBoundary
        | ast::AssertionKind::WordBoundaryStart
        | ast::AssertionKind::WordBoundaryEnd
        | ast::AssertionKind::WordBoundaryStartAngle
        | ast::AssertionKind::WordBoundaryEndAngle
        | ast::AssertionKind::WordBoundaryStartHalf
        | ast::AssertionKind::WordBoundaryEndHalf => {
            Err(PatternError::Unportable("a word boundary (`\\b`)"))
        }
    }
}

fn literal_is_portable(kind: &LiteralKind) -> Result<(), PatternError> {
    match kind {
        LiteralKind::Verbatim | LiteralKind::Meta | LiteralKind::Special(_) => Ok(()),
        LiteralKind::HexFixed(HexLiteralKind::X) | LiteralKind::HexBrace(HexLiteralKind::X) => {
            Ok(())
        }
        LiteralKind::Superfluous
        | LiteralKind::Octal
        | LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err(PatternError::Unportable("this escape"))
        }
    }
}

fn written_out(pattern: &str, perl: &[PerlClass]) -> String {
    let mut classes: Vec<&PerlClass> = perl.iter().collect();
    classes.sort_by_key(|(class, _)| class.span.start.offset);
    let mut text = String::new();
    let mut done = 0;
    for (class, in_brackets) in classes {
        let members = match class.kind {
            ClassPerlKind::Digit => "0-9",
            ClassPerlKind::Word => "0-9A-Za-z_",
            ClassPerlKind::Space => "\\t\\n\\f\\r ",
        };
        text.push_str(pattern.get(done..class.span.start.offset).unwrap_or_default());
        match (in_brackets, class.negated) {
            (true, _) => text.push_str(members),
            (false, false) => text.push_str(&format!("[{members}]")),
            (false, true) => text.push_str(&format!("[^{members}]")),
        }
        done = class.span.end.offset;
    }
    text.push_str(pattern.get(done..).unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perl_classes_become_ascii() {
        let rewritten = portable(r"^\d+\W[a\w\s]{2}$").unwrap();
        assert_eq!(rewritten, r"^[0-9]+[^0-9A-Za-z_][a0-9A-Za-z_\t\n\f\r ]{2}$");
        assert!(!regex::Regex::new(&portable(r"^\d$").unwrap()).unwrap().is_match("٣"));
    }

    #[test]
    fn plain_patterns_stay_as_they_are() {
        for pattern in ["^acct_[A-Za-z0-9]{8,24}$", "(?i)^usd$", "a|b.c?", r"^\x41[[:alpha:]]\.$"] {
            assert_eq!(portable(pattern).as_deref(), Ok(pattern));
        }
    }

    #[test]
    fn what_engines_disagree_on_is_refused() {
        for pattern in [
            r"a\b", r"\p{L}", "[a&&b]", "[a--b]", "[a[b]]", "(?x)a b", "(?-u:a)", "(?m)^a", r"\<a",
            r"[\D]", r"\u0041",
        ] {
            assert!(matches!(portable(pattern), Err(PatternError::Unportable(_))), "{pattern}");
        }
        for pattern in ["a(?=b)", r"\Qa\E", r"\123", "[[a]", "(", r"\C"] {
            assert!(matches!(portable(pattern), Err(PatternError::Syntax(_))), "{pattern}");
        }
        assert_eq!(portable("a`b"), Err(PatternError::Unquotable));
        assert_eq!(portable("a{1001}"), Err(PatternError::Repeats));
        assert_eq!(portable("((a{20}){20}){20}"), Err(PatternError::Repeats));
        assert_eq!(portable("(?i)[a-\u{10ffff}]"), Err(PatternError::WideFold));
        assert_eq!(compiles("[é-\u{10ffff}]{900}"), Err(PatternError::TooLarge));
        assert_eq!(portable(&"a".repeat(513)), Err(PatternError::TooLong));
        assert_eq!(portable(&r"\w".repeat(60)), Err(PatternError::TooLong));
    }
}

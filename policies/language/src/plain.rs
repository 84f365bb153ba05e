//! What a pattern says, where it says it without needing a regular expression: most of what a decision costs is regex.
//!
//! Not here: which patterns are allowed (`pattern`), the Rego for either (`lower::checks`). Invariant: a text has the
//! plain form exactly when the pattern is found in it; where that is not certain there is no plain form.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::name::Text;

/// The plain form of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainPattern {
    /// The text is one of these; there is at least one.
    OneOf(Vec<Text>),
    Prefix(Text),
    Suffix(Text),
    Contains(Text),
    Run(Run),
}

/// `^prefix[members]{..}suffix$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub prefix: String,
    /// Every character that may stand between, all of them printable ASCII.
    pub members: String,
    pub suffix: String,
    /// The fewest and the most characters of the whole text.
    pub chars_min: u32,
    pub chars_max: Option<u32>,
}

/// The most texts that a pattern is written out as.
const TEXTS_MAX: usize = 64;

/// The plain form of a pattern that `pattern::portable` let through.
pub fn plain_pattern(pattern: &str) -> Option<PlainPattern> {
    let tree = regex_syntax::parse(pattern).ok()?;
    let mut pieces = Vec::new();
    flatten(&tree, &mut pieces);
    let mut middle = pieces.as_slice();
    let starts = is_look(middle.first(), Look::Start);
    if starts {
        middle = middle.get(1..)?;
    }
    let ends = is_look(middle.last(), Look::End);
    if ends {
        middle = middle.split_last()?.1;
    }
    match (starts, ends) {
        (true, true) => written_out(middle).or_else(|| run(middle).map(PlainPattern::Run)),
        (true, false) => literal(without_end(middle)).map(PlainPattern::Prefix),
        (false, true) => literal(without_start(middle)).map(PlainPattern::Suffix),
        (false, false) => literal(without_start(without_end(middle))).map(PlainPattern::Contains),
    }
}

fn flatten<'h>(tree: &'h Hir, pieces: &mut Vec<&'h Hir>) {
    match tree.kind() {
        HirKind::Concat(parts) => parts.iter().for_each(|part| flatten(part, pieces)),
        HirKind::Capture(group) => flatten(&group.sub, pieces),
        HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Alternation(_) => pieces.push(tree),
    }
}

fn is_look(piece: Option<&&Hir>, look: Look) -> bool {
    piece.is_some_and(|piece| matches!(piece.kind(), HirKind::Look(found) if *found == look))
}

/// A search is content with nothing where nothing will do, so such a piece at an open end says nothing.
fn says_nothing(piece: &Hir) -> bool {
    piece.properties().minimum_len() == Some(0) && piece.properties().look_set().is_empty()
}

fn without_end<'p, 'h>(mut pieces: &'p [&'h Hir]) -> &'p [&'h Hir] {
    while let Some((last, rest)) = pieces.split_last()
        && says_nothing(last)
    {
        pieces = rest;
    }
    pieces
}

fn without_start<'p, 'h>(mut pieces: &'p [&'h Hir]) -> &'p [&'h Hir] {
    while let Some((first, rest)) = pieces.split_first()
        && says_nothing(first)
    {
        pieces = rest;
    }
    pieces
}

/// The one text that the pieces are, if they are literals throughout.
fn literal(pieces: &[&Hir]) -> Option<Text> {
    let texts: Option<String> = pieces.iter().map(|piece| literal_piece(piece)).collect();
    texts?.parse().ok()
}

fn literal_piece(piece: &Hir) -> Option<&str> {
    match piece.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        HirKind::Empty
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Capture(_)
        | HirKind::Concat(_)
        | HirKind::Alternation(_) => None,
    }
}

/// Every text that the pieces can be, if there are few.
fn written_out(pieces: &[&Hir]) -> Option<PlainPattern> {
    let texts = pieces
        .iter()
        .try_fold(vec![String::new()], |before, piece| product(&before, &texts_of(piece)?))?;
    let mut texts: Vec<Text> = texts.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
    texts.sort();
    texts.dedup();
    (!texts.is_empty()).then_some(PlainPattern::OneOf(texts))
}

fn product(before: &[String], after: &[String]) -> Option<Vec<String>> {
    let few = before.len().checked_mul(after.len()).is_some_and(|count| count <= TEXTS_MAX);
    let joined = before.iter().flat_map(|one| after.iter().map(move |two| format!("{one}{two}")));
    few.then(|| joined.collect())
}

fn texts_of(piece: &Hir) -> Option<Vec<String>> {
    match piece.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(_) => literal_piece(piece).map(|text| vec![text.to_owned()]),
        HirKind::Class(class) => {
            members(class).map(|members| members.chars().map(String::from).collect())
        }
        HirKind::Look(_) => None,
        HirKind::Capture(group) => texts_of(&group.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .try_fold(vec![String::new()], |before, part| product(&before, &texts_of(part)?)),
        HirKind::Alternation(parts) => {
            let texts: Option<Vec<Vec<String>>> = parts.iter().map(texts_of).collect();
            texts.map(|texts| texts.concat()).filter(|texts| texts.len() <= TEXTS_MAX)
        }
        HirKind::Repetition(repetition) => {
            let sub = texts_of(&repetition.sub)?;
            let (mut texts, mut power) = (Vec::new(), vec![String::new()]);
            for count in 0..=repetition.max? {
                if count >= repetition.min {
                    texts.extend_from_slice(&power);
                }
                if texts.len() > TEXTS_MAX {
                    return None;
                }
                if count < repetition.max? {
                    power = product(&power, &sub)?;
                }
            }
            Some(texts)
        }
    }
}

/// The characters of a class, if they are few.
fn members(class: &Class) -> Option<String> {
    const CHARS_MAX: u32 = 128;
    let Class::Unicode(class) = class else { return None };
    let mut members = String::new();
    for range in class.ranges() {
        let size = u32::from(range.end()).checked_sub(u32::from(range.start()))?;
        if size > CHARS_MAX {
            return None;
        }
        members.extend(range.start()..=range.end());
    }
    Some(members)
}

/// Literals, then characters of one class, then literals.
fn run(pieces: &[&Hir]) -> Option<Run> {
    let is_literal = |piece: &&Hir| literal_piece(piece).is_some();
    let begins = pieces.iter().take_while(|piece| is_literal(piece)).count();
    let ends = pieces.iter().rev().take_while(|piece| is_literal(piece)).count();
    let middle = pieces.get(begins..pieces.len().checked_sub(ends)?)?;
    let join = |pieces: &[&Hir]| -> Option<String> {
        pieces.iter().map(|piece| literal_piece(piece)).collect()
    };
    let prefix = join(pieces.get(..begins)?)?;
    let suffix = join(pieces.get(pieces.len().checked_sub(ends)?..)?)?;
    let fixed = u32::try_from(prefix.chars().count().checked_add(suffix.chars().count())?).ok()?;
    let mut found: Option<Run> = None;
    for piece in middle {
        let (members, min, max) = repeated(piece)?;
        let run = found.get_or_insert_with(|| Run {
            prefix: prefix.clone(),
            members: members.clone(),
            suffix: suffix.clone(),
            chars_min: fixed,
            chars_max: Some(fixed),
        });
        if run.members != members {
            return None;
        }
        run.chars_min = run.chars_min.checked_add(min)?;
        run.chars_max = run.chars_max.zip(max).and_then(|(all, more)| all.checked_add(more));
    }
    found.filter(|run| run.prefix.bytes().chain(run.suffix.bytes()).all(is_printable))
}

/// The class that a piece repeats, and how often.
fn repeated(piece: &Hir) -> Option<(String, u32, Option<u32>)> {
    let (class, min, max) = match piece.kind() {
        HirKind::Class(class) => (class, 1, Some(1)),
        HirKind::Repetition(repetition) => match repetition.sub.kind() {
            HirKind::Class(class) => (class, repetition.min, repetition.max),
            _ => return None,
        },
        _ => return None,
    };
    let members = members(class)?;
    (!members.is_empty() && members.bytes().all(is_printable)).then_some((members, min, max))
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pattern: &str) -> String {
        match plain_pattern(pattern) {
            None => "regex".to_owned(),
            Some(PlainPattern::OneOf(texts)) => {
                texts.iter().map(Text::as_str).collect::<Vec<_>>().join("|")
            }
            Some(PlainPattern::Prefix(text)) => format!("{text}.."),
            Some(PlainPattern::Suffix(text)) => format!("..{text}"),
            Some(PlainPattern::Contains(text)) => format!("..{text}.."),
            Some(PlainPattern::Run(run)) => format!(
                "{}+{}+{} {}..{}",
                run.prefix,
                run.members,
                run.suffix,
                run.chars_min,
                run.chars_max.map(|max| max.to_string()).unwrap_or_default()
            ),
        }
    }

    #[test]
    fn simple_patterns_have_a_plain_form() {
        for (pattern, expected) in [
            ("^acct_XX", "acct_XX.."),
            ("^acct_XX.*", "acct_XX.."),
            (r"\.pdf$", "...pdf"),
            (r"^(?:.*)(\.pdf)$", "regex"),
            ("secret", "..secret.."),
            ("a*secret(b|c)?", "..secret.."),
            ("^USD$", "USD"),
            ("^(USD|EUR|GBP)$", "EUR|GBP|USD"),
            ("^(foo|foobar)$", "foo|foobar"),
            ("^v[12]x?$", "v1|v1x|v2|v2x"),
            ("^[0-9]{6,12}$", "+0123456789+ 6..12"),
            ("^po_[ab]{8}[ab]*$", "po_+ab+ 11.."),
            (r"^x[0-3]{9}\.pdf$", "x+0123+.pdf 14..14"),
        ] {
            assert_eq!(shown(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_not_certain_stays_a_regular_expression() {
        for pattern in [
            "^",
            "",
            "a*",
            "^a|b$",
            "^a$|^b$",
            "a|b",
            "^.+$",
            "^[^a]{2}$",
            "^[A-Z][0-9]{3}$",
            "^a+b+$",
            "^[é-ü]{9}$",
            r"^[\x00-\x1f]{9}$",
            "^(ab){20,40}x*$",
            "x^y",
            "^(?i)k{9}$",
        ] {
            assert_eq!(shown(pattern), "regex", "{pattern}");
        }
    }
}

//! No text hurts the reader of policies: it never panics, says where, and does not say too much.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "fixtures stand outside test functions"
)]

use aegis_document::{DIAGNOSTICS_MAX, Diagnostics, Document};
use aegis_policy_language::PolicySet;
use aegis_policy_review::{diff, lint};
use proptest::prelude::*;

const PACKS: [&str; 2] =
    [include_str!("../../packs/demo.yaml"), include_str!("../../cases/four-domains.yaml")];

/// One way to spoil a text; the numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Spoil {
    Splice(usize, usize, Vec<u8>),
    DropLine(usize),
    RepeatLine(usize),
    SwapLines(usize, usize),
    SwapTokens(usize, usize),
    Indent(usize, usize),
    Truncate(usize),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let n = any::<usize>;
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        prop::sample::select(vec![
            "$x",
            "*a",
            "&a ",
            "!t ",
            "{",
            "}",
            "[",
            "]",
            ": ",
            "- ",
            "\n",
            "\"",
            "'",
            "#",
            "|\n",
            "null",
            "-1",
            "1e999",
            "99999999999999999999",
            "0x1",
            "always",
            "(?i)",
            "\\",
            "\u{2028}",
            "\u{0}",
            "é",
            "..",
            "*",
            "\t",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop_oneof![
        4 => (n(), 0..12_usize, piece).prop_map(|(at, length, with)| Spoil::Splice(at, length, with)),
        1 => n().prop_map(Spoil::DropLine),
        1 => n().prop_map(Spoil::RepeatLine),
        1 => (n(), n()).prop_map(|(a, b)| Spoil::SwapLines(a, b)),
        3 => (n(), n()).prop_map(|(a, b)| Spoil::SwapTokens(a, b)),
        1 => (n(), 0..9_usize).prop_map(|(line, by)| Spoil::Indent(line, by)),
        1 => n().prop_map(Spoil::Truncate),
    ]
}

fn spoiled(text: String, spoil: &Spoil) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = |n: &usize| n % text.lines().count().max(1);
    match spoil {
        Spoil::Splice(at, length, with) => {
            let mut bytes = text.into_bytes();
            let at = at % (bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, with.iter().copied());
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Spoil::SwapTokens(a, b) => return swapped_tokens(&text, *a, *b),
        Spoil::Truncate(at) => return text.chars().take(at % (text.len() + 1)).collect(),
        _ if lines.is_empty() => return text,
        Spoil::DropLine(n) => drop(lines.remove(line(n))),
        Spoil::RepeatLine(n) => lines.insert(line(n), lines[line(n)].clone()),
        Spoil::SwapLines(a, b) => lines.swap(line(a), line(b)),
        Spoil::Indent(n, by) => {
            let n = line(n);
            lines[n] = format!("{}{}", " ".repeat(*by), lines[n].trim_start());
        }
    }
    lines.join("\n") + "\n"
}

/// Two words change places; what stands between words stays.
fn swapped_tokens(text: &str, a: usize, b: usize) -> String {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '/');
    let mut tokens: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars() {
        if last != Some(is_word(c)) || !is_word(c) {
            tokens.push(String::new());
        }
        last = Some(is_word(c));
        tokens.last_mut().unwrap().push(c);
    }
    let words: Vec<usize> = (0..tokens.len()).filter(|n| tokens[*n].chars().all(is_word)).collect();
    if !words.is_empty() {
        tokens.swap(words[a % words.len()], words[b % words.len()]);
    }
    tokens.concat()
}

fn text() -> impl Strategy<Value = String> {
    let pack = prop::sample::select(PACKS.to_vec());
    (pack, prop::collection::vec(spoil(), 1..5))
        .prop_map(|(pack, spoils)| spoils.iter().fold(pack.to_owned(), spoiled))
}

/// Every finding stands in the text, and there are at most so many.
fn are_in_order(found: &Diagnostics, text: &str) -> Result<(), TestCaseError> {
    prop_assert!(!found.is_empty() && found.len() <= DIAGNOSTICS_MAX);
    // Only these end a line (YAML 1.2.2 §5.4); the end of the text is a place too.
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(['\n', '\r']).collect();
    for diagnostic in found.iter() {
        let (line, column) = (diagnostic.line as usize, diagnostic.column as usize);
        prop_assert!((1..=lines.len() + 1).contains(&line), "{diagnostic}");
        let length = lines.get(line - 1).map_or(0, |line| line.chars().count());
        prop_assert!((1..=length + 2).contains(&column), "{diagnostic} in a line of {length}");
        prop_assert!(diagnostic.message.len() < 1_000, "{diagnostic}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spoiled_policy_is_read_or_refused_with_a_place(text in text()) {
        match Document::parse("p", &text).and_then(|document| PolicySet::parse(&[document])) {
            Err(found) => are_in_order(&found, &text)?,
            Ok(set) => {
                for finding in lint::findings(&set).iter() {
                    prop_assert!(finding.at.position.line as usize <= text.lines().count());
                    prop_assert!(!finding.help.is_empty());
                }
                prop_assert_eq!(diff::between(&set, &set), []);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_with_a_place(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(found) = Document::parse("p", &text).and_then(|document| PolicySet::parse(&[document])) {
            are_in_order(&found, &text)?;
        }
    }
}

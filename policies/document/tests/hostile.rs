//! What no text can do to the reader: take more than linear work, or say more than a person reads.
//!
//! Work is counted in allocations, not in time, so that the test means the same on any machine.

use aegis_document::{
    BYTES_MAX, DEPTH_MAX, DIAGNOSTICS_MAX, Diagnostics, Document, Node, Problems,
};

fn read(text: &str) -> Result<Vec<u64>, Diagnostics> {
    Document::parse("f.yaml", text)?.decode(|root, problems| root.list(problems, number))
}

fn number(node: &Node, problems: &mut Problems) -> Option<u64> {
    node.integer(problems, 0..=9)
}

type Kind = (&'static str, fn(usize) -> String);

const KINDS: [Kind; 16] = [
    ("many keys", |n| (0..n / 8).map(|i| format!("k{i}: 1\n")).collect()),
    ("one key again and again", |n| "k: 1\n".repeat(n / 5)),
    ("a long list", |n| format!("[{}]", "a,".repeat(n / 2))),
    ("many empty lists", |n| format!("[{}]", "[],".repeat(n / 3))),
    ("lists in lists", |n| "[".repeat(n)),
    ("mappings in mappings", |n| "{a: ".repeat(n / 4)),
    ("dashes", |n| "- ".repeat(n / 2)),
    ("question marks", |n| "? ".repeat(n / 2)),
    ("one long line", |n| "a ".repeat(n / 2)),
    ("one long text in quotes", |n| format!("\"{}\"", "\n".repeat(n))),
    ("a key as long as the text", |n| format!("{}: 1", "a".repeat(n))),
    ("pairs in a list", |n| format!("[{}]", "a: b, ".repeat(n / 6))),
    ("anchors", |n| format!("[{}]", (0..n / 10).map(|i| format!("&a{i} b,")).collect::<String>())),
    ("aliases", |n| format!("[&a b, {}]", "*a,".repeat(n / 3))),
    ("tags", |n| format!("[{}]", "!t b,".repeat(n / 5))),
    ("colons", |n| ":".repeat(n)),
];

#[test]
fn twice_the_text_is_twice_the_work() {
    for (name, text) in KINDS {
        let work = |bytes: usize| {
            let text = text(bytes);
            allocation_counter::measure(|| drop(read(&text))).count_total
        };
        let (half, whole) = (work(BYTES_MAX / 8), work(BYTES_MAX / 4));
        assert!(whole <= half * 5 / 2 + 1_000, "{name}: {half}, then {whole}");
    }
}

#[test]
fn a_hundred_problems_are_shown_and_the_others_counted() {
    assert_eq!(DIAGNOSTICS_MAX, 100);
    for (wrong, omitted) in [(100, 0), (101, 1), (50_000, 49_900)] {
        let found = read(&format!("[{}]", "x, ".repeat(wrong))).unwrap_err();
        assert_eq!((found.len(), found.omitted()), (DIAGNOSTICS_MAX, omitted));
        let last = found.to_string();
        let last = last.lines().last().unwrap();
        assert_eq!(last == format!("and {omitted} more"), omitted > 0, "{last}");
    }
}

#[test]
fn a_problem_never_repeats_more_of_the_text_than_fits_a_line() {
    let long = "a".repeat(200_000);
    for text in [
        format!("{{{long}: 1, {long}: 2}}"),
        format!("[{long}]"),
        format!("[1{}]", "0".repeat(9_999)),
    ] {
        let found = read(&text).unwrap_err();
        assert!(found.to_string().len() < 400, "{}", found.to_string().len());
    }
}

#[test]
fn the_last_byte_and_the_last_level_allowed_are_allowed() {
    let of = |bytes: usize| format!("\"{}\"", "a".repeat(bytes - 2));
    assert!(Document::parse("f", &of(BYTES_MAX)).is_ok());
    assert!(Document::parse("f", &of(BYTES_MAX + 1)).is_err());
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(Document::parse("f", &nested(DEPTH_MAX)).is_ok());
    let found = Document::parse("f", &nested(DEPTH_MAX + 1)).unwrap_err();
    assert_eq!(found.to_string(), format!("f:1:{}: nested deeper than 64 levels", DEPTH_MAX + 1));
}

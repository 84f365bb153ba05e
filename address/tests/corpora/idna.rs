//! The conformance data of UTS #46 and punycode: where we accept a name, it is the A-label the standard gives.
//!
//! Not here: URLs around a name (`wpt`). Invariant: a name the standard calls invalid is refused.

use aegis_address::parse_host;
use serde_json::Value;

use crate::corpus;

/// One line of `IdnaTestV2.txt`, with the columns that stand for an earlier one filled in.
struct Line {
    source: String,
    ascii: String,
    status: String,
}

fn parse(line: &str) -> Option<Line> {
    let data = line.split('#').next()?.trim();
    let columns: Vec<&str> = data.split(';').map(str::trim).collect();
    let &[source, unicode, unicode_status, ascii, ascii_status, ..] = columns.as_slice() else {
        return None;
    };
    let or =
        |column: String, other: &str| if column.is_empty() { other.to_owned() } else { column };
    let source = unescape(source)?;
    let unicode = or(unescape(unicode)?, &source);
    let ascii = or(unescape(ascii)?, &unicode);
    let status = or(ascii_status.to_owned(), unicode_status);
    Some(Line { source: source.replace("\"\"", ""), ascii: ascii.replace("\"\"", ""), status })
}

/// `\uXXXX` and `\x{XXXX}`; `None` for an unpaired surrogate, which no text of ours can hold.
fn unescape(column: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = column;
    while let Some((before, escape)) = rest.split_once('\\') {
        out.push_str(before);
        let (digits, after) = match escape.strip_prefix("x{") {
            Some(braced) => braced.split_once('}')?,
            None => escape.strip_prefix('u')?.split_at_checked(4)?,
        };
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = after;
    }
    Some(out + rest)
}

/// What the data may object to and we accept: `--` in the third place (CDN nodes) and `_`, both in plain ASCII, and
/// characters that Unicode 18 assigns (Seal), which the data of Unicode 17 calls unassigned.
fn is_excused(line: &Line) -> bool {
    let status = line.status.trim_matches(['[', ']']);
    let (meant, _) = ::idna::domain_to_unicode(&line.source);
    let is_newer = meant.chars().any(|c| matches!(c, '\u{3d000}'..='\u{3fc3f}'));
    let is_plain = |label: &str| !label.starts_with("xn--") && label.contains(['-', '_']);
    status.split(',').all(|code| match code.trim() {
        "" => true,
        "V2" | "U1" => line.ascii.split('.').any(is_plain),
        "V7" => is_newer,
        _ => false,
    })
}

#[test]
fn where_a_name_is_accepted_it_is_the_a_label_of_the_standard() {
    let Some(data) = corpus("url-wpt/IdnaTestV2.txt") else { return };
    let lines = data.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut total, mut equal, mut excused, mut refused) = (0, 0, 0, 0);
    let (mut valid, mut unpaired) = (0, 0);
    let mut disagreements = Vec::new();
    for line in lines {
        total += 1;
        let Some(case) = parse(line) else {
            unpaired += 1;
            continue;
        };
        valid += usize::from(matches!(case.status.as_str(), "" | "[]"));
        match parse_host(&case.source) {
            Err(_) => refused += 1,
            Ok(host) if host.as_str() != case.ascii || !is_excused(&case) => {
                disagreements
                    .push(format!("{:?}: {host}, {} {}", case.source, case.ascii, case.status));
            }
            Ok(_) if case.status.len() > 2 => excused += 1,
            Ok(_) => equal += 1,
        }
    }
    println!(
        "idna: {total} lines: {equal} equal, {refused} refused, {excused} accepted with hyphens, `_` or newer letters, {unpaired} no \
         text; {} disagreements; {valid} are valid names",
        disagreements.len()
    );
    assert_eq!(disagreements, Vec::<String>::new());
    assert!(total >= 6_391 && equal >= 300, "{equal} of {total}");
}

#[test]
fn punycode_is_read_as_the_standard_reads_it() {
    let mut pairs = Vec::new();
    for (file, is_bad) in [("punycode_tests", false), ("bad_punycode_tests", true)] {
        let Some(data) = corpus(&format!("url-wpt/{file}.json")) else { return };
        let cases: Vec<Value> = serde_json::from_str(&data).unwrap();
        for case in cases {
            let field = |key: &str| case.get(key).and_then(Value::as_str).map(str::to_owned);
            pairs.push((field("decoded"), field("encoded"), is_bad));
        }
    }
    let (mut equal, mut refused) = (0, 0);
    for (decoded, encoded, is_bad) in &pairs {
        let a_label = encoded.as_ref().map(|encoded| format!("xn--{encoded}").to_lowercase());
        for text in [decoded, &a_label].into_iter().flatten() {
            let Ok(host) = parse_host(text) else {
                refused += 1;
                continue;
            };
            assert!(!is_bad, "{text}");
            let is_plain = text.is_ascii() && host.as_str() == text.to_lowercase();
            assert!(is_plain || Some(host.as_str()) == a_label.as_deref(), "{text}: {host}");
            equal += 1;
        }
    }
    println!("punycode: {} pairs: {equal} readings equal, {refused} refused", pairs.len());
    assert!(pairs.len() >= 26 && equal >= 5);
}

//! Payment card numbers.
//!
//! Invariant: issuer range, length, Luhn sum and clear edges all hold; the rarer issuers and lengths also need a
//! word beside them, because one random number in ten has a good Luhn sum.

use std::ops::Range;

use super::digits::{Edge, edge, separator};
use super::words::{Context, Words};

/// The longest card number (ISO/IEC 7812-1), and the most groups it is written in.
const DIGITS_MAX: usize = 19;

/// First and last issuer number of a range, all with as many digits; the lengths; and whether a word is needed.
struct Issuer(u32, u32, &'static [usize], Proof);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Number,
    Word,
}

const ISSUERS: &[Issuer] = &[
    // Visa
    Issuer(4, 4, &[16], Proof::Number),
    Issuer(4, 4, &[13, 19], Proof::Word),
    // Mastercard
    Issuer(51, 55, &[16], Proof::Number),
    Issuer(2221, 2720, &[16], Proof::Number),
    // American Express
    Issuer(34, 34, &[15], Proof::Number),
    Issuer(37, 37, &[15], Proof::Number),
    // Discover
    Issuer(6011, 6011, &[16], Proof::Number),
    Issuer(644, 659, &[16], Proof::Number),
    Issuer(6011, 6011, &[17, 18, 19], Proof::Word),
    Issuer(644, 659, &[17, 18, 19], Proof::Word),
    // JCB, and its old numbers of 15 digits
    Issuer(3528, 3589, &[16], Proof::Number),
    Issuer(35, 35, &[16, 17, 18, 19], Proof::Word),
    Issuer(2131, 2131, &[15], Proof::Word),
    Issuer(1800, 1800, &[15], Proof::Word),
    // Diners Club
    Issuer(300, 305, &[14], Proof::Number),
    Issuer(309, 309, &[14], Proof::Number),
    Issuer(36, 36, &[14], Proof::Number),
    Issuer(38, 39, &[14], Proof::Number),
    Issuer(36, 36, &[15, 16, 17, 18, 19], Proof::Word),
    Issuer(38, 39, &[16, 17, 18, 19], Proof::Word),
    // UnionPay
    Issuer(62, 62, &[16], Proof::Number),
    Issuer(62, 62, &[17, 18, 19], Proof::Word),
    // Maestro
    Issuer(50, 50, &[12, 13, 14, 15, 16, 17, 18, 19], Proof::Word),
    Issuer(56, 58, &[12, 13, 14, 15, 16, 17, 18, 19], Proof::Word),
    Issuer(60, 69, &[12, 13, 14, 15, 16, 17, 18, 19], Proof::Word),
];

pub(super) fn find(
    text: &str,
    groups: &[Range<usize>],
    words: &Words,
    field: Context,
) -> Vec<Range<usize>> {
    let is_told =
        |span: &Range<usize>| field.says(Context::CARD) || words.are_near(span, Context::CARD);
    let mut found: Vec<Range<usize>> = Vec::new();
    for (first, group) in groups.iter().enumerate() {
        if found.last().is_some_and(|last| group.start < last.end) {
            continue;
        }
        let rest = groups.get(first..).unwrap_or_default();
        let longest_first = chain(text, rest).into_iter().rev();
        found.extend(longest_first.map(|chained| (chained, rest)).find_map(|(count, rest)| {
            let written = rest.get(..count)?;
            let span = group.start..written.last()?.end;
            let is_told = is_told(&span);
            // The sums come last: in a table of numbers every cell may start a card.
            if !(is_told || is_usual(written)) || edge(text, &span) == Edge::Digit {
                return None;
            }
            let proof = proof(text, written)?;
            (is_told || proof == Proof::Number).then_some(span)
        }));
    }
    found
}

/// How many groups from the first on may be one number: joined by the same blank or dash, 12 to 19 digits.
fn chain(text: &str, groups: &[Range<usize>]) -> Vec<usize> {
    let (mut counts, mut digits, mut joint) = (Vec::new(), 0usize, None);
    for (at, group) in groups.iter().enumerate() {
        if let Some(before) = at.checked_sub(1).and_then(|before| groups.get(before)) {
            let between = separator(text, before, group).filter(|byte| b" -".contains(byte));
            if between.is_none() || (joint.is_some() && joint != between) {
                break;
            }
            joint = between;
        }
        digits = digits.saturating_add(group.len());
        if digits > DIGITS_MAX {
            break;
        }
        if digits >= 12 {
            counts.push(at.saturating_add(1));
        }
    }
    counts
}

/// The ways cards print their numbers; other groupings need a word beside them.
fn is_usual(groups: &[Range<usize>]) -> bool {
    match groups {
        [_] => true,
        [a, b, c] if (a.len(), b.len()) == (4, 6) => matches!(c.len(), 4 | 5),
        [first @ .., last] => {
            first.iter().all(|group| group.len() == 4) && (1..=4).contains(&last.len())
        }
        [] => false,
    }
}

/// What makes the digits of these groups a card number, if they are one.
fn proof(text: &str, groups: &[Range<usize>]) -> Option<Proof> {
    let mut digits = Vec::with_capacity(DIGITS_MAX);
    for group in groups {
        digits.extend(text.get(group.clone())?.bytes().map(|byte| u32::from(byte - b'0')));
    }
    let is_issued = |issuer: &&Issuer| {
        let width = issuer.0.ilog10() + 1;
        let start = digits.iter().zip(0..width).fold(0, |number, (digit, _)| number * 10 + digit);
        (issuer.0..=issuer.1).contains(&start) && issuer.2.contains(&digits.len())
    };
    let issuer = ISSUERS.iter().find(is_issued)?;
    (luhn(&digits) && digits.iter().any(|digit| Some(digit) != digits.first())).then_some(issuer.3)
}

/// ISO/IEC 7812-1 annex B.
fn luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 1 { doubled(*digit) } else { *digit })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use aegis_domain::Detector::Card;

    use super::super::found;

    #[test]
    fn the_published_test_numbers_of_each_issuer_are_found() {
        for number in [
            "4111111111111111",
            "4242 4242 4242 4242",
            "5555-5555-5555-4444",
            "2223003122003222",
            "378282246310005",
            "3782 822463 10005",
            "6011111111111117",
            "3530111333300000",
            "30569309025904",
            "6205500000000000004 card",
            "card 6304000000000000",
            "visa 4222222222222",
        ] {
            let text = format!("pay {number}, please");
            assert_eq!(found(&text, Card).len(), 1, "{number}");
        }
    }

    #[test]
    fn a_wrong_sum_a_strange_issuer_or_a_longer_number_is_no_card() {
        for text in [
            "4111111111111112",
            "9111111111111111",
            "0.4111111111111111",
            "14111111111111111111",
            "1699999999999999999",
            "4222222222222",
            "6304000000000000",
            "20240101120000",
            "0000000000000000",
        ] {
            assert_eq!(found(text, Card).len(), 0, "{text}");
        }
    }

    #[test]
    fn the_code_behind_a_card_does_not_hide_it() {
        assert_eq!(found("4111 1111 1111 1111 123", Card), ["4111 1111 1111 1111"]);
        assert_eq!(found("12 4111 1111 1111 1111", Card), ["4111 1111 1111 1111"]);
    }
}

//! US social security numbers.
//!
//! Invariant: a number that the Social Security Administration cannot have issued is never one, and nine bare
//! digits are one only where a word or field name says so.

use std::ops::Range;

use super::digits::{Edge, edge, separator};
use super::words::{Context, Words};

pub(super) fn find(
    text: &str,
    groups: &[Range<usize>],
    words: &Words,
    field: Context,
) -> Vec<Range<usize>> {
    let is_told =
        |span: &Range<usize>| field.says(Context::SSN) || words.are_near(span, Context::SSN);
    let bare = groups.iter().filter(|group| group.len() == 9).filter_map(|group| {
        let digits = text.get(group.clone())?;
        let parts = (digits.get(..3)?, digits.get(3..5)?, digits.get(5..)?);
        let is_clear = edge(text, group) < Edge::Digit;
        (is_clear && was_issued(parts) && is_told(group)).then(|| group.clone())
    });
    let grouped = groups.windows(3).filter_map(|three| {
        let [area, group, serial] = three else { return None };
        if (area.len(), group.len(), serial.len()) != (3, 2, 4) {
            return None;
        }
        let first = separator(text, area, group)?;
        let second = separator(text, group, serial)?;
        let parts = (text.get(area.clone())?, text.get(group.clone())?, text.get(serial.clone())?);
        let span = area.start..serial.end;
        let edge = edge(text, &span);
        // `200 45 1234` is as often a line of a log; dashes are what people write.
        let stands_alone = span.len() == text.trim_ascii().len();
        let is_plain = match (first, second) {
            (b'-', b'-') => edge == Edge::Clear,
            (b' ', b' ') => stands_alone,
            _ => false,
        };
        let is_separated = [first, second].iter().all(|byte| b"- ._/".contains(byte));
        let is_ssn = is_plain || (is_separated && edge < Edge::Digit && is_told(&span));
        (is_ssn && was_issued(parts)).then_some(span)
    });
    bare.chain(grouped).collect()
}

/// SSA, "SSN randomization": no area 000, 666 or 900 to 999, no group 00, no serial 0000.
fn was_issued((area, group, serial): (&str, &str, &str)) -> bool {
    area != "000" && area != "666" && !area.starts_with('9') && group != "00" && serial != "0000"
}

#[cfg(test)]
mod tests {
    use aegis_domain::Detector::Ssn;

    use super::super::found;

    #[test]
    fn dashed_numbers_are_found_wherever_they_stand() {
        for text in ["460-89-9847", "is 460-89-9847.", "(460-89-9847)", "id=460-89-9847;"] {
            assert_eq!(found(text, Ssn), ["460-89-9847"], "{text}");
        }
        assert_eq!(found("460 89 9847", Ssn), ["460 89 9847"]);
    }

    #[test]
    fn numbers_that_were_never_issued_are_left_alone() {
        for text in ["000-12-3456", "666-12-3456", "912-34-5678", "123-00-4567", "123-45-0000"] {
            assert_eq!(found(text, Ssn).len(), 0, "{text}");
        }
    }

    #[test]
    fn parts_of_longer_numbers_are_left_alone() {
        for text in
            ["1460-89-9847", "460-89-98471", "1-460-89-9847", "460-89-9847-1", "a460-89-9847"]
        {
            assert_eq!(found(text, Ssn).len(), 0, "{text}");
        }
        assert_eq!(found("GET /x 200 45 1234 ms", Ssn).len(), 0);
    }

    #[test]
    fn bare_digits_need_a_word_beside_them() {
        assert_eq!(found("order 460899847", Ssn).len(), 0);
        assert_eq!(found("SSN: 460899847", Ssn), ["460899847"]);
        assert_eq!(found("ssn460-89-9847", Ssn), ["460-89-9847"]);
        assert_eq!(found("Social Security number 460.89.9847", Ssn), ["460.89.9847"]);
        assert_eq!(found("460899847 (social security)", Ssn), ["460899847"]);
    }

    #[test]
    fn a_table_header_speaks_for_its_lines() {
        let table = format!("name,ssn\n{}Jo,460899847\n", "Al,none of his own\n".repeat(20));
        assert_eq!(found(&table, Ssn), ["460899847"]);
    }
}

//! Dates of birth: dates with a word or field name beside them that says so.
//!
//! Not here: which words (`words`). Invariant: only days that the calendar has, from 1900 to 2100, are findings.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::digits::{Edge, edge};
use super::words::{Context, Words};

/// The ways a date is written; the named groups are its parts, `a` and `b` day and month in either order.
const FORMS: &[&str] = &[
    r"(?P<y>[0-9]{4})[-/.](?P<m>[0-9]{1,2})[-/.](?P<d>[0-9]{1,2})",
    r"(?P<a>[0-9]{1,2})[-/.] ?(?P<b>[0-9]{1,2})[-/.] ?(?P<y>[0-9]{4})",
    r"(?P<a>[0-9]{1,2})[-/.](?P<b>[0-9]{1,2})[-/.](?P<yy>[0-9]{2})",
    r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})",
    r"(?i)(?P<d>[0-9]{1,2})(?:st|nd|rd|th|\.)?[ -](?:of )?(?P<mon>[a-zä]{3,9})\.?,?[ -](?P<y>[0-9]{4})",
    r"(?i)(?P<mon>[a-zä]{3,9})\.? (?P<d>[0-9]{1,2})(?:st|nd|rd|th)?,? (?P<y>[0-9]{4})",
];

pub(super) static DATES: LazyLock<Vec<Regex>> =
    LazyLock::new(|| FORMS.iter().filter_map(|form| Regex::new(form).ok()).collect());

/// English and German month names, by the letters that tell them apart.
const MONTHS: &[(&str, u32)] = &[
    ("jan", 1),
    ("jän", 1),
    ("feb", 2),
    ("mar", 3),
    ("mär", 3),
    ("apr", 4),
    ("may", 5),
    ("mai", 5),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sep", 9),
    ("oct", 10),
    ("okt", 10),
    ("nov", 11),
    ("dec", 12),
    ("dez", 12),
];

pub(super) fn find(
    text: &str,
    groups: &[Range<usize>],
    words: &Words,
    field: Context,
) -> Vec<Range<usize>> {
    let is_told = field.says(Context::DOB);
    if groups.is_empty() || !(is_told || words.context().says(Context::DOB)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for form in DATES.iter() {
        for date in form.captures_iter(text) {
            let Some(span) = date.get(0).map(|whole| whole.range()) else { continue };
            let is_birth = is_told || words.are_near(&span, Context::DOB);
            if is_birth && edge(text, &span) < Edge::Digit && is_day(&date) {
                found.push(span);
            }
        }
    }
    found
}

fn is_day(date: &Captures<'_>) -> bool {
    let number = |name: &str| date.name(name).and_then(|part| part.as_str().parse::<u32>().ok());
    // Two digits: a living person's year is in this century or the last, and both have that day or neither
    // matters, so the leap year 2000 + yy is taken.
    let year = number("y").or_else(|| number("yy").map(|year| year + 2000));
    let month = number("m").or_else(|| date.name("mon").and_then(|name| month(name.as_str())));
    let exists = |month: Option<u32>, day: Option<u32>| match (year, month, day) {
        (Some(year), Some(month), Some(day)) => is_in_calendar(year, month, day),
        _ => false,
    };
    let (a, b) = (number("a"), number("b"));
    exists(month, number("d")) || exists(a, b) || exists(b, a)
}

fn month(name: &str) -> Option<u32> {
    let name = name.to_lowercase();
    MONTHS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, month)| *month)
}

/// The Gregorian calendar from 1900 to 2100.
fn is_in_calendar(year: u32, month: u32, day: u32) -> bool {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    (1900..=2100).contains(&year) && (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use aegis_domain::Detector::Dob;

    use super::super::found;

    #[test]
    fn dates_beside_a_word_for_birth_are_found_in_every_form() {
        for date in [
            "1980-02-03",
            "1980/2/3",
            "02/03/1980",
            "3.2.1980",
            "03-02-1980",
            "31.12.1999",
            "02/03/80",
            "19800203",
            "February 3, 1980",
            "Feb 3rd 1980",
            "3 February 1980",
            "3rd of Feb. 1980",
            "3. März 1980",
            "03-Feb-1980",
        ] {
            assert_eq!(found(&format!("date of birth: {date}, male"), Dob), [date]);
            assert_eq!(found(&format!("geboren am {date}"), Dob), [date]);
        }
        assert_eq!(found("born 1980-02-03T00:00:00Z", Dob), ["1980-02-03"]);
        assert_eq!(found("1980-02-03 (DOB)", Dob), ["1980-02-03"]);
    }

    #[test]
    fn a_date_without_such_a_word_is_left_alone() {
        for text in ["created 1980-02-03", "adobe 1980-02-03", "1980-02-03", "airborne 02/03/1980"]
        {
            assert_eq!(found(text, Dob).len(), 0, "{text}");
        }
    }

    #[test]
    fn days_that_do_not_exist_are_left_alone() {
        for date in
            ["1980-02-30", "1899-12-31", "2101-01-01", "13/13/1980", "Foo 3, 1980", "1900-02-29"]
        {
            assert_eq!(found(&format!("born {date}"), Dob).len(), 0, "{date}");
        }
    }
}

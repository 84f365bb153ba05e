//! How long a bucket keeps a log, in words.
//!
//! Not here: asking it (`audit/bucket`), and what is a finding (`audit/verify`). Invariant: what nobody knows is never counted as kept.

use aegis_audit_verify::KeptReport;

/// How many objects are kept as was asked for, and how many are not.
pub fn kept_line(kept: &KeptReport) -> String {
    let KeptReport { asked, objects, weaker, unknown, earliest_s } = kept;
    let as_asked = kept.as_asked();
    let mut line = format!("{as_asked} of {objects} objects are kept as asked ({asked})");
    if *weaker > 0 {
        line += &format!(", {weaker} for less");
    }
    if *unknown > 0 {
        line += &format!(", {unknown} nobody knows how long");
    }
    if let Some(earliest_s) = earliest_s {
        let until = i64::try_from(*earliest_s).ok();
        let until = until.and_then(|until| jiff::Timestamp::from_second(until).ok());
        let until = until.map_or_else(|| "-".to_owned(), |until| until.to_string());
        line += &format!("; the first until {until}");
    }
    line
}

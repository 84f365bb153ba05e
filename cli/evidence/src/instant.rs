//! An instant as people and scripts read it.
//!
//! Not here: asking for the time. Invariant: always UTC, always RFC 3339; what no calendar has is a dash.

use aegis_domain::Timestamp;

/// RFC 3339 with milliseconds, in UTC.
pub fn show_ms(time: Timestamp) -> String {
    let ms = i64::try_from(time.unix_ms()).unwrap_or(i64::MAX);
    let shown = jiff::Timestamp::from_millisecond(ms);
    shown.map_or_else(|_| "-".to_owned(), |time| format!("{time:.3}"))
}

/// RFC 3339 with seconds, in UTC.
pub fn show(time: Timestamp) -> String {
    let seconds = i64::try_from(time.unix_s()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "-".to_owned(), |time| time.to_string())
}

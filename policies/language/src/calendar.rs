//! Calendars: whether a named set of hours is open at an instant.
//!
//! Pure: `now` is an argument, and time zones come from jiff's bundled database, so no file is read.
//! Invariant: a calendar is open iff the local minute lies in one of its windows and the local day is no holiday.

use std::collections::BTreeSet;

use aegis_domain::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use aegis_document::{Node, Problems};

#[derive(Clone, Debug)]
pub struct Calendar {
    tz: TimeZone,
    weekly: Vec<Window>,
    holidays: BTreeSet<Date>,
    /// As written, for readers of the bundle.
    pub text: CalendarText,
}

#[derive(Clone, Debug)]
pub struct CalendarText {
    pub tz: String,
    pub weekly: Vec<String>,
    pub holidays: Vec<String>,
}

/// Some days of the week, from one minute of the day up to another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    days: Vec<Weekday>,
    from_minute: u16,
    to_minute: u16,
}

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

impl Calendar {
    /// Whether the calendar is open; `None` for an instant that no calendar can hold.
    pub fn is_open(&self, now: Timestamp) -> Option<bool> {
        let second = i64::try_from(now.unix_s()).ok()?;
        let local = jiff::Timestamp::from_second(second).ok()?.to_zoned(self.tz.clone());
        let minute = u16::try_from(local.hour()).ok()?.checked_mul(60)?;
        let minute = minute.checked_add(u16::try_from(local.minute()).ok()?)?;
        let in_window = self.weekly.iter().any(|window| {
            window.days.contains(&local.weekday())
                && (window.from_minute..window.to_minute).contains(&minute)
        });
        Some(in_window && !self.holidays.contains(&local.date()))
    }
}

pub(crate) fn calendar(node: &Node, problems: &mut Problems) -> Option<Calendar> {
    let mut map = node.mapping(problems)?;
    let tz = map.required("tz", problems, zone);
    let weekly = map.required("weekly", problems, |n, p| n.list(p, window));
    let holidays = map.optional("holidays", problems, |n, p| n.list(p, holiday));
    map.finish(problems);
    let (tz_text, tz) = tz?;
    let (weekly_text, weekly) = weekly?.into_iter().unzip();
    let (holiday_text, holidays) = holidays.unwrap_or_default().into_iter().unzip();
    let text = CalendarText { tz: tz_text, weekly: weekly_text, holidays: holiday_text };
    Some(Calendar { tz, weekly, holidays, text })
}

fn zone(node: &Node, problems: &mut Problems) -> Option<(String, TimeZone)> {
    let name = node.text(problems)?;
    match TimeZoneDatabase::bundled().get(&name) {
        Ok(zone) => Some((name, zone)),
        Err(_) => {
            let help = "use a name of the IANA time zone database, such as Europe/Berlin";
            problems.report_with_help(node.position(), "unknown time zone", help);
            None
        }
    }
}

fn window(node: &Node, problems: &mut Problems) -> Option<(String, Window)> {
    let text = node.text(problems)?;
    let window = parse_window(&text);
    if window.is_none() {
        let help = "write it as `Mon-Fri 08:00-20:00` or `Sat,Sun 10:00-24:00`";
        problems.report_with_help(node.position(), "not a weekly window", help);
    }
    window.map(|window| (text, window))
}

fn parse_window(text: &str) -> Option<Window> {
    let (days, hours) = text.split_once(' ')?;
    let (from, to) = hours.split_once('-')?;
    let (from_minute, to_minute) = (minute_of_day(from)?, minute_of_day(to)?);
    let days: Option<Vec<Vec<Weekday>>> = days.split(',').map(day_range).collect();
    let days = days?.concat();
    (from_minute < to_minute).then_some(Window { days, from_minute, to_minute })
}

/// Reads `Mon` or `Fri-Mon`, which goes over the end of the week.
fn day_range(text: &str) -> Option<Vec<Weekday>> {
    let day = |name: &str| DAYS.iter().find(|(known, _)| *known == name).map(|(_, day)| *day);
    let Some((first, last)) = text.split_once('-') else { return day(text).map(|day| vec![day]) };
    let (first, last) = (day(first)?, day(last)?);
    let before_last = first.cycle_forward().take(7).take_while(move |day| *day != last);
    Some(before_last.chain([last]).collect())
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour.checked_mul(60)?.checked_add(minute)?;
    (minute < 60 && total <= 24 * 60).then_some(total)
}

fn holiday(node: &Node, problems: &mut Problems) -> Option<(String, Date)> {
    let text = node.text(problems)?;
    let date = (text.len() == 10).then(|| text.parse().ok()).flatten();
    if date.is_none() {
        problems.report(node.position(), "a holiday is a date such as 2026-12-25");
    }
    date.map(|date| (text, date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_document::Document;

    fn berlin() -> Calendar {
        let text = "{ tz: Europe/Berlin, weekly: ['Mon-Fri 08:00-20:00'], holidays: [2026-12-25] }";
        Document::parse("f", text).unwrap().decode(calendar).unwrap()
    }

    fn open_at(instant: &str) -> bool {
        let instant: jiff::Timestamp = instant.parse().unwrap();
        berlin().is_open(Timestamp::from_unix_s(instant.as_second().unsigned_abs())).unwrap()
    }

    #[test]
    fn hours_are_local_and_half_open_also_across_the_clock_change() {
        // Berlin is UTC+1 until 2026-03-29T01:00Z, then UTC+2.
        assert!(!open_at("2026-03-27T06:59:59Z"));
        assert!(open_at("2026-03-27T07:00:00Z"));
        assert!(open_at("2026-03-27T18:59:59Z"));
        assert!(!open_at("2026-03-27T19:00:00Z"));
        assert!(open_at("2026-03-30T06:00:00Z"));
        assert!(!open_at("2026-03-30T18:00:00Z"));
    }

    #[test]
    fn weekends_and_holidays_are_closed() {
        assert!(!open_at("2026-11-21T12:00:00Z"));
        assert!(!open_at("2026-12-25T12:00:00Z"));
        assert!(open_at("2026-12-28T12:00:00Z"));
    }

    #[test]
    fn windows_name_days_and_minutes() {
        let days = |text: &str| parse_window(text).map(|window| window.days.len());
        assert_eq!(days("Fri-Mon 00:00-24:00"), Some(4));
        assert_eq!(days("Mon-Mon 00:00-24:00"), Some(1));
        assert_eq!(days("Mon,Wed-Fri 09:00-17:30"), Some(4));
        for bad in [
            "Mon",
            "Mon 9-17",
            "Mon 09:00-09:00",
            "Mon 22:00-06:00",
            "Mon 00:00-24:01",
            "Moo 00:00-01:00",
        ] {
            assert_eq!(parse_window(bad), None, "{bad}");
        }
    }
}

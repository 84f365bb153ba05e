//! How long decisions were denied through each loss, and where that time went.
//!
//! Not here: assertions; a machine's speed is no promise. Invariant: the Sentinels' share is read from their own logs, so
//! what is left of a window is ours.

use std::time::Duration;

use aegis_domain::Timestamp;
use aegis_testkit::hot::Server;

use super::Loss;

/// From the loss until the Sentinels did this, as far as they say so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// One of them called the primary down.
    pub(super) down: Option<Duration>,
    /// Enough of them did.
    agreed: Option<Duration>,
    promoted: Option<Duration>,
    /// Most of them name the new one.
    named: Option<Duration>,
}

impl Marks {
    pub(super) fn read(sentinels: &[Server], lost_at: Timestamp) -> Self {
        let logs: Vec<Vec<(Duration, String)>> =
            sentinels.iter().map(|sentinel| events(&sentinel.log(), lost_at)).collect();
        let first = |of: &[(Duration, String)], events: &[&str]| {
            let is_one = |said: &str| events.iter().any(|event| said.starts_with(event));
            of.iter().find(|(_, said)| is_one(said)).map(|(at, _)| *at)
        };
        let earliest = |events: &[&str]| logs.iter().filter_map(|log| first(log, events)).min();
        let names = |log: &Vec<_>| first(log, &["+promoted-slave", "+switch-master"]);
        let mut named: Vec<Duration> = logs.iter().filter_map(names).collect();
        named.sort();
        Self {
            down: earliest(&["+sdown master"]),
            agreed: earliest(&["+odown master"]),
            promoted: earliest(&["+promoted-slave"]),
            named: named.get(1).copied(),
        }
    }
}

/// What a log tells after that time: `1:X 22 Nov 2026 10:31:08.123 # +sdown master hot ...`.
fn events(log: &str, after: Timestamp) -> Vec<(Duration, String)> {
    const DAY_MS: u64 = 86_400_000;
    let read = |line: &str| {
        let mut words = line.splitn(7, ' ');
        let clock = words.nth(4)?;
        let said = words.nth(1)?.to_owned();
        let mut parts = clock.split([':', '.']).map(|part| part.parse::<u64>().ok());
        let (h, m, s, ms) = (parts.next()??, parts.next()??, parts.next()??, parts.next()??);
        let of_day = ((h * 60 + m) * 60 + s) * 1_000 + ms;
        let since = (of_day + DAY_MS - after.unix_ms() % DAY_MS) % DAY_MS;
        Some((Duration::from_millis(since), said))
    };
    // What was said earlier looks like almost a day later.
    let is_after = |(since, _): &(Duration, String)| *since < Duration::from_secs(600);
    log.lines().filter_map(read).filter(is_after).collect()
}

/// What was seen of one loss.
pub(super) struct Windows {
    pub(super) loss: Loss,
    /// How long the old primary went on accepting.
    pub(super) stopped: Option<Duration>,
    pub(super) denied: Duration,
    pub(super) single_use_denied: Duration,
    pub(super) marks: Marks,
    pub(super) tokens: usize,
    pub(super) twice: usize,
    pub(super) over: u64,
    pub(super) bound: u64,
}

fn s(duration: Option<Duration>) -> String {
    duration.map_or("-".to_owned(), |duration| format!("{:.2}", duration.as_secs_f64()))
}

impl Windows {
    #[expect(clippy::print_stderr, reason = "the figures are the result")]
    pub(super) fn print(&self, nth: u64) {
        let Self { loss, stopped, denied, single_use_denied, marks, tokens, twice, over, bound } =
            self;
        let Marks { down, agreed, promoted, named } = *marks;
        eprintln!(
            "{nth} {loss:?}: accepted for {}, down {}, agreed {}, promoted {}, named {}, denied for {} s, single-use for {} s; \
             {twice} of {tokens} tokens twice; overspent by {over} of at most {bound}",
            s(*stopped),
            s(down),
            s(agreed),
            s(promoted),
            s(named),
            s(Some(*denied)),
            s(Some(*single_use_denied)),
        );
    }
}

/// Least, P50, P99 and most.
fn spread(mut all: Vec<Duration>) -> String {
    all.sort();
    let at = |percent: usize| all.get((all.len() * percent).div_ceil(100).max(1) - 1).copied();
    [1, 50, 99, 100].map(|percent| s(at(percent))).join(" / ")
}

/// One row for each kind of loss, as `docs/slo.md` shows them.
#[expect(clippy::print_stderr, reason = "the figures are the result")]
pub(super) fn print_table(software: &str, all: &[Windows]) {
    let mut table = format!(
        "{software}, seconds, least / P50 / P99 / most\n\
         | the primary is | losses | accepts on for | called down | promoted | named | calls denied | single-use denied | twice | overspent, at most |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
    );
    let mut kinds: Vec<Option<Loss>> = all.iter().map(|one| Some(one.loss)).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds.into_iter().chain([None]) {
        let rows: Vec<&Windows> =
            all.iter().filter(|one| kind.is_none_or(|kind| one.loss == kind)).collect();
        let of = |value: fn(&Windows) -> Option<Duration>| {
            spread(rows.iter().filter_map(|one| value(one)).collect())
        };
        let (name, count) = (kind.map_or("any".to_owned(), |loss| format!("{loss:?}")), rows.len());
        let twice: usize = rows.iter().map(|one| one.twice).sum();
        let over = rows.iter().map(|one| one.over).max().unwrap_or(0);
        let bound = rows.iter().map(|one| one.bound).max().unwrap_or(0);
        let stopped = of(|one| one.stopped);
        let (down, promoted) = (of(|one| one.marks.down), of(|one| one.marks.promoted));
        let (named, denied) = (of(|one| one.marks.named), of(|one| Some(one.denied)));
        let single_use = of(|one| Some(one.single_use_denied));
        let row = format!(
            "| {name} | {count} | {stopped} | {down} | {promoted} | {named} | {denied} | {single_use} | {twice} | {over}, {bound} |\n"
        );
        table.push_str(&row);
    }
    eprintln!("{table}");
}

//! The table of rates, and below it by name what a pack did not do.
//!
//! Not here: the counting (`measure`). Invariant: every figure stands beside what it is out of, and every pack beside the two
//! controls.

use comfy_table::{Table, presets};

use crate::Rates;
use crate::measure::{Judge, Measure, Tally};

/// Under which name a tenant says what it knows about tasks without calls.
const UNMEASURED: &str = "unmeasured";

pub fn table(all: &[Rates]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "suite",
        "judge",
        "work through",
        "redacted",
        "held",
        "denied",
        "calls through",
        "attacks stopped",
        "redacted",
        "held",
        "denied",
        "work, by half",
        "attacks, by half",
    ]);
    for rates in all {
        for measure in &rates.measures {
            table.add_row(row(rates, measure));
        }
    }
    table.to_string()
}

fn row(rates: &Rates, measure: &Measure) -> Vec<String> {
    let (work, attacks) = (measure.work, measure.attacks);
    let judge = match measure.judge {
        Judge::Pack => format!("pack {}", rates.pack),
        Judge::AllowAll => "allow all".to_owned(),
        Judge::DenyAll => "deny all".to_owned(),
    };
    let [first, second] = measure.halves;
    let halves = |part: fn(Tally) -> usize, pick: fn((Tally, Tally)) -> Tally| {
        [first, second].map(|half| share(part(pick(half)), pick(half).total())).join("; ")
    };
    vec![
        rates.suite.clone(),
        judge,
        share(work.through(), work.total()),
        work.redacted.to_string(),
        work.held.to_string(),
        work.denied.to_string(),
        share(measure.work_calls.through(), measure.work_calls.total()),
        share(measure.stopped(attacks), attacks.total()),
        attacks.redacted.to_string(),
        attacks.held.to_string(),
        attacks.denied.to_string(),
        halves(Tally::through, |half| half.0),
        [first.1, second.1].map(|half| share(measure.stopped(half), half.total())).join("; "),
    ]
}

/// `52 of 56 (92.9 %)`.
fn share(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "none".to_owned();
    }
    let tenths = part.saturating_mul(1_000) / whole;
    format!("{part} of {whole} ({}.{} %)", tenths / 10, tenths % 10)
}

/// What each pack held, denied or let through against expectation, with the reason where it is known.
pub fn exceptions(all: &[Rates]) -> String {
    let mut text = String::new();
    for rates in all {
        for measure in rates.measures.iter().filter(|measure| measure.judge == Judge::Pack) {
            text.push_str(&format!("\n{} under the pack {}\n", rates.suite, rates.pack));
            lines(rates, measure).iter().for_each(|line| {
                text.push_str("  ");
                text.push_str(line);
                text.push('\n');
            });
        }
    }
    text
}

fn lines(rates: &Rates, measure: &Measure) -> Vec<String> {
    let mut lines = Vec::new();
    for ((what, rules), tasks) in measure.exceptions_by_rule() {
        lines.push(format!("{what} by [{rules}], {} ({})", tasks.len(), listed(&tasks)));
        let keys = tasks.iter().copied().chain(rules.split(", "));
        lines.extend(keys.filter_map(|key| rates.why.get(key)).map(|why| format!("  {why}")));
    }
    if lines.is_empty() {
        lines.push("no exceptions".to_owned());
    }
    if measure.without_calls > 0 {
        let count = measure.without_calls;
        lines.push(format!("not measured: {count} tasks without a call that leaves"));
        lines.extend(rates.why.get(UNMEASURED).map(|why| format!("  {why}")));
    }
    if rates.derived {
        let line =
            "the suite has no attacks: counted are its own calls, with a token for another client";
        lines.push(line.to_owned());
    }
    lines
}

fn listed(tasks: &[&str]) -> String {
    const SHOWN: usize = 6;
    let mut shown: Vec<&str> = tasks.iter().copied().take(SHOWN).collect();
    if tasks.len() > SHOWN {
        shown.push("..");
    }
    shown.join(", ")
}

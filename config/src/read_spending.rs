//! Budgets, rates and limits on calls under way, as people write them in `aegis.yaml`.
//!
//! Not here: what becomes of them (`spending`). Invariant: what is written limits or warns; a key that could do neither is
//! a mistake.

use std::num::NonZeroU32;

use aegis_document::{Mapping, Node, Problems};
use aegis_domain::{BudgetWindow, Hours, MicroUsd};
use aegis_state::{Overrun, RateLimit, Rates};

use crate::read::usd;
use crate::{CallLimits, SpendLimit};

/// The most calls that any limit may name: what a gateway can never have under way limits nothing.
const CALLS_MAX: u32 = 1_000_000;

/// `budgets`, `rates` and `in_flight` of whatever the mapping describes.
pub(super) fn call_limits(map: &mut Mapping<'_>, problems: &mut Problems) -> CallLimits {
    CallLimits {
        spend: map.optional("budgets", problems, budgets).unwrap_or_default(),
        rates: map.optional("rates", problems, rates).unwrap_or_default(),
        in_flight: map.optional("in_flight", problems, calls),
    }
}

/// A team has budgets and nothing else: its agents are limited one by one.
pub(super) fn team(node: &Node, problems: &mut Problems) -> Option<Vec<SpendLimit>> {
    let mut map = node.mapping(problems)?;
    let spend = map.required("budgets", problems, budgets);
    map.finish(problems);
    spend
}

/// `{ day_usd: "20", rolling: { hours: 24, usd: "5" }, warn_at: 80%, soft: true }`.
fn budgets(node: &Node, problems: &mut Problems) -> Option<Vec<SpendLimit>> {
    let mut map = node.mapping(problems)?;
    let day = map.optional("day_usd", problems, usd);
    let month = map.optional("month_usd", problems, usd);
    let rolling = map.optional("rolling", problems, rolling);
    let is_limited =
        ["day_usd", "month_usd", "rolling"].map(|key| map.get(key)).iter().any(Option::is_some);
    let modifiers = ["warn_at", "soft"].map(|key| map.get(key)).into_iter().flatten();
    let idle = modifiers.map(Node::position).next().filter(|_| !is_limited);
    let warn_at = map.optional("warn_at", problems, percent);
    let soft = map.optional("soft", problems, Node::boolean).unwrap_or(false);
    map.finish(problems);
    if let Some(position) = idle {
        let help = "give `day_usd`, `month_usd` or `rolling` beside it";
        problems.report_with_help(position, "there is no limit that this could be said of", help);
    }
    let windows = [
        day.map(|limit| (BudgetWindow::Day, limit)),
        month.map(|limit| (BudgetWindow::Month, limit)),
        rolling.map(|(hours, limit)| (BudgetWindow::Rolling(hours), limit)),
    ];
    let limit = |(window, limit): (BudgetWindow, MicroUsd)| SpendLimit {
        window,
        limit,
        // Rounded up: a warning at all of it comes with the last of it.
        warn_at: warn_at.and_then(|percent| limit.for_units(percent, 100)),
        overrun: if soft { Overrun::Warn } else { Overrun::Refuse },
    };
    Some(windows.into_iter().flatten().map(limit).collect())
}

fn rolling(node: &Node, problems: &mut Problems) -> Option<(Hours, MicroUsd)> {
    let mut map = node.mapping(problems)?;
    let hours = map.required("hours", problems, |n, p| n.integer::<u16>(p, 1..=Hours::MAX));
    let limit = map.required("usd", problems, usd);
    map.finish(problems);
    Some((Hours::new(hours?)?, limit?))
}

/// A share of a limit: `80%`.
fn percent(node: &Node, problems: &mut Problems) -> Option<u64> {
    let text = node.as_text().and_then(|text| text.strip_suffix('%'));
    let is_plain = |digits: &&str| digits.starts_with(|first: char| matches!(first, '1'..='9'));
    let percent = text.filter(is_plain).and_then(|digits| digits.parse::<u64>().ok());
    let percent = percent.filter(|percent| *percent <= 100);
    if percent.is_none() {
        problems.report(node.position(), "expected whole percent from `1%` to `100%`");
    }
    percent
}

fn rates(node: &Node, problems: &mut Problems) -> Option<Rates> {
    let mut map = node.mapping(problems)?;
    let mut rate = |name, problems: &mut Problems| {
        let calls = map.optional(name, problems, calls);
        calls.map(|calls| RateLimit { calls, burst: calls })
    };
    let second = rate("per_second", problems);
    let minute = rate("per_minute", problems);
    let hour = rate("per_hour", problems);
    map.finish(problems);
    Some(Rates { second, minute, hour })
}

fn calls(node: &Node, problems: &mut Problems) -> Option<NonZeroU32> {
    node.integer::<u32>(problems, 1..=CALLS_MAX).and_then(NonZeroU32::new)
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;

    use super::*;

    fn read_from(text: &str) -> Result<CallLimits, String> {
        let document = Document::parse("aegis.yaml", text).unwrap();
        let limits = document.decode(|root, problems| {
            let mut map = root.mapping(problems)?;
            let limits = call_limits(&mut map, problems);
            map.finish(problems);
            Some(limits)
        });
        limits.map_err(|diagnostics| diagnostics.to_string())
    }

    #[test]
    fn limits_read_as_they_are_documented() {
        let limits = read_from(
            "budgets: { day_usd: '20', rolling: { hours: 24, usd: '5' }, warn_at: 80%, soft: true }\n\
             rates: { per_second: 2, per_hour: 90 }\nin_flight: 4\n",
        )
        .unwrap();
        let soft = |window, limit, warn_at| SpendLimit {
            window,
            limit: MicroUsd::new(limit),
            warn_at: Some(MicroUsd::new(warn_at)),
            overrun: Overrun::Warn,
        };
        let rolling = BudgetWindow::Rolling(Hours::new(24).unwrap());
        let day = soft(BudgetWindow::Day, 20_000_000, 16_000_000);
        assert_eq!(limits.spend, [day, soft(rolling, 5_000_000, 4_000_000)]);
        assert_eq!(limits.rates.second.unwrap().burst.get(), 2);
        assert_eq!(limits.rates.minute, None);
        assert_eq!(limits.rates.hour.unwrap().calls.get(), 90);
        assert_eq!(limits.in_flight, NonZeroU32::new(4));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        for (text, told) in [
            ("budgets: { warn_at: 80% }", "1:21"),
            ("budgets: { soft: true }", "1:18"),
            ("budgets: { day_usd: '1', warn_at: 80 }", "1:35"),
            ("budgets: { day_usd: '1', warn_at: 0% }", "1:35"),
            ("budgets: { day_usd: '1', warn_at: 101% }", "1:35"),
            ("budgets: { day_usd: '1', warn_at: +8% }", "1:35"),
            ("budgets: { day_usd: 1.5 }", "1:21"),
            ("budgets: { day_usd: '1', soft: maybe }", "1:32"),
            ("budgets: { rolling: { hours: 745, usd: '1' } }", "1:30"),
            ("budgets: { rolling: { hours: 24 } }", "1:21"),
            ("budgets: { week_usd: '1' }", "1:12"),
            ("rates: { per_day: 1 }", "1:10"),
            ("rates: { per_hour: 0 }", "1:20"),
            ("in_flight: 0", "1:12"),
            ("in_flight: many", "1:12"),
        ] {
            let mistakes = read_from(text).unwrap_err();
            assert!(mistakes.contains(&format!("aegis.yaml:{told}")), "{text}\n{mistakes}");
        }
    }
}

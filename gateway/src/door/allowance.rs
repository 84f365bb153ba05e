//! Limits as header lines: `Aegis-Budget` for money, `RateLimit` and `RateLimit-Policy` for calls.
//!
//! Not here: what is told (`corridor::allowance`). Sources: draft-ietf-httpapi-ratelimit-headers-11, structured fields
//! RFC 9651. Invariant: lines of an upstream stay as they are; ours stand beside them, under names that begin with `aegis-`.

use aegis_corridor::allowance::{Allowance, BudgetLeft, CallsLeft};
use aegis_corridor::headers::{AEGIS_BUDGET, RATELIMIT, RATELIMIT_POLICY};
use aegis_domain::{CountScope, MicroUsd, RateLeft, RateWindow};
use http::HeaderName;

/// The largest integer of a structured field (RFC 9651 §3.3.1): a billion dollars, near enough.
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// The lines for an answer or a refusal; none where nothing is limited.
pub(super) fn lines(allowance: &Allowance) -> Vec<(HeaderName, String)> {
    let mut lines = Vec::new();
    let budgets = budgets(allowance);
    if !budgets.is_empty() {
        lines.push((AEGIS_BUDGET, budgets));
    }
    if let Some(calls) = allowance.calls {
        let (policy, left) = quota(calls);
        lines.push((RATELIMIT_POLICY, policy));
        lines.push((RATELIMIT, left));
    }
    lines
}

/// The names of the limits that refused a call, as the problem type `quota-exceeded` of the draft has them.
pub(super) fn violated(allowance: &Allowance) -> Vec<String> {
    let budget = allowance.tightest.as_ref().map(|budget| budget.key.to_string());
    budget.into_iter().chain(allowance.calls.map(name)).collect()
}

/// A list of names: the tightest first, with what is left of it, then the others that are past their warning.
fn budgets(Allowance { tightest, warned, .. }: &Allowance) -> String {
    let mut items = Vec::new();
    if let Some(BudgetLeft { key, limit, left, resets_in }) = tightest {
        let mark = if warned.contains(key) { ";warned" } else { "" };
        let (left, limit) = (integer(*left), integer(*limit));
        items.push(format!("\"{key}\";left={left};limit={limit};t={}{mark}", resets_in.s_ceil()));
    }
    let is_first = |key| tightest.as_ref().is_some_and(|tightest| &tightest.key == key);
    let others = warned.iter().filter(|key| !is_first(*key));
    items.extend(others.map(|key| format!("\"{key}\";warned")));
    items.join(", ")
}

fn integer(amount: MicroUsd) -> u64 {
    amount.micro_usd().min(INTEGER_MAX)
}

/// The policy, and what is left under it.
fn quota(calls: CallsLeft) -> (String, String) {
    let name = name(calls);
    match calls {
        CallsLeft::Rate(RateLeft { window, limit, left, resets_in, .. }) => (
            format!("\"{name}\";q={limit};w={}", window.length().s_ceil()),
            format!("\"{name}\";r={left};t={}", resets_in.s_ceil()),
        ),
        CallsLeft::Busy { limit, .. } => {
            (format!("\"{name}\";q={limit};qu=\"concurrent-requests\""), format!("\"{name}\";r=0"))
        }
    }
}

fn name(calls: CallsLeft) -> String {
    match calls {
        CallsLeft::Rate(RateLeft { of, window, .. }) => of_window(of, window),
        CallsLeft::Busy { of, .. } => format!("aegis-{}-in-flight", of.as_str()),
    }
}

fn of_window(of: CountScope, window: RateWindow) -> String {
    format!("aegis-{}-{}", of.as_str(), window.as_str())
}

#[cfg(test)]
mod tests {
    use aegis_domain::{BudgetKey, TenantId, Ttl};

    use super::*;

    fn key(name: &str) -> BudgetKey {
        BudgetKey::parse(TenantId::parse("acme").unwrap(), name).unwrap()
    }

    fn told(allowance: &Allowance) -> Vec<(String, String)> {
        let lines = lines(allowance).into_iter();
        lines.map(|(name, value)| (name.as_str().to_owned(), value)).collect()
    }

    fn line(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_budget_is_told_with_what_is_left_and_the_warned_ones_by_name() {
        let tightest = BudgetLeft {
            key: key("agent:bot/day"),
            limit: MicroUsd::new(5_000_000),
            left: MicroUsd::new(4_990_000),
            resets_in: Ttl::from_ms(1_500),
        };
        let mut allowance = Allowance { tightest: Some(tightest), ..Allowance::default() };
        let value = "\"agent:bot/day\";left=4990000;limit=5000000;t=2";
        assert_eq!(told(&allowance), [line("aegis-budget", value)]);
        allowance.warned = vec![key("tenant/24h"), key("agent:bot/day")];
        let value = format!("{value};warned, \"tenant/24h\";warned");
        assert_eq!(told(&allowance), [line("aegis-budget", &value)]);
        assert_eq!(told(&Allowance::default()), []);
    }

    #[test]
    fn limits_on_calls_are_told_as_the_draft_has_them() {
        let rate = RateLeft {
            of: CountScope::Agent,
            window: RateWindow::Minute,
            limit: 60,
            left: 12,
            resets_in: Ttl::from_s(48),
        };
        let of = |calls| told(&Allowance { calls: Some(calls), ..Allowance::default() });
        assert_eq!(
            of(CallsLeft::Rate(rate)),
            [
                line("ratelimit-policy", "\"aegis-agent-minute\";q=60;w=60"),
                line("ratelimit", "\"aegis-agent-minute\";r=12;t=48"),
            ]
        );
        let policy = "\"aegis-tool-in-flight\";q=4;qu=\"concurrent-requests\"";
        assert_eq!(
            of(CallsLeft::Busy { of: CountScope::Tool, limit: 4 }),
            [line("ratelimit-policy", policy), line("ratelimit", "\"aegis-tool-in-flight\";r=0"),]
        );
    }
}

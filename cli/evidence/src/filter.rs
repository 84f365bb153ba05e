//! Which records a question is about.
//!
//! Not here: where they come from. Invariant: every condition that is named must hold; one that is not named always does.

use aegis_audit_chain::Origin;
use aegis_cli_export::{Cell, Row};
use aegis_domain::{MicroUsd, Timestamp};
use clap::Args;

/// Conditions on decisions and outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Which records")]
pub struct FilterArgs {
    /// Of this tenant.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// By this agent.
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// To this tool, or those that begin with it where it ends in `*`.
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// Decided like that: allow, deny, sanitize or approval_needed.
    #[arg(long, value_name = "DECISION", value_parser = ["allow", "deny", "sanitize", "approval_needed"])]
    decision: Option<String>,
    /// With this reason code, as in docs/reasons.md.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Recorded since: 90s, 15m, 24h, 7d ago, or an instant such as 2026-11-22T00:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    since: Option<Timestamp>,
    /// Recorded before.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    until: Option<Timestamp>,
    /// With at least this cost, in dollars; an outcome's own, a decision's estimate.
    #[arg(long, value_name = "USD", value_parser = MicroUsd::parse_usd)]
    cost_min: Option<MicroUsd>,
}

impl FilterArgs {
    /// Whether nothing was asked for in particular.
    pub fn takes_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a record is a decision or an outcome that was asked for.
    pub fn takes_record(&self, origin: &Origin, bytes: &[u8]) -> bool {
        Row::of(origin, bytes).is_some_and(|row| self.takes(&row))
    }

    pub(crate) fn takes(&self, row: &Row) -> bool {
        let text = |name: &str, wanted: Option<&String>| {
            wanted
                .is_none_or(|wanted| matches!(row.get(name), Cell::Text(found) if found == wanted))
        };
        (self.tenant.is_none() || self.tenant == row.tenant)
            && text("agent", self.agent.as_ref())
            && self.tool.as_ref().is_none_or(|tool| begins(row.get("tool"), tool))
            && text("decision", self.decision.as_ref())
            && text("reason", self.reason.as_ref())
            && self.since.is_none_or(|since| row.ts >= since.unix_ns())
            && self.until.is_none_or(|until| row.ts < until.unix_ns())
            && self.cost_min.is_none_or(|least| cost(row) >= least)
    }
}

fn begins(cell: &Cell, wanted: &str) -> bool {
    let Cell::Text(found) = cell else { return false };
    wanted.strip_suffix('*').map_or(found == wanted, |start| found.starts_with(start))
}

/// What a call cost, or was thought to.
pub(crate) fn cost(row: &Row) -> MicroUsd {
    let whole = |name: &str| match row.get(name) {
        Cell::Whole(micro) => u64::try_from(*micro).ok(),
        Cell::Nothing | Cell::Text(_) => None,
    };
    MicroUsd::new(whole("cost_microusd").or_else(|| whole("est_cost_microusd")).unwrap_or(0))
}

/// An instant, or how long ago it was.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    const WANTED: &str = "expected 90s, 15m, 24h, 7d or an instant such as 2026-11-22T00:00:00Z";
    let parsed = match text.parse::<jiff::SignedDuration>() {
        Ok(ago) => jiff::Timestamp::now().checked_sub(ago).map_err(|_| WANTED)?,
        Err(_) => match days(text) {
            Some(ago) => jiff::Timestamp::now().checked_sub(ago).map_err(|_| WANTED)?,
            None => text.parse().map_err(|_| WANTED)?,
        },
    };
    let ns = u64::try_from(parsed.as_nanosecond());
    ns.map(Timestamp::from_unix_ns).map_err(|_| WANTED.to_owned())
}

/// `7d`: days are not a unit of time to everyone, here they have 24 hours.
fn days(text: &str) -> Option<jiff::SignedDuration> {
    let days: i64 = text.strip_suffix('d')?.parse().ok()?;
    Some(jiff::SignedDuration::from_hours(days.checked_mul(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_people_write_them() {
        for good in ["90s", "15m", "24h", "7d", "2026-11-22T00:00:00Z"] {
            assert!(instant(good).is_ok(), "{good}");
        }
        assert_eq!(instant("2026-11-22T00:00:00Z").unwrap(), Timestamp::from_unix_s(1_795_305_600));
        for bad in ["", "yesterday", "7x", "1960-01-01T00:00:00Z"] {
            assert!(instant(bad).is_err(), "{bad}");
        }
    }
}

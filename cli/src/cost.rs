//! `aegisctl cost`: what agents spent, read from the audit journal.
//!
//! Not here: budgets; the gateway holds and enforces those. Invariant: sums are whole micro-dollars, and a record that
//! cannot be read ends the report instead of being left out.

use std::collections::BTreeMap;

use aegis_audit_chain::Origin;
use aegis_audit_chain::record::{Entry, Mode, Record};
use aegis_domain::{Effect, MicroUsd, Timestamp};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::args::since;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use aegis_cli_journal as journal;
use aegis_cli_sheet::Sheet;

/// Report what agents spent.
#[derive(Debug, Args)]
pub(crate) struct CostArgs {
    #[command(subcommand)]
    command: CostCommand,
}

#[derive(Debug, Subcommand)]
enum CostCommand {
    Report(ReportArgs),
}

/// Sum up calls, costs and tokens of this gateway's audit journal.
#[derive(Debug, Args)]
#[command(after_help = "\
Calls count when they are decided, costs when they end. `estimated` is the most that calls let through could have cost,
`actual` what they did cost. Whether the journal itself is whole is for `aegisctl audit verify` to say.

Examples:
  aegisctl cost report
  aegisctl cost report --by tool --since 24h
  aegisctl cost report --by tenant --since 2026-11-01T00:00:00Z -o json")]
struct ReportArgs {
    /// What a row stands for.
    #[arg(long, value_enum, default_value_t = By::Agent)]
    by: By,
    /// Only records since then: a length of time back from now, or an RFC 3339 instant.
    #[arg(long, value_parser = since, value_name = "WHEN")]
    since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Agent,
    Tool,
    Tenant,
}

impl By {
    fn column(self) -> Option<&'static str> {
        match self {
            By::Agent => Some("agent"),
            By::Tool => Some("tool"),
            By::Tenant => None,
        }
    }
}

/// Whose row it is: a tenant, and an agent or tool of it. Calls refused before anyone knew have neither.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant: Option<String>,
    member: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    calls: u64,
    allowed: u64,
    denied: u64,
    approval_needed: u64,
    estimated: MicroUsd,
    actual: MicroUsd,
    tokens_in: u64,
    tokens_out: u64,
}

#[derive(Debug)]
struct Ledger {
    by: By,
    since: Timestamp,
    rows: BTreeMap<Key, Sums>,
}

pub(crate) fn run(args: &CostArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    match &args.command {
        CostCommand::Report(args) => report(args, home, screen),
    }
}

fn report(args: &ReportArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let since = args.since.unwrap_or(Timestamp::from_unix_ns(0));
    let mut ledger = Ledger { by: args.by, since, rows: BTreeMap::new() };
    let mut streams = journal::open(&home.audit())?;
    let progress = screen.progress(streams.iter().map(journal::Cursor::bytes).sum());
    for stream in &mut streams {
        stream.read(&mut |origin, record| {
            progress.advance(record.len());
            ledger.add(&read(origin, record)?);
            Ok::<(), Failure>(())
        })?;
    }
    progress.done();
    screen.sheet(&ledger.sheet())?;
    if streams.iter().filter_map(journal::Cursor::begins_after).any(|last| last >= since) {
        screen.say("older records were shipped and deleted here; they are in no sum");
    }
    let (calls, cost) = ledger.total();
    screen.say(&format!("{calls} calls, {cost} USD"));
    Ok(Exit::Ok)
}

/// A record of a journal, or why it is none.
pub(crate) fn read(origin: &Origin, record: &[u8]) -> Result<Record, Failure> {
    Ok(journal::record(origin, record)?)
}

impl Ledger {
    fn add(&mut self, record: &Record) {
        if Timestamp::from_unix_ns(record.head.ts) < self.since {
            return;
        }
        match &record.entry {
            Entry::Decision(decision) if decision.mode == Mode::Enforce => {
                let member = match self.by {
                    By::Agent => decision.agent.as_ref().map(ToString::to_string),
                    By::Tool => decision.tool.as_ref().map(ToString::to_string),
                    By::Tenant => None,
                };
                let tenant = decision.tenant.as_ref().map(ToString::to_string);
                let sums = self.rows.entry(Key { tenant, member }).or_default();
                sums.decided(decision.decision, decision.est_cost);
            }
            Entry::Outcome(outcome) => {
                let member = match self.by {
                    By::Agent => outcome.agent.as_ref().map(ToString::to_string),
                    By::Tool => outcome.tool.as_ref().map(ToString::to_string),
                    By::Tenant => None,
                };
                let tenant = outcome.tenant.as_ref().map(ToString::to_string);
                let sums = self.rows.entry(Key { tenant, member }).or_default();
                let tokens = outcome.usage.map_or((0, 0), |it| (it.tokens_in, it.tokens_out));
                sums.ended(outcome.cost, tokens);
            }
            Entry::Decision(_)
            | Entry::Genesis(_)
            | Entry::Clock(_)
            | Entry::AnchorRef(_)
            | Entry::Change(_)
            | Entry::TenantSeal(_)
            | Entry::Seal(_)
            | Entry::Close
            | Entry::Born(_)
            | Entry::Anchor(_)
            | Entry::Failed(_)
            | Entry::Revoked(_)
            | Entry::Closed(_)
            | Entry::Head(_)
            | Entry::Gap(_) => {}
        }
    }

    fn total(&self) -> (u64, MicroUsd) {
        self.rows.values().fold((0, MicroUsd::ZERO), |(calls, cost), sums| {
            (sums.calls.saturating_add(calls), cost.saturating_add(sums.actual))
        })
    }

    fn sheet(&self) -> Sheet {
        let named = [Some("tenant"), self.by.column()];
        let mut columns: Vec<&'static str> = named.into_iter().flatten().collect();
        let names = columns.len();
        columns.extend(["calls", "allowed", "denied", "approval_needed"]);
        columns.extend(["estimated_usd", "actual_usd", "tokens_in", "tokens_out"]);
        let mut sheet = Sheet::new(&columns).right_from(names);
        for (key, sums) in &self.rows {
            let mut cells: Vec<Value> = vec![key.tenant.clone().into()];
            cells.extend(self.by.column().map(|_| Value::from(key.member.clone())));
            cells.extend(
                [sums.calls, sums.allowed, sums.denied, sums.approval_needed].map(Value::from),
            );
            // Text, because JSON readers make floats of numbers.
            cells.extend([sums.estimated, sums.actual].map(|it| Value::from(it.to_string())));
            cells.extend([sums.tokens_in, sums.tokens_out].map(Value::from));
            sheet.row(cells);
        }
        sheet
    }
}

impl Sums {
    fn decided(&mut self, effect: Effect, estimate: MicroUsd) {
        let count = match effect {
            Effect::Allow | Effect::Sanitize => {
                self.estimated = self.estimated.saturating_add(estimate);
                &mut self.allowed
            }
            Effect::ApprovalNeeded => &mut self.approval_needed,
            Effect::Deny => &mut self.denied,
        };
        *count = count.saturating_add(1);
        self.calls = self.calls.saturating_add(1);
    }

    fn ended(&mut self, cost: MicroUsd, (tokens_in, tokens_out): (u64, u64)) {
        self.actual = self.actual.saturating_add(cost);
        self.tokens_in = self.tokens_in.saturating_add(tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(tokens_out);
    }
}

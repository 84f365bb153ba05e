//! `aegisctl budget reconcile`: holds what the hot state counts against what the audit journal says was spent.
//!
//! Not here: reading the journal (`journal`). What ended and what is under way are compared as one sum, since a hold that
//! runs out becomes spend of itself. Invariant: calls that begin or end meanwhile are no difference: the journal is read before
//! and after the count, a count between the two is right, and what is wrong must be so at a second look; and each correction
//! says in the region's books what it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use aegis_cli_region::{
    Access, Books, Correction, Order, Purpose, RegionError, dollars, microusd, new_key,
};
use aegis_domain::{BudgetKey, MicroUsd, TenantId, Timestamp, Ttl};
use clap::Args;
use serde_json::{Value, json};

use super::journal::{Spent, Sum};
use crate::args::{since, ttl};
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::{Screen, counted};
use crate::sheet::{Mood, Sheet};

/// Compare what the region counts as spent with what the audit journal says.
#[derive(Debug, Args)]
#[command(after_help = "\
Recomputed are the windows under way, call by call: an ended call at its cost, one without an outcome at what it holds, each in
the budgets that its decision names, teams and tools among them. Amendments made by hand belong to what should be counted.
Ends with 1 if anything differs, and with 0 once --apply has mended it.

The journal of every gateway must be named that shares the hot state: a call in none of them looks like money that nobody spent.

Examples:
  aegisctl budget reconcile --tenant acme
  aegisctl budget reconcile --audit /mnt/gw-1/audit --audit /mnt/gw-2/audit
  aegisctl budget reconcile --apply")]
pub(super) struct ReconcileArgs {
    /// Of this tenant only.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Leave out windows that began before: a length of time back from now, or an RFC 3339 instant.
    #[arg(long, value_parser = since, value_name = "WHEN")]
    since: Option<Timestamp>,
    /// A gateway's audit journal; that of the data directory unless given, and one for each gateway that shares the hot state.
    #[arg(long = "audit", value_name = "DIR")]
    journals: Vec<PathBuf>,
    /// Correct what differs.
    #[arg(long)]
    apply: bool,
    /// How long after the first look a second one is taken, if anything differs.
    #[arg(long, value_parser = ttl, default_value = "3s", value_name = "TIME")]
    patience: Ttl,
    #[command(flatten)]
    access: Access,
}

/// One budget in both books.
#[derive(Clone, Copy, Debug)]
struct Line {
    journal: Sum,
    /// What was amended by hand, in micro-dollars.
    amended: i64,
    spent: MicroUsd,
    held: MicroUsd,
    /// What the hot state lacks, or has too much of, in micro-dollars.
    lacks: i64,
}

/// What the hot state counts, and what the journal said when it was asked.
struct Count {
    budget: BudgetKey,
    began_at: Timestamp,
    before: Sum,
    amended: i64,
    spent: MicroUsd,
    held: MicroUsd,
}

type Lines = BTreeMap<BudgetKey, Line>;

pub(super) fn run(args: &ReconcileArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let mut audit = Reconciliation {
        args,
        books: Books::open(&args.access, home.root())?,
        spent: Spent::new(journals(args, home), args.since.unwrap_or(Timestamp::from_unix_ns(0))),
        screen,
        unknown: 0,
    };
    let mut lines = audit.settled_look()?;
    if args.apply && lines.values().any(|line| line.lacks != 0) {
        for (budget, line) in &lines {
            audit.correct(budget, line)?;
        }
        lines = audit.settled_look()?;
    }
    audit.show(&lines)
}

fn journals(args: &ReconcileArgs, home: &Home) -> Vec<PathBuf> {
    if args.journals.is_empty() { vec![home.audit()] } else { args.journals.clone() }
}

struct Reconciliation<'a> {
    args: &'a ReconcileArgs,
    books: Books,
    spent: Spent,
    screen: &'a Screen,
    /// Amendments of which it is not known whether the hot state did them.
    unknown: usize,
}

impl Reconciliation<'_> {
    /// The lines with such differences only as a second look confirms.
    fn settled_look(&mut self) -> Result<Lines, Failure> {
        let first = self.look()?;
        if first.values().all(|line| line.lacks == 0) {
            return Ok(first);
        }
        thread::sleep(Duration::from_millis(self.args.patience.ms()));
        let mut second = self.look()?;
        for (budget, line) in &mut second {
            let before = first.get(budget).map_or(0, |line| line.lacks);
            line.lacks = in_both(before, line.lacks);
        }
        Ok(second)
    }

    fn look(&mut self) -> Result<Lines, Failure> {
        self.unknown = 0;
        self.spent.read(self.screen)?;
        let mut counts = Vec::new();
        for tenant in self.tenants()? {
            let mut rows = self.books.spend(&tenant)?;
            let known: BTreeSet<String> = rows.iter().filter_map(name).collect();
            let named = self.spent.budgets().filter(|budget| budget.tenant == tenant);
            let named: BTreeSet<String> = named.map(ToString::to_string).collect();
            let more: Vec<String> = named.difference(&known).cloned().collect();
            rows.extend(self.books.spend_of(&tenant, &more)?);
            let amendments = self.books.adjustments(&tenant)?;
            for row in &rows {
                counts.extend(self.count(&tenant, row, &amendments)?);
            }
        }
        self.spent.read(self.screen)?;
        Ok(counts.into_iter().map(|count| self.line(count)).collect())
    }

    /// What is counted, beside what the journal said just before and what it says just after.
    fn line(&self, count: Count) -> (BudgetKey, Line) {
        let Count { budget, began_at, before, amended, spent, held } = count;
        let journal = self.spent.sum(&budget, began_at);
        let should =
            |sum: Sum| signed(sum.ended.saturating_add(sum.open)).saturating_add(amended).max(0);
        let lacks = outside(signed(spent.saturating_add(held)), should(before), should(journal));
        (budget, Line { journal, amended, spent, held, lacks })
    }

    fn tenants(&self) -> Result<BTreeSet<TenantId>, Failure> {
        if let Some(tenant) = &self.args.tenant {
            return Ok(BTreeSet::from([tenant.clone()]));
        }
        let mut tenants: BTreeSet<_> = self.books.tenants()?.into_iter().collect();
        tenants.extend(self.spent.budgets().map(|budget| budget.tenant.clone()));
        Ok(tenants)
    }

    /// What is counted of a budget, unless its window began before what is looked at.
    fn count(
        &mut self,
        tenant: &TenantId,
        row: &Value,
        amendments: &[Value],
    ) -> Result<Option<Count>, Failure> {
        let lacking = |what| Failure::from(RegionError::Answer { what });
        let named = name(row).and_then(|name| BudgetKey::parse(tenant.clone(), &name).ok());
        let budget = named.ok_or_else(|| lacking("the name of a budget"))?;
        let began_at =
            instant(row, "began_at").ok_or_else(|| lacking("the beginning of a window"))?;
        if self.args.since.is_some_and(|since| began_at < since) {
            return Ok(None);
        }
        let spent = microusd(row, "spent_microusd").ok_or_else(|| lacking("what is spent"))?;
        let held = microusd(row, "held_microusd").ok_or_else(|| lacking("what is held"))?;
        let amended = self.amended(&budget, began_at, amendments);
        let before = self.spent.sum(&budget, began_at);
        Ok(Some(Count { budget, began_at, before, amended, spent, held }))
    }

    /// By how much people amended a budget in its window under way.
    fn amended(&mut self, budget: &BudgetKey, began_at: Timestamp, all: &[Value]) -> i64 {
        let mut sum = 0_i64;
        let is_of = |made: &&Value| {
            made.get("budget").and_then(Value::as_str) == Some(budget.to_string().as_str())
                && made.get("purpose").and_then(Value::as_str) == Some(Purpose::Amend.as_str())
                && instant(made, "at").is_some_and(|at| at >= began_at)
        };
        for made in all.iter().filter(is_of) {
            if made.get("applied_at").is_none_or(Value::is_null) {
                self.unknown = self.unknown.saturating_add(1);
                continue;
            }
            let amount = |member| microusd(made, member).map_or(0, signed);
            sum = sum
                .saturating_add(amount("add_microusd"))
                .saturating_sub(amount("subtract_microusd"));
        }
        sum
    }

    fn correct(&self, budget: &BudgetKey, line: &Line) -> Result<(), Failure> {
        let amount = MicroUsd::new(line.lacks.unsigned_abs());
        let correction = match line.lacks {
            0 => return Ok(()),
            1.. => Correction::Add(amount),
            _ => Correction::Subtract(amount),
        };
        let Line { journal, spent, held, .. } = line;
        let reason = format!(
            "the journal has {} ended and {} open, amended by {}; counted were {} spent and {} held",
            dollars(journal.ended),
            dollars(journal.open),
            change(line.amended),
            dollars(*spent),
            dollars(*held),
        );
        let once = new_key(clock::now())?;
        let purpose = Purpose::Reconcile;
        self.books.adjust(&Order { budget, correction, purpose, reason: &reason, once: &once })?;
        self.screen.say(&format!(
            "{} {budget}: corrected by {}",
            budget.tenant,
            change(line.lacks)
        ));
        Ok(())
    }

    fn show(&self, lines: &Lines) -> Result<Exit, Failure> {
        let differing: Vec<_> = lines.iter().filter(|(_, line)| line.lacks != 0).collect();
        let columns =
            ["tenant", "budget", "ended", "open", "amended", "spent", "held", "difference"];
        let mut sheet = Sheet::new(&columns).right_from(2);
        for (budget, line) in &differing {
            let amounts = [line.journal.ended, line.journal.open].map(|it| dollars(it).into());
            let counted = [line.spent, line.held].map(|it| dollars(it).into());
            let names = [json!(budget.tenant), budget.to_string().into()];
            let amended = [Value::from(change(line.amended))];
            let difference = [Value::from(change(line.lacks))];
            let cells = [&names[..], &amounts, &amended, &counted, &difference].concat();
            sheet.row_in(Mood::Bad, cells);
        }
        let told = differing.iter().map(|(budget, line)| told(budget, line)).collect();
        self.screen.thing(&Value::Array(told), &sheet)?;
        for (count, words) in [
            (self.spent.strays, "whose decision is in no journal here: its cost is in no sum here"),
            (self.unknown, "that nobody heard was done: `aegisctl budget history` shows it"),
        ] {
            let noun = if words.starts_with("whose") { "outcome" } else { "amendment" };
            if count > 0 {
                self.screen.say(&format!("{} {words}", counted(count, noun)));
            }
        }
        let (all, wrong) = (counted(lines.len(), "budget"), differing.len());
        if differing.is_empty() {
            self.screen.say(&format!("{all}, none differs"));
            return Ok(Exit::Ok);
        }
        self.screen.say(&format!("{all}, {wrong} differ; --apply corrects them"));
        Ok(Exit::CheckFailed)
    }
}

fn told(budget: &BudgetKey, line: &Line) -> Value {
    json!({
        "tenant": budget.tenant,
        "budget": budget.to_string(),
        "ended_microusd": line.journal.ended,
        "open_microusd": line.journal.open,
        "amended_microusd": line.amended,
        "spent_microusd": line.spent,
        "held_microusd": line.held,
        "difference_microusd": line.lacks,
    })
}

/// How far a count lies outside of two sums: what it lacks of the lower, or has too much of the higher.
fn outside(counted: i64, one: i64, other: i64) -> i64 {
    counted.clamp(one.min(other), one.max(other)).saturating_sub(counted)
}

/// What of a difference two looks agree on.
fn in_both(first: i64, second: i64) -> i64 {
    if first.signum() != second.signum() {
        return 0;
    }
    if first.unsigned_abs() < second.unsigned_abs() { first } else { second }
}

fn change(micro_usd: i64) -> String {
    let sign = if micro_usd < 0 { "-" } else { "+" };
    format!("{sign}{}", dollars(MicroUsd::new(micro_usd.unsigned_abs())))
}

/// Amounts stop far below what this holds.
fn signed(amount: MicroUsd) -> i64 {
    i64::try_from(amount.micro_usd()).unwrap_or(i64::MAX)
}

fn name(row: &Value) -> Option<String> {
    row.get("name").and_then(Value::as_str).map(str::to_owned)
}

fn instant(value: &Value, member: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = value.get(member)?.as_str()?.parse().ok()?;
    u64::try_from(at.as_nanosecond()).ok().map(Timestamp::from_unix_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_between_what_the_journal_said_before_and_after_is_right() {
        for (counted, one, other, lacks) in
            [(5, 5, 5, 0), (5, 4, 6, 0), (5, 6, 4, 0), (3, 4, 6, 1), (9, 6, 4, -3), (5, 7, 7, 2)]
        {
            assert_eq!(outside(counted, one, other), lacks, "{counted} {one} {other}");
        }
    }

    #[test]
    fn a_difference_is_what_two_looks_agree_on() {
        for (first, second, both) in
            [(5, 5, 5), (5, 9, 5), (-9, -5, -5), (5, -5, 0), (0, 5, 0), (5, 0, 0)]
        {
            assert_eq!(in_both(first, second), both, "{first} {second}");
        }
    }
}

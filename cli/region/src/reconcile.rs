//! `aegisctl budget reconcile`: holds what the hot state counts against what the audit journal says was spent.
//!
//! Not here: reading the journal (`cli/journal`). What ended and what is under way are compared as one sum, since a hold that
//! runs out becomes spend of itself. Invariant: calls that begin or end meanwhile are no difference: the journal is read before
//! and after the count, a count between the two is right, and what is wrong must be so at a second look; and each correction
//! says in the region's books what it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use aegis_cli_journal::{Spent, Sum};
use aegis_domain::{BudgetKey, MicroUsd, TenantId, Timestamp, Ttl};
use aegis_registry::{Correction, Purpose};
use serde_json::{Value, json};

use crate::Told;
use crate::books::{Books, Order, change_microusd, microusd, new_key, signed};
use crate::money::{change, dollars};
use crate::region::RegionError;

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// Windows that began before are left out.
    pub since: Option<Timestamp>,
    /// The audit directories of all gateways that share the hot state.
    pub journals: Vec<PathBuf>,
    /// How long after the first look a second one is taken, if anything differs.
    pub patience: Ttl,
    pub on_difference: OnDifference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDifference {
    Tell,
    Correct,
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

/// Compares, and corrects what differs where that is wanted. Also says how many budgets differ in the end.
pub fn reconcile(
    comparison: &Comparison,
    books: &Books,
    now: Timestamp,
) -> Result<(Told, usize), RegionError> {
    let since = comparison.since.unwrap_or(Timestamp::from_unix_ns(0));
    let spent = Spent::new(comparison.journals.clone(), since);
    let mut audit = Reconciliation { comparison, books, spent, unknown: 0, unheld: 0 };
    let mut lines = audit.settled_look()?;
    let mut words = Vec::new();
    if comparison.on_difference == OnDifference::Correct && differing(&lines).next().is_some() {
        for (budget, line) in differing(&lines) {
            audit.correct(budget, line, now)?;
            words.push(format!("{} {budget}: corrected by {}", budget.tenant, change(line.lacks)));
        }
        lines = audit.settled_look()?;
    }
    words.extend(audit.words(&lines));
    Ok((Told { words, ..table(&lines) }, differing(&lines).count()))
}

fn differing(lines: &Lines) -> impl Iterator<Item = (&BudgetKey, &Line)> {
    lines.iter().filter(|(_, line)| line.lacks != 0)
}

struct Reconciliation<'a> {
    comparison: &'a Comparison,
    books: &'a Books,
    spent: Spent,
    /// Amendments of which it is not known whether the hot state did them.
    unknown: usize,
    /// Budgets whose window began before what the journals here still hold.
    unheld: usize,
}

impl Reconciliation<'_> {
    /// The lines with such differences only as a second look confirms.
    fn settled_look(&mut self) -> Result<Lines, RegionError> {
        let first = self.look()?;
        if first.values().all(|line| line.lacks == 0) {
            return Ok(first);
        }
        thread::sleep(Duration::from_millis(self.comparison.patience.ms()));
        let mut second = self.look()?;
        for (budget, line) in &mut second {
            let before = first.get(budget).map_or(0, |line| line.lacks);
            line.lacks = in_both(before, line.lacks);
        }
        Ok(second)
    }

    fn look(&mut self) -> Result<Lines, RegionError> {
        (self.unknown, self.unheld) = (0, 0);
        self.spent.read()?;
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
        self.spent.read()?;
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

    fn tenants(&self) -> Result<BTreeSet<TenantId>, RegionError> {
        if let Some(tenant) = &self.comparison.tenant {
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
    ) -> Result<Option<Count>, RegionError> {
        let lacking = |what| RegionError::Answer { what };
        let named = name(row).and_then(|name| BudgetKey::parse(tenant.clone(), &name).ok());
        let budget = named.ok_or_else(|| lacking("the name of a budget"))?;
        let began_at =
            instant(row, "began_at").ok_or_else(|| lacking("the beginning of a window"))?;
        if self.comparison.since.is_some_and(|since| began_at < since) {
            return Ok(None);
        }
        if began_at < self.spent.known_since() {
            self.unheld = self.unheld.saturating_add(1);
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
            sum = sum.saturating_add(change_microusd(made));
        }
        sum
    }

    fn correct(&self, budget: &BudgetKey, line: &Line, now: Timestamp) -> Result<(), RegionError> {
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
        let once = new_key(now)?;
        let purpose = Purpose::Reconcile;
        self.books.adjust(&Order { budget, correction, purpose, reason: &reason, once: &once })?;
        Ok(())
    }

    /// What the table does not say.
    fn words(&self, lines: &Lines) -> Vec<String> {
        let strays = self.spent.strays();
        let mut words = Vec::new();
        if strays > 0 {
            words.push(format!(
                "{strays} outcomes belong to decisions in no journal here; their cost is in no sum"
            ));
        }
        if self.unheld > 0 {
            let unheld = self.unheld;
            words.push(format!(
                "{unheld} budgets are left out: records of their windows were shipped and deleted here"
            ));
        }
        if self.unknown > 0 {
            let unknown = self.unknown;
            words.push(format!(
                "{unknown} amendments may not have been done; `aegisctl budget history` shows them"
            ));
        }
        words.push(match (lines.len(), differing(lines).count()) {
            (all, 0) => format!("{all} budgets, none differs"),
            (all, wrong) => format!("{all} budgets, {wrong} differ; --apply corrects them"),
        });
        words
    }
}

fn table(lines: &Lines) -> Told {
    let row = |(budget, line): (&BudgetKey, &Line)| {
        let Line { journal, amended, spent, held, lacks } = *line;
        let names = [budget.tenant.to_string(), budget.to_string()];
        let recorded = [dollars(journal.ended), dollars(journal.open), change(amended)];
        let counted = [dollars(spent), dollars(held), change(lacks)];
        names.into_iter().chain(recorded).chain(counted).map(Value::from).collect()
    };
    Told {
        value: differing(lines).map(|(budget, line)| told(budget, line)).collect(),
        columns: vec![
            "tenant",
            "budget",
            "ended",
            "open",
            "amended",
            "spent",
            "held",
            "difference",
        ],
        rows: differing(lines).map(row).collect(),
        ..Told::default()
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

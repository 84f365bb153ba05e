//! `aegisctl audit query`: the decisions and outcomes that answer a question.
//!
//! Not here: the conditions (`filter`). Invariant: the newest are shown, and when there are more, that is said.

use std::collections::BTreeMap;
use std::path::Path;

use aegis_cli_export::{Cell, Row};
use clap::Args;
use serde_json::Value;

use crate::answer::{Answer, Table};
use crate::filter::{FilterArgs, cost};
use crate::log::LogArgs;
use crate::records::each_record;
use crate::{EvidenceError, Progress};

const SHOWN: &[&str] =
    &["tenant", "agent", "tool", "kind", "decision", "status", "reason", "cost_usd", "id"];

/// Find decisions and outcomes, newest last.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl audit query --tenant acme --decision deny --since 24h
  aegisctl audit query --tool 'llm.*' --cost-min 0.50 -o json | jq -r '.[].id'
  aegisctl audit query --reason BudgetExceeded --from s3://audit --trust region.txt")]
pub struct QueryArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// How many at most.
    #[arg(short = 'n', long, default_value_t = 1_000, value_name = "COUNT")]
    limit: usize,
    #[command(flatten)]
    log: LogArgs,
}

impl QueryArgs {
    pub fn run(&self, root: &Path, progress: Progress<'_>) -> Result<Answer, EvidenceError> {
        let (log, trust) = self.log.open(root)?;
        // By time, and by arrival within one instant.
        let (mut newest, mut found) = (BTreeMap::<(u64, u64), Row>::new(), 0_u64);
        each_record((&log, &trust), progress, &mut |origin, bytes| {
            if let Some(row) = Row::of(origin, bytes).filter(|row| self.filter.takes(row)) {
                found = found.saturating_add(1);
                newest.insert((row.ts, found), row);
                if newest.len() > self.limit {
                    newest.pop_first();
                }
            }
            Ok(())
        })?;
        let mut table = Table::new(&[&["time"], SHOWN].concat());
        newest.values().for_each(|row| table.rows.push(cells(row)));
        let value = newest.values().map(Row::to_json).collect();
        let mut words = Vec::new();
        if u64::try_from(newest.len()).is_ok_and(|shown| shown < found) {
            words.push(format!("the newest {} of {found}; --limit shows more", newest.len()));
        }
        Ok(Answer { value, tables: vec![table], words, ..Answer::default() })
    }
}

pub(crate) fn cells(row: &Row) -> Vec<Value> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(row.ts));
    let time = time.map_or(Value::Null, |time| format!("{time:.3}").into());
    let cell = |name: &&str| match *name {
        "tenant" => row.tenant.clone().into(),
        "cost_usd" => cost(row).to_string().into(),
        name => match row.get(name) {
            Cell::Nothing => Value::Null,
            Cell::Text(text) => text.as_str().into(),
            Cell::Whole(number) => (*number).into(),
        },
    };
    std::iter::once(time).chain(SHOWN.iter().map(cell)).collect()
}

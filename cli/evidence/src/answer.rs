//! What a command has to show, before anyone chose between tables and JSON.
//!
//! Not here: writing it out (`cli`). Invariant: the tables are made from what the value is made from.

use serde_json::Value;

/// How a command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    #[default]
    Ok,
    /// What was checked is not as it must be.
    Failed,
    /// What could be judged holds, and something could not.
    Incomplete,
}

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<Value>>,
    /// Columns from here on stand to the right.
    pub right_from: Option<usize>,
}

impl Table {
    pub fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), ..Self::default() }
    }

    /// One thing, a member a row.
    pub fn of_members(value: &Value) -> Self {
        let members = value.as_object().into_iter().flatten();
        let row = |(name, member): (&String, &Value)| vec![name.clone().into(), member.clone()];
        Self { rows: members.map(row).collect(), ..Self::new(&["name", "value"]) }
    }
}

/// Everything a command has to say.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// For programs.
    pub value: Value,
    /// For people; empty ones are left out.
    pub tables: Vec<Table>,
    /// The one word that people look for, last on stdout.
    pub verdict: Option<&'static str>,
    /// Beside the data.
    pub words: Vec<String>,
    pub outcome: Outcome,
}

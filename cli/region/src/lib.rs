//! The commands of `aegisctl` that ask a region's control API: agents, keys, revocations, tools, budgets, approvals, releases,
//! the fleet, voters, audit logs, sessions, and an agent's own token.
//!
//! Not here: writing to a terminal (`cli`). Invariant: a secret comes from a file or stdin, never from the command line, and
//! goes to a server that is on this machine or proves itself by TLS.

mod agent;
mod amend;
mod approval;
mod backup;
mod books;
mod budget;
mod cluster;
mod command;
mod definition;
mod export;
mod files;
mod fleet;
mod keys;
mod machine;
mod money;
mod pages;
mod reconcile;
mod region;
mod release;
mod revoke;
mod rollout;
mod session;
mod tenant;
mod token;
mod witnessed;

use serde_json::Value;

pub use backup::BackupError;
pub use books::Books;
pub use budget::BudgetCommand;
pub use cluster::ClusterArgs;
pub use command::RegionCommand;
pub use export::ExportArgs;
pub use files::FilesError;
pub use fleet::FleetArgs;
pub use machine::MachineError;
pub use reconcile::{Comparison, OnDifference, reconcile};
pub use region::{Access, RegionError};
pub use release::{LineArgs, MaybeLineArgs, ReleaseCommand, changes};
pub use rollout::line as rollout_line;
pub use token::GetArgs;
pub use witnessed::{HeadsArgs, LedgerTrustArgs, LogsArgs, WitnessArgs};

/// Under `Aegis-Read: own`.
const OWN: &str = "this is what one voter knew last (read: own): it is out of touch with the others, who may know more by now";

/// What a command has to say.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// For programs.
    pub value: Value,
    /// For people: headings, and a row each.
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<Value>>,
    /// One text that another program takes, instead of a table.
    pub text: Option<String>,
    /// Beside the data.
    pub words: Vec<String>,
}

impl Told {
    /// Many things, one a row.
    pub(crate) fn list(values: &[Value], columns: &[&'static str]) -> Self {
        let row = |value: &Value| columns.iter().map(|column| cell(value, column)).collect();
        Self {
            value: Value::Array(values.to_vec()),
            columns: columns.to_vec(),
            rows: values.iter().map(row).collect(),
            ..Self::default()
        }
    }

    /// One thing, a member a row.
    pub(crate) fn thing(value: &Value) -> Self {
        let members = value.as_object().into_iter().flatten();
        let row = |(name, member): (&String, &Value)| vec![name.clone().into(), member.clone()];
        Self {
            value: value.clone(),
            columns: vec!["name", "value"],
            rows: members.map(row).collect(),
            ..Self::default()
        }
    }

    /// One text.
    pub(crate) fn text(value: Value, text: &str) -> Self {
        Self { value, text: Some(text.to_owned()), ..Self::default() }
    }

    /// Says what the answer is worth: all that was acknowledged before the question, or what one voter knew last.
    pub(crate) fn read_as(mut self, read: Option<&str>) -> Self {
        if let (Some(read), Some(members)) = (read, self.value.as_object_mut()) {
            members.insert("read".to_owned(), read.into());
        }
        match read {
            Some("own") => self.saying(OWN),
            Some(_) | None => self,
        }
    }

    pub(crate) fn saying(mut self, words: impl Into<String>) -> Self {
        self.words.push(words.into());
        self
    }
}

fn cell(value: &Value, column: &str) -> Value {
    value.get(column).cloned().unwrap_or_default()
}

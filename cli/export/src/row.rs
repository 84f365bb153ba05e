//! One decision or outcome as a row.
//!
//! Not here: files. Invariant: every value is taken from the record's own bytes by its place in them; what a kind of record has
//! not is null.

use aegis_audit_chain::{Origin, record};
use serde_json::{Map, Value};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Whole,
    /// Microseconds since 1970, UTC.
    Time,
}

/// One column: its name, where its value stands in a record, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pointer: &'static str,
    pub kind: Kind,
}

const fn text(name: &'static str, pointer: &'static str) -> Column {
    Column { name, pointer, kind: Kind::Text }
}

const fn whole(name: &'static str, pointer: &'static str) -> Column {
    Column { name, pointer, kind: Kind::Whole }
}

/// All columns; region, tenant and day are the partition's.
pub const COLUMNS: &[Column] = &[
    text("log", ""),
    whole("seq", "/seq"),
    Column { name: "recorded_at", pointer: "/ts", kind: Kind::Time },
    text("kind", "/k"),
    text("id", "/id"),
    text("trace", "/trace"),
    text("org", "/org"),
    text("agent", "/agent"),
    text("parent_agent", "/parent_agent"),
    text("tool", "/tool"),
    text("route", "/route"),
    text("host", "/dest/host"),
    whole("port", "/dest/port"),
    text("method", "/dest/method"),
    text("call", "/kind"),
    text("policy_revision", "/policy/revision"),
    whole("policy_version", "/policy/version"),
    text("rules", "/rules"),
    text("mode", "/mode"),
    text("decision", "/decision"),
    text("reason", "/reason"),
    text("approval_id", "/approval_id"),
    text("budgets", "/budget/keys"),
    whole("held_microusd", "/budget/held_microusd"),
    whole("est_cost_microusd", "/est_cost_microusd"),
    whole("cost_microusd", "/cost_microusd"),
    whole("status", "/status"),
    whole("bytes", "/bytes"),
    whole("sent", "/sent"),
    whole("dur_us", "/dur_us"),
    whole("eval_us", "/eval_us"),
    whole("tokens_in", "/usage/tokens_in"),
    whole("tokens_out", "/usage/tokens_out"),
    text("redactions", "/redactions"),
    text("degraded", "/degraded"),
    text("of_log", "/of_origin"),
    whole("of_seq", "/of"),
];

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Nothing,
    Text(String),
    Whole(i64),
}

/// One record, and the partition it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub region: String,
    pub tenant: Option<String>,
    /// Nanoseconds since 1970.
    pub ts: u64,
    /// In the order of `COLUMNS`.
    pub cells: Vec<Cell>,
}

impl Row {
    /// The row of a decision or outcome; `None` for what a stream writes about itself, and for what is no record.
    pub fn of(origin: &Origin, bytes: &[u8]) -> Option<Self> {
        let (kind, tenant) = record::kind_and_tenant(bytes)?;
        if !matches!(record::Kind::parse(kind)?, record::Kind::Decision | record::Kind::Outcome) {
            return None;
        }
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let ts = value.pointer("/ts").and_then(Value::as_str)?.parse().ok()?;
        let cells = COLUMNS.iter().map(|column| match column.pointer {
            "" => Cell::Text(origin.to_string()),
            pointer => value.pointer(pointer).map_or(Cell::Nothing, |value| cell(column, value)),
        });
        let (region, tenant) = (origin.region().to_owned(), tenant.map(str::to_owned));
        Some(Self { region, tenant, ts, cells: cells.collect() })
    }

    /// The row as an object; nulls are left out.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("region".to_owned(), self.region.as_str().into());
        members.extend(
            self.tenant.as_ref().map(|tenant| ("tenant".to_owned(), tenant.as_str().into())),
        );
        for (column, cell) in COLUMNS.iter().zip(&self.cells) {
            let value: Value = match cell {
                Cell::Nothing => continue,
                Cell::Text(text) => text.as_str().into(),
                Cell::Whole(number) => (*number).into(),
            };
            members.insert(column.name.to_owned(), value);
        }
        Value::Object(members)
    }

    /// The cell under a column's name.
    pub fn get(&self, name: &str) -> &Cell {
        let at = COLUMNS.iter().position(|column| column.name == name);
        at.and_then(|at| self.cells.get(at)).unwrap_or(&Cell::Nothing)
    }
}

fn cell(column: &Column, value: &Value) -> Cell {
    match column.kind {
        Kind::Text => Cell::Text(plain(value)),
        Kind::Whole => number(value).map_or(Cell::Nothing, Cell::Whole),
        Kind::Time => number(value).map_or(Cell::Nothing, |ns| Cell::Whole(ns / 1_000)),
    }
}

/// Lists are written as a reader of tables expects them: their items, or rule and count, with commas between.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(members) => match (members.get("rule"), members.get("count")) {
            (Some(rule), Some(count)) => format!("{}:{count}", plain(rule)),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// Counters of 64 bits stand as digits in quotes; a table holds 63.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::String(digits) => digits.parse().ok(),
        value => value.as_i64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: &str = include_str!("../../../docs/spec/vectors/audit/records.jsonl");

    fn rows() -> Vec<Option<Row>> {
        let origin = Origin::parse("aegis.example/eu-west-1/gw-1/1").unwrap();
        PUBLISHED.lines().map(|line| Row::of(&origin, line.as_bytes())).collect()
    }

    #[test]
    fn decisions_and_outcomes_are_rows_and_nothing_else_is() {
        let made: Vec<bool> = rows().iter().map(Option::is_some).collect();
        assert_eq!(made, [false, false, true, true, true, false, false, false]);
    }

    #[test]
    fn a_row_says_what_the_record_says() {
        let rows: Vec<Row> = rows().into_iter().flatten().collect();
        let text = |text: &str| Cell::Text(text.to_owned());
        let decision = &rows[0];
        assert_eq!(
            (decision.region.as_str(), decision.tenant.as_deref()),
            ("eu-west-1", Some("acme"))
        );
        assert_eq!(decision.get("log"), &text("aegis.example/eu-west-1/gw-1/1"));
        assert_eq!(
            (decision.get("seq"), decision.get("port")),
            (&Cell::Whole(2), &Cell::Whole(443))
        );
        assert_eq!(decision.get("rules"), &text("payments-small,card-blanked"));
        assert_eq!(decision.get("redactions"), &text("card:2"));
        assert_eq!(decision.get("recorded_at"), &Cell::Whole(1_790_000_000_002_000));
        assert_eq!(decision.get("status"), &Cell::Nothing);
        // The published revision counter is the largest there is; a table's whole numbers end before it.
        assert_eq!(decision.get("policy_version"), &Cell::Nothing);
        assert_eq!(rows[1].tenant, None);
        assert_eq!(
            (rows[2].get("cost_microusd"), rows[2].get("of_seq")),
            (&Cell::Whole(1_200), &Cell::Whole(2))
        );
        assert!(rows[2].to_json().get("agent").is_some());
    }
}

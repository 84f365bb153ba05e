//! Rows with named columns: what a command has to show, before anyone chose between a table and JSON.
//!
//! Not here: writing it out (`screen`). Invariant: table and JSON are made from the same cells, so they cannot disagree.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde_json::{Map, Value};

/// How a cell is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Plain,
    Good,
    Doubtful,
    Bad,
}

#[derive(Clone, Debug)]
pub struct Sheet {
    /// Key in JSON and heading in the table.
    columns: Vec<&'static str>,
    rows: Vec<(Mood, Vec<Value>)>,
    /// Columns from here on stand to the right.
    right_from: usize,
    has_heading: bool,
}

impl Sheet {
    pub fn new(columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            right_from: usize::MAX,
            has_heading: true,
        }
    }

    /// Sets columns to the right, so that the digits of numbers line up.
    pub fn right_from(self, column: usize) -> Self {
        Self { right_from: column, ..self }
    }

    /// Continues a table whose heading was shown.
    pub fn without_heading(self) -> Self {
        Self { has_heading: false, ..self }
    }

    pub fn row(&mut self, cells: Vec<Value>) {
        self.rows.push((Mood::Plain, cells));
    }

    /// A row whose first cell is coloured.
    pub fn row_in(&mut self, mood: Mood, cells: Vec<Value>) {
        self.rows.push((mood, cells));
    }

    /// An array of one object a row.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|(_, cells)| {
            let members = self.columns.iter().zip(cells);
            members.map(|(key, cell)| ((*key).to_owned(), cell.clone())).collect::<Map<_, _>>()
        });
        rows.map(Value::Object).collect()
    }

    pub fn to_table(&self, colour: bool) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        if self.has_heading {
            let headings = self.columns.iter().map(|key| heading(key));
            table.set_header(headings.map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
        }
        for (mood, cells) in &self.rows {
            table.add_row(cells.iter().enumerate().map(|(column, value)| {
                let cell = cell(value);
                if column == 0 { tint(cell, *mood) } else { cell }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for column in table.column_iter_mut().skip(self.right_from) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

fn heading(key: &str) -> String {
    key.replace('_', " ").to_uppercase()
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::String(text) => Cell::new(text),
        Value::Number(number) => Cell::new(number),
        Value::Null => Cell::new("-"),
        Value::Array(items) => Cell::new(items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Bool(_) | Value::Object(_) => Cell::new(value),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn tint(cell: Cell, mood: Mood) -> Cell {
    match mood {
        Mood::Plain => cell,
        Mood::Good => cell.fg(Color::Green),
        Mood::Doubtful => cell.fg(Color::Yellow),
        Mood::Bad => cell.fg(Color::Red),
    }
}

//! What is wrong with a text, and where: one finding, all findings, and the sheet they are collected on.
//!
//! Not here: how they are found. Invariant: diagnostics that came back as an error are sorted by file and position, and
//! at most `DIAGNOSTICS_MAX` of them are kept; the others are counted.

use std::fmt;
use std::sync::Arc;

use super::{Location, Position};

/// The most findings that are kept; nobody reads more, and a hostile text must not make millions.
pub const DIAGNOSTICS_MAX: usize = 100;

/// One finding, at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n    help: {help}"),
            None => Ok(()),
        }
    }
}

/// The findings of one or several texts, in the order in which they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
    omitted: usize,
}

impl Diagnostics {
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// How many were only counted.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Whether further findings are only counted.
    pub fn is_full(&self) -> bool {
        self.found.len() >= DIAGNOSTICS_MAX
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.found.iter()
    }

    /// Adds one finding.
    pub fn report(&mut self, at: &Location, message: impl Into<String>, help: Option<String>) {
        let Location { file, position: Position { line, column } } = at.clone();
        self.push(Diagnostic { file, line, column, message: message.into(), help });
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.omitted = self.omitted.saturating_add(1);
        } else {
            self.found.push(diagnostic);
        }
    }

    /// Adds the findings of another text.
    pub fn merge(&mut self, other: Diagnostics) {
        self.omitted = self.omitted.saturating_add(other.omitted);
        self.found.extend(other.found);
    }

    /// The same findings, by file and position.
    pub fn sorted(mut self) -> Self {
        self.found.sort();
        let over = self.found.len().saturating_sub(DIAGNOSTICS_MAX);
        self.found.truncate(DIAGNOSTICS_MAX);
        self.omitted = self.omitted.saturating_add(over);
        self
    }

    /// `value`, unless anything was found.
    pub fn or<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.is_empty() { Ok(value) } else { Err(self.sorted()) }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.found.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        match self.omitted {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// The sheet on which the findings of one text are collected, so that reading can go on after each.
#[derive(Debug)]
pub struct Problems {
    file: Arc<str>,
    found: Diagnostics,
}

impl Problems {
    pub fn new(file: &str) -> Self {
        Self { file: file.into(), found: Diagnostics::default() }
    }

    /// Whether further problems are only counted, so that nobody need look for advice.
    pub(super) fn is_full(&self) -> bool {
        self.found.is_full()
    }

    pub fn file(&self) -> Arc<str> {
        Arc::clone(&self.file)
    }

    /// That position of this text.
    pub fn locate(&self, position: Position) -> Location {
        Location { file: self.file(), position }
    }

    pub fn report(&mut self, at: Position, message: impl Into<String>) {
        self.push(at, message.into(), None);
    }

    pub fn report_with_help(
        &mut self,
        at: Position,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(at, message.into(), Some(help.into()));
    }

    fn push(&mut self, at: Position, message: String, help: Option<String>) {
        let (line, column) = (at.line, at.column);
        self.found.push(Diagnostic { file: self.file(), line, column, message, help });
    }

    /// The findings so far, sorted.
    pub fn into_diagnostics(self) -> Diagnostics {
        self.found.sorted()
    }

    /// The value if nothing was reported. A missing value without a report is reported as such.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Diagnostics> {
        if value.is_none() && self.found.is_empty() {
            self.report(Position::START, "the text could not be read");
        }
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            Some(_) | None => Err(self.into_diagnostics()),
        }
    }
}

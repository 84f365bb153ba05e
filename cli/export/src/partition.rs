//! Which rows go into which file: `region=<region>/tenant=<tenant>/day=<day>/part-<n>.<format>`, as Hive, DuckDB and Spark
//! read it.
//!
//! Not here: the bytes (`table`). Invariant: a row is in exactly one file; memory holds a bounded number of rows, whatever
//! the log's length.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use crate::row::Row;
use crate::table;

/// A file has at most this many rows.
const FILE_ROWS_MAX: usize = 65_536;
/// All partitions together hold at most this many before the largest is written.
const HELD_ROWS_MAX: usize = 262_144;
/// What Hive calls the partition of rows without a value.
const NO_TENANT: &str = "__HIVE_DEFAULT_PARTITION__";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    Csv,
    JsonLines,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
        }
    }
}

/// Why rows were not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{} cannot be written", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} cannot be written as Parquet", path.display())]
    Parquet { path: PathBuf, source: ParquetError },
    #[error("{} holds something already, and nothing is written over", path.display())]
    NotEmpty { path: PathBuf },
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub rows: u64,
    pub files: u64,
}

/// Sorts rows into files below one directory.
#[derive(Debug)]
pub struct Exporter {
    dir: PathBuf,
    format: Format,
    partitions: BTreeMap<PathBuf, Part>,
    held: usize,
    summary: Summary,
}

#[derive(Debug, Default)]
struct Part {
    rows: Vec<Row>,
    files: usize,
}

impl Exporter {
    /// `dir` must be empty or not there.
    pub fn new(dir: &Path, format: Format) -> Result<Self, ExportError> {
        let failed = |source| ExportError::File { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        if fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(ExportError::NotEmpty { path: dir.to_owned() });
        }
        let (dir, partitions) = (dir.to_owned(), BTreeMap::new());
        Ok(Self { dir, format, partitions, held: 0, summary: Summary::default() })
    }

    pub fn add(&mut self, row: Row) -> Result<(), ExportError> {
        let tenant = row.tenant.as_deref().unwrap_or(NO_TENANT);
        let day = date(row.ts / 1_000_000_000 / 86_400);
        let folder = format!("region={}/tenant={tenant}/day={day}", row.region);
        let folder = self.dir.join(folder);
        let part = self.partitions.entry(folder.clone()).or_default();
        part.rows.push(row);
        self.held = self.held.saturating_add(1);
        if part.rows.len() >= FILE_ROWS_MAX {
            return self.write(&folder);
        }
        if self.held >= HELD_ROWS_MAX {
            let largest = self.partitions.iter().max_by_key(|(_, part)| part.rows.len());
            if let Some(folder) = largest.map(|(folder, _)| folder.clone()) {
                return self.write(&folder);
            }
        }
        Ok(())
    }

    /// Writes what is still held.
    pub fn finish(mut self) -> Result<Summary, ExportError> {
        let folders: Vec<PathBuf> = self.partitions.keys().cloned().collect();
        folders.iter().try_for_each(|folder| self.write(folder))?;
        Ok(self.summary)
    }

    fn write(&mut self, folder: &Path) -> Result<(), ExportError> {
        let Some(part) = self.partitions.get_mut(folder).filter(|part| !part.rows.is_empty())
        else {
            return Ok(());
        };
        let rows = std::mem::take(&mut part.rows);
        let path = folder.join(format!("part-{:05}.{}", part.files, self.format.ending()));
        part.files = part.files.saturating_add(1);
        self.held = self.held.saturating_sub(rows.len());
        self.summary.files = self.summary.files.saturating_add(1);
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        self.summary.rows = self.summary.rows.saturating_add(count);
        let failed = |source| ExportError::File { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        match self.format {
            Format::Parquet => table::parquet(file, &rows)
                .map_err(|source| ExportError::Parquet { path: path.clone(), source }),
            Format::Csv => whole(file, |out| table::csv(out, &rows)).map_err(failed),
            Format::JsonLines => whole(file, |out| table::json_lines(out, &rows)).map_err(failed),
        }
    }
}

fn whole(file: File, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()
}

/// The day of the Gregorian calendar, by Hinnant's `civil_from_days`: eras of 400 years, years that begin in March.
fn date(days: u64) -> String {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (10_957, "2000-01-01"),
            (11_016, "2000-02-29"),
            (20_779, "2026-11-22"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days), expected);
        }
    }
}

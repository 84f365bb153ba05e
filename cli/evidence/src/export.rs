//! `aegisctl audit export`: decisions and outcomes as files that analysts' tools read.
//!
//! Not here: the files (`cli/export`). Invariant: what is exported hangs together as it was written; whether it is everything,
//! `audit verify` says.

use std::path::{Path, PathBuf};

use aegis_cli_export::{ExportError, Exporter, Format, Row};
use clap::Args;
use serde_json::json;

use crate::answer::{Answer, Table};
use crate::filter::FilterArgs;
use crate::log::LogArgs;
use crate::records::each_record;
use crate::{EvidenceError, Progress};

/// Write decisions and outcomes as Parquet, CSV or JSON lines.
#[derive(Debug, Args)]
#[command(after_help = "\
Files are partitioned as region=<region>/tenant=<tenant>/day=<day>, which DuckDB, Spark and Hive understand:
  SELECT tenant, sum(cost_microusd) FROM read_parquet('out/**/*.parquet', hive_partitioning = true) GROUP BY ALL

Examples:
  aegisctl audit export --parquet ./out
  aegisctl audit export --csv ./out --tenant acme --since 24h
  aegisctl audit export --jsonl ./out --from s3://audit --trust region.txt")]
pub struct ExportArgs {
    /// The folder for Parquet files; it must be empty or not there.
    #[arg(long, value_name = "DIR", group = "into")]
    parquet: Option<PathBuf>,
    /// The folder for CSV files.
    #[arg(long, value_name = "DIR", group = "into")]
    csv: Option<PathBuf>,
    /// The folder for files with a JSON object a line.
    #[arg(long, value_name = "DIR", group = "into")]
    jsonl: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl ExportArgs {
    pub fn run(&self, root: &Path, progress: Progress<'_>) -> Result<Answer, EvidenceError> {
        let choices = [
            (&self.parquet, Format::Parquet),
            (&self.csv, Format::Csv),
            (&self.jsonl, Format::JsonLines),
        ];
        let chosen = choices.into_iter().find_map(|(dir, format)| Some((dir.as_ref()?, format)));
        let Some((dir, format)) = chosen else {
            let message = "name a folder with --parquet, --csv or --jsonl".to_owned();
            return Err(EvidenceError::Usage { message });
        };
        let (log, trust) = self.log.open(root)?;
        let mut exporter = Exporter::new(dir, format)?;
        each_record((&log, &trust), progress, &mut |origin, bytes| match Row::of(origin, bytes)
            .filter(|row| self.filter.takes(row))
        {
            Some(row) => Ok(exporter.add(row)?),
            None => Ok(()),
        })?;
        let summary = exporter.finish()?;
        let value = json!({ "rows": summary.rows, "files": summary.files });
        let tables = vec![Table::of_members(&value)];
        Ok(Answer { value, tables, ..Answer::default() })
    }
}

impl From<ExportError> for EvidenceError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::NotEmpty { path } => {
                let source = std::io::ErrorKind::AlreadyExists.into();
                Self::File { what: "the folder", path, source }
            }
            ExportError::File { path, source } => Self::File { what: "the file", path, source },
            error @ ExportError::Parquet { .. } => Self::invalid("the export", error),
        }
    }
}

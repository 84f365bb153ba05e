//! `aegisctl audit tenant`, and `audit verify --tenant-package`: everything on record about one tenant, and the proof that it
//! is everything.
//!
//! Not here: the package and its check (`audit/tenant`). Invariant: what is written was checked as its reader will check it.

use std::path::{Path, PathBuf};

use aegis_audit_chain::Head;
use aegis_audit_tenant::{MakeError, Package, Report, check, make};
use aegis_audit_trust::Trust;
use aegis_audit_verify::Verdict;
use aegis_domain::TenantId;
use clap::Args;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome, Table};
use crate::log::{LogArgs, write_new};
use crate::named::{self, PACKAGE_BYTES_MAX};
use crate::records::unreadable;
use crate::{EvidenceError, Progress};

/// Write a tenant's package: all its records, and the proof that they are all.
#[derive(Debug, Args)]
#[command(after_help = "\
The package shows nothing of another tenant's calls. Whoever holds it and the trust file needs nothing else:
  aegisctl audit verify --tenant-package acme.tenant-package --trust registry.txt

It is complete up to the newest signed head, about a second ago for a log that is being written.

Examples:
  aegisctl audit tenant --tenant acme --out acme.tenant-package
  aegisctl audit tenant --tenant acme --from s3://audit --trust region.txt --out acme.tenant-package")]
pub struct TenantArgs {
    /// Whose records.
    #[arg(long, value_name = "TENANT", value_parser = TenantId::parse)]
    tenant: TenantId,
    #[command(flatten)]
    log: LogArgs,
    /// The file to write; one that is there is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl TenantArgs {
    pub fn run(&self, root: &Path, progress: Progress<'_>) -> Result<Answer, EvidenceError> {
        let (log, trust) = self.log.open(root)?;
        let mut registries = Vec::new();
        log.each(&trust, &mut |source, trust| {
            let made = make(source, trust, &self.tenant, progress)?;
            registries.extend(made.registries);
            Ok::<_, EvidenceError>(())
        })?;
        if registries.is_empty() {
            let message = "no registry that the trust file names is in this log".to_owned();
            return Err(EvidenceError::Unknown { message });
        }
        let package = Package { tenant: self.tenant.clone(), registries };
        let report = check(&package, &trust, &[]);
        if report.verdict() == Verdict::Fail {
            // A log that was tampered with: the finding is for the operator, a package of it for nobody.
            return Ok(told(&report));
        }
        write_new(&self.out, package.to_text().as_bytes())?;
        let words = format!(
            "{} records of {} in {} streams are in {}",
            report.records,
            self.tenant,
            report.streams.len(),
            self.out.display()
        );
        Ok(Answer { words: vec![words], ..told(&report) })
    }
}

impl From<MakeError> for EvidenceError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::File(error) => unreadable(error),
            MakeError::Registry(_) | MakeError::Changed { .. } => {
                Self::invalid("the audit log", error)
            }
        }
    }
}

/// Checks a package, and hands out the registry heads that the next one must extend.
pub fn check_package(
    path: &Path,
    trust: &Trust,
    remembered: &[Head],
) -> Result<(Answer, Vec<Head>), EvidenceError> {
    let text = named::read("the package", path, PACKAGE_BYTES_MAX)?;
    let package = Package::parse(&text)
        .map_err(|error| EvidenceError::invalid(path.display().to_string(), error))?;
    let report = check(&package, trust, remembered);
    let heads = if report.findings.is_empty() { report.registries.clone() } else { Vec::new() };
    Ok((told(&report), heads))
}

fn told(report: &Report) -> Answer {
    let verdict = report.verdict();
    let outcome = match verdict {
        Verdict::Pass => Outcome::Ok,
        Verdict::Incomplete => Outcome::Incomplete,
        Verdict::Fail | Verdict::Suspect => Outcome::Failed,
    };
    let mut problems = Table::new(&["what", "stream", "record"]);
    for finding in &report.findings {
        let (origin, seq) = (finding.origin.as_str(), json!(finding.seq));
        problems.rows.push(vec![finding.flaw.to_string().into(), origin.into(), seq]);
    }
    for gap in &report.gaps {
        problems.rows.push(vec![gap.to_string().into(), gap.origin().as_str().into(), Value::Null]);
    }
    let mut streams = Table::new(&["stream", "ended", "records", "of"]);
    streams.right_from = Some(2);
    for stream in &report.streams {
        let ended = stream.ended.map_or("running", |ending| ending.as_str());
        let origin = stream.origin.as_str().into();
        streams.rows.push(vec![origin, ended.into(), stream.records.into(), stream.size.into()]);
    }
    let mut words = vec![format!("{} records of {}", report.records, report.tenant)];
    if let Ok(until) = jiff::Timestamp::from_nanosecond(i128::from(report.until_ns)) {
        words.push(format!("what was recorded after {until:.0} is not in this package"));
    }
    let (value, tables) = (report.to_json(), vec![problems, streams]);
    Answer { value, tables, verdict: Some(verdict.as_str()), words, outcome }
}

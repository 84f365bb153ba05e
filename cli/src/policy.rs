//! `aegisctl policy`: is a policy file right, and does it do what its tests say?
//!
//! Not here: the language (`policies/engine`). Invariant: each file is judged by itself, as the gateway loads it, and every
//! mistake in every file is shown before the command ends.

use std::path::{Path, PathBuf};

use aegis_document::{Diagnostic, Diagnostics, Document};
use aegis_policy::cases::{self, CaseReport, CaseResult, RuleCoverage};
use aegis_policy::{CompileContext, Snapshot};
use aegis_policy_language::PolicySet;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::home::{self, Home};
use crate::screen::{Screen, counted};
use crate::sheet::{Mood, Sheet};

/// Check policy files and run their tests.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Check(CheckArgs),
    Test(TestArgs),
}

/// Compile policy files and show every mistake with its line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl policy check
  aegisctl policy check policies/acme.yaml
  aegisctl policy check -o json | jq '.mistakes[] | .message'")]
struct CheckArgs {
    /// Policy files; those that aegis.yaml names unless given.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Run the tests that policy files bring along.
#[derive(Debug, Args)]
#[command(after_help = "\
Rules that no test saw fire, or that no test saw hold still, are named on stderr; they are no failure.

Examples:
  aegisctl policy test
  aegisctl policy test policies/acme.yaml -o json | jq '.cases[] | select(.passed | not)'")]
struct TestArgs {
    /// Policy files; those that aegis.yaml names unless given.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// One file that compiles.
struct Policy {
    file: PathBuf,
    set: PolicySet,
    snapshot: Snapshot,
}

pub(crate) fn run(args: &PolicyArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    match &args.command {
        PolicyCommand::Check(args) => check(&args.files, home, screen),
        PolicyCommand::Test(args) => test(&args.files, home, screen),
    }
}

/// Compiles one file; mistakes in it are an `Invalid` failure that holds their `Diagnostics`.
pub(crate) fn compile(path: &Path) -> Result<(PolicySet, Snapshot), Failure> {
    let text = home::read("the policy", path)?;
    let name = path.display().to_string();
    let compiled = Document::parse(&name, &text).and_then(|document| {
        let set = PolicySet::parse(&[document])?;
        let snapshot = Snapshot::of(&set, CompileContext { version: 1 })?;
        Ok((set, snapshot))
    });
    compiled.map_err(|found| Failure::invalid(name, found))
}

fn load(files: &[PathBuf], home: &Home) -> Result<(Vec<Policy>, Vec<Diagnostic>), Failure> {
    let mut files = files.to_vec();
    if files.is_empty() {
        let config = Config::load(&home.config())?;
        files = config.tenants.into_values().flat_map(|tenant| tenant.policies).collect();
    }
    let (mut policies, mut mistakes) = (Vec::new(), Vec::new());
    for file in files {
        match compile(&file) {
            Ok((set, snapshot)) => policies.push(Policy { file, set, snapshot }),
            Err(Failure::Invalid { what, source }) => match source.downcast::<Diagnostics>() {
                Ok(found) => mistakes.extend(found.iter().cloned()),
                Err(source) => return Err(Failure::Invalid { what, source }),
            },
            Err(failure) => return Err(failure),
        }
    }
    Ok((policies, mistakes))
}

fn check(files: &[PathBuf], home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let (policies, mistakes) = load(files, home)?;
    let mut sheet = Sheet::new(&["file", "tenant", "tools", "bundle_sha256"]);
    for policy in &policies {
        sheet.row(vec![
            policy.file.display().to_string().into(),
            policy.snapshot.tenant().as_str().into(),
            policy.snapshot.tools().count().into(),
            policy.snapshot.policy_ref().bundle_sha256.clone().into(),
        ]);
    }
    if screen.is_json() {
        screen.json(&json!({ "files": sheet.to_json(), "mistakes": shown(&mistakes) }))?;
    } else {
        tell(&mistakes, screen)?;
        if !policies.is_empty() {
            screen.sheet(&sheet)?;
        }
    }
    Ok(ended(&mistakes, screen))
}

fn test(files: &[PathBuf], home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let (policies, mistakes) = load(files, home)?;
    let reports: Vec<CaseReport> =
        policies.iter().map(|policy| cases::run(&policy.snapshot, &policy.set)).collect();
    let cases: Vec<&CaseResult> = reports.iter().flat_map(|report| &report.cases).collect();
    let uncovered: Vec<&RuleCoverage> = reports.iter().flat_map(CaseReport::uncovered).collect();
    let mut sheet = Sheet::new(&["result", "test", "at", "failure"]);
    for case in &cases {
        let (mood, result) = match case.failure {
            None => (Mood::Good, "ok"),
            Some(_) => (Mood::Bad, "FAILED"),
        };
        let at = case.at.to_string();
        let cells =
            [result.into(), case.name.clone().into(), at.into(), case.failure.clone().into()];
        sheet.row_in(mood, cells.to_vec());
    }
    if screen.is_json() {
        screen.json(&report_json(&cases, &uncovered, &mistakes))?;
    } else {
        tell(&mistakes, screen)?;
        if !cases.is_empty() {
            screen.sheet(&sheet)?;
        }
    }
    for rule in &uncovered {
        let unseen = if rule.fired { "hold still" } else { "fire" };
        screen.say(&format!("{}: no test saw rule {} {unseen}", rule.at, rule.rule));
    }
    let failed = cases.iter().filter(|case| case.failure.is_some()).count();
    screen.say(&format!("{}, {failed} failed", counted(cases.len(), "test")));
    let exit = if failed > 0 { Exit::CheckFailed } else { Exit::Ok };
    Ok(exit.max(ended(&mistakes, screen)))
}

fn report_json(cases: &[&CaseResult], uncovered: &[&RuleCoverage], found: &[Diagnostic]) -> Value {
    let cases = cases.iter().map(|case| {
        json!({
            "name": case.name,
            "at": case.at.to_string(),
            "passed": case.failure.is_none(),
            "failure": case.failure,
        })
    });
    let uncovered = uncovered.iter().map(|rule| {
        json!({
            "tool": rule.tool.as_str(),
            "rule": rule.rule.as_str(),
            "at": rule.at.to_string(),
            "fired": rule.fired,
            "not_fired": rule.not_fired,
        })
    });
    json!({
        "cases": cases.collect::<Vec<_>>(),
        "uncovered": uncovered.collect::<Vec<_>>(),
        "mistakes": shown(found),
    })
}

fn shown(mistakes: &[Diagnostic]) -> Value {
    let mistakes = mistakes.iter().map(|it| {
        json!({
            "file": &*it.file,
            "line": it.line,
            "column": it.column,
            "message": it.message,
            "help": it.help,
        })
    });
    mistakes.collect()
}

/// As compilers do, so that editors find the place.
fn tell(mistakes: &[Diagnostic], screen: &Screen) -> Result<(), Failure> {
    mistakes.iter().try_for_each(|mistake| screen.raw(format!("{mistake}\n")))
}

fn ended(mistakes: &[Diagnostic], screen: &Screen) -> Exit {
    if mistakes.is_empty() {
        return Exit::Ok;
    }
    screen.say(&counted(mistakes.len(), "mistake"));
    Exit::CheckFailed
}

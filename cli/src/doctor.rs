//! `aegisctl doctor`: is this data directory fit to run a gateway, and is one running?
//!
//! Not here: repairing anything. Invariant: every check is made and shown even when an earlier one failed; the only thing
//! ever written is a file in the data directory that is removed again.

mod disk;
mod keys;
mod net;
mod time;

use std::process::{Command, Stdio};

use clap::Args;

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::policy;
use crate::screen::{Screen, counted};
use aegis_cli_sheet::{Mood, Sheet};

/// Look over the data directory, the policies, the clock and the ports.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 1 when a check fails; a warning is no failure.

Examples:
  aegisctl doctor
  aegisctl --data /var/lib/aegis doctor -o json | jq '.[] | select(.status == \"fail\")'")]
pub(crate) struct DoctorArgs {}

/// What one check found.
#[derive(Debug)]
struct Check {
    name: String,
    status: Status,
    found: String,
    /// What to do about it.
    advice: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Warn,
    Fail,
    Skip,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Skip => "skip",
        }
    }

    fn mood(self) -> Mood {
        match self {
            Status::Ok => Mood::Good,
            Status::Warn => Mood::Doubtful,
            Status::Fail => Mood::Bad,
            Status::Skip => Mood::Plain,
        }
    }
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Ok, found: found.into(), advice: None }
    }

    fn skip(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Skip, found: found.into(), advice: None }
    }

    fn warn(name: impl Into<String>, found: impl Into<String>, advice: &'static str) -> Self {
        let (name, found) = (name.into(), found.into());
        Self { name, status: Status::Warn, found, advice: Some(advice) }
    }

    fn fail(name: impl Into<String>, found: impl Into<String>, advice: &'static str) -> Self {
        let (name, found) = (name.into(), found.into());
        Self { name, status: Status::Fail, found, advice: Some(advice) }
    }
}

pub(crate) fn run(_: &DoctorArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let mut checks = Vec::new();
    match Config::load(&home.config()) {
        Ok(config) => {
            checks.push(Check::ok("config", home.config().display().to_string()));
            checks.push(whole_config(home));
            checks.extend(keys::check(home));
            checks.push(disk::check(&config.data_dir));
            checks.extend(policies(&config));
            checks.push(time::check(&config.data_dir));
            checks.extend(net::check(&config.listen));
        }
        Err(Failure::Invalid { source, .. }) => {
            let advice = "correct aegis.yaml; the other checks need it";
            checks.push(Check::fail("config", source.to_string(), advice));
            checks.extend(keys::check(home));
        }
        Err(failure) => return Err(failure),
    }
    show(&checks, screen)?;
    let failed = checks.iter().filter(|check| check.status == Status::Fail).count();
    if failed > 0 {
        screen.say(&format!("{failed} of {} checks failed", checks.len()));
        return Ok(Exit::CheckFailed);
    }
    Ok(Exit::Ok)
}

fn show(checks: &[Check], screen: &Screen) -> Result<(), Failure> {
    let mut sheet = Sheet::new(&["status", "check", "found", "advice"]);
    for check in checks {
        let cells = vec![
            check.status.as_str().into(),
            check.name.clone().into(),
            check.found.clone().into(),
            check.advice.into(),
        ];
        sheet.row_in(check.status.mood(), cells);
    }
    screen.sheet(&sheet)
}

/// The gateway knows every key of its configuration; `aegisctl` knows a few. Ask the one beside us.
fn whole_config(home: &Home) -> Check {
    const NAME: &str = "gateway check";
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("aegis-gateway"));
    let Some(gateway) = beside.filter(|path| path.is_file()) else {
        return Check::skip(NAME, "no aegis-gateway beside aegisctl");
    };
    let ran = Command::new(gateway)
        .args(["check", "--config"])
        .arg(home.config())
        .stdin(Stdio::null())
        .output();
    match ran {
        Ok(output) if output.status.success() => Check::ok(NAME, "the whole configuration holds"),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Check::fail(NAME, words, "correct aegis.yaml")
        }
        Err(error) => Check::fail(NAME, error.to_string(), "make aegis-gateway executable"),
    }
}

fn policies(config: &Config) -> Vec<Check> {
    let files = config.tenants.iter().flat_map(|(tenant, it)| {
        it.policies.iter().map(move |path| (format!("policy {tenant}"), path))
    });
    files
        .map(|(name, path)| match policy::compile(path) {
            Ok((_, snapshot)) => Check::ok(name, counted(snapshot.tools().count(), "tool")),
            Err(failure) => {
                Check::fail(name, failure.chain(), "`aegisctl policy check` shows every mistake")
            }
        })
        .collect()
}

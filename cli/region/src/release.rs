//! `aegisctl policy push` and what follows it: the versions of a policy in the region, and which of them decides.
//!
//! Not here: rollouts (`rollout`), and policies as files (`cli`). Invariant: whoever activates a version does so against the
//! pointer that was just read, and hears who was faster.

use std::path::{Path, PathBuf};

use aegis_control_client::{Answer, Client, ClientError, Conditions};
use aegis_domain::TenantId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::region::{Access, RegionError};
use crate::rollout::RolloutArgs;
use crate::{Told, files, pages, rollout};

const COLUMNS: [&str; 6] = ["version", "source_sha256", "by", "at", "held", "decides"];
/// What the control API takes.
const POLICY_BYTES_MAX: usize = 700 * 1_024;
/// What is taken for a policy in a directory.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    Push(PushArgs),
    List(ListArgs),
    Show(ShowArgs),
    Activate(ActivateArgs),
    Rollout(RolloutArgs),
    /// Keep a rollout where it is; its guards still hold it and roll it back.
    Pause(TurnArgs),
    /// Let a paused rollout move on; the time of its stage begins anew.
    Resume(TurnArgs),
    /// Take a rollout's candidate back.
    Abort(TurnArgs),
    Rollback(RollbackArgs),
    /// Keep what decides as it is in this region, whatever another region releases; only a rollback moves it.
    Pin(TurnArgs),
    /// Let a pinned policy move again.
    Unpin(TurnArgs),
    Overtake(OvertakeArgs),
}

/// Whose policy, and where that is known.
#[derive(Debug, Args)]
pub struct LineArgs {
    /// Whose policy.
    #[arg(long)]
    pub(crate) tenant: TenantId,
    /// The environment that the policy names, such as prod.
    #[arg(long = "env", value_name = "ENV", value_parser = environment)]
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// The same, where a command also does without a region.
#[derive(Debug, Args)]
pub struct MaybeLineArgs {
    /// Whose policy.
    #[arg(long, requires = "environment")]
    tenant: Option<TenantId>,
    /// The environment that the policy names, such as prod.
    #[arg(long = "env", value_name = "ENV", value_parser = environment, requires = "tenant")]
    environment: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl MaybeLineArgs {
    /// What was named, if anything.
    pub fn line(&self) -> Option<LineArgs> {
        let (tenant, environment) = (self.tenant.clone()?, self.environment.clone()?);
        Some(LineArgs { tenant, environment, access: self.access.clone() })
    }
}

/// Publish a policy as the next version; nothing decides by it before `activate` or `rollout start`.
///
/// The region compiles it, runs its tests and compares two engines on it first; what it finds is told with its place.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl policy push policies/acme.yaml --tenant acme --env prod
  aegisctl policy push policies/acme/ --tenant acme --env prod --once $CI_JOB_ID")]
pub struct PushArgs {
    /// Files that together make one set, or a directory of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// The key of a push that is sent again, so that it makes one version.
    #[arg(long, value_name = "KEY")]
    once: Option<String>,
    #[command(flatten)]
    line: LineArgs,
}

/// List the versions of a policy, the newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  aegisctl policy list --tenant acme --env prod")]
pub struct ListArgs {
    #[command(flatten)]
    line: LineArgs,
}

/// Show a version: its digests, who pushed it when, and the files it was made of.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl policy show 7 --tenant acme --env prod
  aegisctl policy show 7 --tenant acme --env prod --source > acme-7.yaml")]
pub struct ShowArgs {
    version: u32,
    /// Print the files and nothing else.
    #[arg(long)]
    source: bool,
    #[command(flatten)]
    line: LineArgs,
}

/// Let a version decide for everyone at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl policy activate 7 --tenant acme --env prod
  aegisctl policy activate 7 --shadow 8 --tenant acme --env prod
  aegisctl policy activate 9 --downgrade --tenant acme --env prod")]
pub struct ActivateArgs {
    version: u32,
    /// A version that judges the same calls without effect.
    #[arg(long, value_name = "VERSION")]
    shadow: Option<u32>,
    /// Let it stop enforcing what is enforced now; this takes a permission of its own.
    #[arg(long)]
    downgrade: bool,
    #[command(flatten)]
    line: LineArgs,
}

/// Take a rollout's candidate back or, where none is under way, go back to what decided before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl policy rollback --tenant acme --env prod
  aegisctl policy rollback --to 5 --tenant acme --env prod")]
pub struct RollbackArgs {
    /// A version that decided before.
    #[arg(long, value_name = "VERSION")]
    to: Option<u32>,
    #[command(flatten)]
    line: LineArgs,
}

/// Have gateways that hold a later release than the region knows, as after a restore, take what the region says.
///
/// What the pointer says stays as it is; its epoch is stepped past the latest that any gateway reports, or past the one that is named.
#[derive(Debug, Args)]
#[command(after_help = "\
A gateway never takes an older epoch than it holds, and a region that was restored or recovered knows only older ones: such a gateway is
`ahead` in `aegisctl fleet status`, and goes on with what it has. Look first at what the region would have it decide by (`aegisctl policy
list`), and activate another version where that is not the one you want. It may enforce less than what the gateways have, so it
takes the permission `policy:downgrade`.

Examples:
  aegisctl policy overtake --tenant acme --env prod
  aegisctl policy overtake --past 12 --tenant acme --env prod    # for a gateway that reports to nobody now")]
pub struct OvertakeArgs {
    /// The epoch that some gateway holds; the latest that any reports unless given.
    #[arg(long, value_name = "EPOCH")]
    past: Option<u64>,
    #[command(flatten)]
    line: LineArgs,
}

#[derive(Debug, Args)]
pub struct TurnArgs {
    #[command(flatten)]
    line: LineArgs,
}

fn environment(text: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=63).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("an environment is 1 to 63 of a-z 0-9 -")
    }
}

impl LineArgs {
    pub(crate) fn path(&self, what: &str) -> String {
        format!("/v1/policies/{}/{}/{what}", self.tenant, self.environment)
    }

    pub(crate) fn client(&self, data: &Path) -> Result<Client, RegionError> {
        self.access.admin(data)
    }
}

impl ReleaseCommand {
    pub fn run(&self, data: &Path) -> Result<Told, RegionError> {
        match self {
            ReleaseCommand::Push(args) => push(args, data),
            ReleaseCommand::List(args) => list(&args.line, data),
            ReleaseCommand::Show(args) => show(args, data),
            ReleaseCommand::Activate(args) => activate(args, data),
            ReleaseCommand::Rollout(args) => args.run(data),
            ReleaseCommand::Pause(args) => turn(&args.line, data, "rollout/pause", &json!({})),
            ReleaseCommand::Resume(args) => turn(&args.line, data, "rollout/resume", &json!({})),
            ReleaseCommand::Abort(args) => turn(&args.line, data, "rollout/abort", &json!({})),
            ReleaseCommand::Rollback(args) => {
                turn(&args.line, data, "rollback", &json!({ "to": args.to }))
            }
            ReleaseCommand::Pin(args) => turn(&args.line, data, "pin", &json!({})),
            ReleaseCommand::Unpin(args) => turn(&args.line, data, "unpin", &json!({})),
            ReleaseCommand::Overtake(args) => {
                turn(&args.line, data, "overtake", &json!({ "past": args.past }))
            }
        }
    }

    /// Whether it is to be run again and again.
    pub fn is_watching(&self) -> bool {
        matches!(self, ReleaseCommand::Rollout(args) if args.is_watching())
    }
}

/// Every file that is named, and those of each directory by name.
fn named(paths: &[PathBuf]) -> Result<Vec<PathBuf>, RegionError> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let file = |source| files::FilesError::File { path: path.clone(), source };
        let entries = std::fs::read_dir(path).map_err(file)?;
        let found: Result<Vec<PathBuf>, _> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut found = found.map_err(file)?;
        let is_policy = |path: &PathBuf| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending))
        };
        found.retain(is_policy);
        found.sort();
        all.extend(found);
    }
    Ok(all)
}

fn push(args: &PushArgs, data: &Path) -> Result<Told, RegionError> {
    let mut sent = Vec::new();
    for path in named(&args.files)? {
        let text = files::read(&path)?;
        sent.push(json!({ "name": path.display().to_string(), "text": text }));
    }
    let (path, wish) = (args.line.path("versions"), json!({ "files": sent }));
    // A server that hangs up in the middle of a body says nothing.
    if wish.to_string().len() > POLICY_BYTES_MAX {
        return Err(RegionError::Input { what: "the size of the policy, at most 700 KiB," });
    }
    let conditions = Conditions { version: None, once: args.once.as_deref() };
    let pushed = args.line.client(data)?.post(&path, &wish, &conditions);
    let version = pushed.map_err(RegionError::of_policy)?.body;
    let number = version.get("version").cloned().unwrap_or_default();
    let words = format!(
        "version {number} is published; let it decide with `aegisctl policy activate {number}` or \
         `aegisctl policy rollout start {number}`"
    );
    Ok(Told::thing(&version).saying(words))
}

fn list(line: &LineArgs, data: &Path) -> Result<Told, RegionError> {
    let client = line.client(data)?;
    let mut versions = pages::all(&client, &line.path("versions"), "versions")?;
    let (pointer, read) = match client.get(&line.path("pointer")) {
        Ok(answer) => (answer.body, answer.read),
        Err(ClientError::Refused { status: 404, .. }) => (Value::Null, None),
        Err(error) => return Err(error.into()),
    };
    for version in &mut versions {
        let decides = decides(&pointer, version.get("version"));
        if let Some(members) = version.as_object_mut() {
            members.insert("decides".to_owned(), decides.into());
        }
    }
    Ok(Told::list(&versions, &COLUMNS).read_as(read.as_deref()))
}

/// In which way a version decides now, in a word.
fn decides(pointer: &Value, version: Option<&Value>) -> Option<&'static str> {
    let is = |of: Option<&Value>| version.is_some() && of == version;
    let rollout = pointer.get("rollout").filter(|rollout| {
        let state = rollout.get("state").and_then(Value::as_str);
        matches!(state, Some("running" | "held"))
    });
    if is(pointer.get("active")) {
        Some("active")
    } else if is(rollout.and_then(|rollout| rollout.get("candidate"))) {
        Some("candidate")
    } else if is(pointer.get("shadow")) {
        Some("shadow")
    } else {
        None
    }
}

fn show(args: &ShowArgs, data: &Path) -> Result<Told, RegionError> {
    let path = args.line.path(&format!("versions/{}", args.version));
    let version = args.line.client(data)?.get(&path)?.body;
    let sources = version.get("files").and_then(Value::as_array);
    if args.source {
        let sources =
            sources.ok_or(RegionError::Answer { what: "the files: they are no longer held" })?;
        let texts = sources.iter().filter_map(|file| file.get("text")?.as_str());
        let text = texts.collect::<Vec<_>>().join("---\n");
        return Ok(Told::text(version, text.trim_end_matches('\n')));
    }
    let names = sources.map(|files| {
        let names = files.iter().filter_map(|file| file.get("name")?.as_str());
        names.collect::<Vec<_>>().join(", ")
    });
    let mut told = Told::thing(&version);
    let author = version.get("author").filter(|author| author.is_object());
    for row in &mut told.rows {
        let [name, member] = row.as_mut_slice() else { continue };
        if name == "files" {
            *member = names.clone().into();
        } else if name == "author" {
            *member = author.map(rollout::origin).into();
        }
    }
    Ok(told)
}

fn activate(args: &ActivateArgs, data: &Path) -> Result<Told, RegionError> {
    let client = args.line.client(data)?;
    let wish = json!({ "active": args.version, "shadow": args.shadow });
    let seen = client.get(&args.line.path("pointer"))?.etag;
    let conditions = Conditions { version: seen.as_deref(), once: None };
    let answer = if args.downgrade {
        client.post(&args.line.path("downgrade"), &wish, &conditions)
    } else {
        client.put(&args.line.path("pointer"), &wish, &conditions)
    };
    told(answer)
}

fn turn(line: &LineArgs, data: &Path, what: &str, wish: &Value) -> Result<Told, RegionError> {
    told(line.client(data)?.post(&line.path(what), wish, &Conditions::default()))
}

/// The pointer after a command, and in words.
pub(crate) fn told(answer: Result<Answer, ClientError>) -> Result<Told, RegionError> {
    let pointer = answer.map_err(RegionError::of_policy)?.body;
    let words = rollout::line(&pointer);
    Ok(rollout::pointer(&pointer).saying(words))
}

/// What changes from one version in the region to another.
pub fn changes(
    line: &LineArgs,
    (from, to): (u32, u32),
    data: &Path,
) -> Result<Vec<Value>, RegionError> {
    let path = line.path(&format!("diff?from={from}&to={to}"));
    let diff = line.client(data)?.get(&path)?.body;
    let changes = diff.get("changes").and_then(Value::as_array).cloned();
    changes.ok_or(RegionError::Answer { what: "the changes" })
}

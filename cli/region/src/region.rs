//! Which control API is asked, and by what right.
//!
//! Not here: what is asked. Invariant: nothing secret is sent in the clear to another machine.

use std::path::{Path, PathBuf};

use aegis_audit_trust::TrustError;
use aegis_cli_journal::JournalError;
use aegis_control_client::{Client, ClientError};
use aegis_domain::Secret;
use aegis_identity::KeyError;
use clap::Args;
use serde_json::Value;

use crate::backup::BackupError;
use crate::files::{self, FilesError};
use crate::machine::MachineError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    #[error("the control API did not do it")]
    Client(#[from] ClientError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("{url} is neither https nor on this machine, so no secret is sent to it")]
    InTheClear { url: String },
    #[error("{} holds no Ed25519 key in PKCS#8 PEM", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("{what} is not what is wanted")]
    Input { what: &'static str },
    #[error("the system gives no randomness")]
    Random(#[source] getrandom::Error),
    #[error("the answer lacks {what}")]
    Answer { what: &'static str },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{} is no trust file", path.display())]
    Trust { path: PathBuf, source: TrustError },
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A line for each mistake, with its place.
    #[error("the policy is not fit to decide\n{0}")]
    Unfit(String),
    /// The same.
    #[error("this is no such definition\n{0}")]
    Misread(String),
    #[error("somebody was faster: epoch {epoch} is of {by}, and version {active} decides")]
    Lost { epoch: String, by: String, active: String },
    /// A line for each rule that would no longer be enforced.
    #[error("this stops enforcing what is enforced now\n{0}")]
    Downgrade(String),
    #[error("it is not known whether that was done; ask once more with `--once {once}`")]
    Unsure { once: String, source: ClientError },
}

impl RegionError {
    /// What a refusal of the policy routes tells beside its kind.
    pub(crate) fn of_policy(error: ClientError) -> Self {
        let ClientError::Refused { kind, problem, .. } = &error else { return error.into() };
        match kind.as_str() {
            "policy" => Self::Unfit(mistakes(problem, None)),
            "downgrade" => {
                let changes = all(problem, "changes")
                    .map(|it| format!("{}: {}", text(it, "path"), text(it, "message")));
                Self::Downgrade(changes.collect::<Vec<_>>().join("\n"))
            }
            "changed" => {
                let pointer = problem.get("pointer").unwrap_or(&Value::Null);
                let [epoch, by, active] = ["epoch", "by", "active"].map(|name| text(pointer, name));
                Self::Lost { epoch, by, active }
            }
            _ => error.into(),
        }
    }

    /// The mistakes of a text by the lines of the file that it came from.
    pub(crate) fn of_definition(error: ClientError, file: &str) -> Self {
        match &error {
            ClientError::Refused { kind, problem, .. } if kind == "definition" => {
                Self::Misread(mistakes(problem, Some(file)))
            }
            _ => error.into(),
        }
    }

    /// Whether the server, or a rule of ours, does not allow it.
    pub fn is_forbidden(&self) -> bool {
        match self {
            RegionError::Client(ClientError::Refused { status, .. }) => matches!(status, 401 | 403),
            RegionError::InTheClear { .. }
            | RegionError::Files(FilesError::TooOpen { .. })
            | RegionError::Machine(MachineError::WasVoter { .. })
            | RegionError::Downgrade(_) => true,
            RegionError::Client(_)
            | RegionError::Files(_)
            | RegionError::Key { .. }
            | RegionError::Input { .. }
            | RegionError::Random(_)
            | RegionError::Answer { .. }
            | RegionError::Journal(_)
            | RegionError::Trust { .. }
            | RegionError::Backup(_)
            | RegionError::Machine(_)
            | RegionError::Unfit(_)
            | RegionError::Misread(_)
            | RegionError::Lost { .. }
            | RegionError::Unsure { .. } => false,
        }
    }

    /// Whether something is not there, or a policy does not compile.
    pub fn is_missing(&self) -> bool {
        match self {
            RegionError::Client(
                ClientError::Refused { status: 404, .. } | ClientError::Unreachable { .. },
            ) => true,
            RegionError::Files(FilesError::File { source, .. }) => {
                source.kind() == std::io::ErrorKind::NotFound
            }
            RegionError::Unfit(_) | RegionError::Misread(_) => true,
            RegionError::Client(_)
            | RegionError::Files(_)
            | RegionError::InTheClear { .. }
            | RegionError::Key { .. }
            | RegionError::Input { .. }
            | RegionError::Random(_)
            | RegionError::Answer { .. }
            | RegionError::Journal(_)
            | RegionError::Trust { .. }
            | RegionError::Backup(_)
            | RegionError::Machine(_)
            | RegionError::Lost { .. }
            | RegionError::Downgrade(_)
            | RegionError::Unsure { .. } => false,
        }
    }

    /// What to do about it, where that is not plain.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            RegionError::Client(ClientError::Unreachable { .. }) => {
                Some("name the control API with --control or AEGIS_CONTROL_URL")
            }
            RegionError::Client(ClientError::Refused { status: 401, .. }) => {
                Some("log in again with `aegisctl login`, or name a token with --admin-token")
            }
            RegionError::Client(ClientError::Refused { kind, .. }) if kind == "budget-unknown" => {
                Some(
                    "`aegisctl budget show` lists what is set; what aegis.yaml sets is changed there",
                )
            }
            RegionError::Client(ClientError::Refused { kind, .. }) if kind == "unknown" => Some(
                "look with `aegisctl cluster status` and at what was to change before you ask again",
            ),
            RegionError::Downgrade(_) => Some(
                "whoever may do that activates it with --downgrade; show it with `aegisctl policy diff`",
            ),
            RegionError::Machine(MachineError::WasVoter { .. }) => Some(
                "if that voter is given up, move control/cluster and control/ledger away and come again",
            ),
            RegionError::InTheClear { .. } => {
                Some("name it with https://, or by an address such as 127.0.0.1")
            }
            RegionError::Client(_)
            | RegionError::Files(_)
            | RegionError::Key { .. }
            | RegionError::Input { .. }
            | RegionError::Random(_)
            | RegionError::Answer { .. }
            | RegionError::Journal(_)
            | RegionError::Trust { .. }
            | RegionError::Backup(_)
            | RegionError::Machine(_)
            | RegionError::Unfit(_)
            | RegionError::Misread(_)
            | RegionError::Lost { .. }
            | RegionError::Unsure { .. } => None,
        }
    }
}

/// A line for each mistake of a text; it came from `file`, if that is known better here.
fn mistakes(problem: &Value, file: Option<&str>) -> String {
    let mistakes = all(problem, "diagnostics").map(|it| {
        let [told, line, column, message] =
            ["file", "line", "column", "message"].map(|name| text(it, name));
        let file = file.unwrap_or(&told);
        let help = it.get("help").and_then(Value::as_str);
        let help = help.map(|help| format!("\n    help: {help}")).unwrap_or_default();
        format!("{file}:{line}:{column}: {message}{help}")
    });
    mistakes.collect::<Vec<_>>().join("\n")
}

fn all<'a>(problem: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    problem.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text(of: &Value, name: &str) -> String {
    match of.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The region's control API, and the right to command it.
#[derive(Clone, Debug, Args)]
#[group(skip)]
#[command(next_help_heading = "Control API")]
pub struct Access {
    /// The control API's URL.
    #[arg(
        long,
        env = "AEGIS_CONTROL_URL",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL"
    )]
    control: String,
    /// The file with a token that may command the region: what `aegisctl login` kept in the data directory, or else its
    /// `control/admin.token`, unless given.
    #[arg(long, env = "AEGIS_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token: Option<PathBuf>,
    /// A certificate to trust instead of the public authorities, in PEM.
    #[arg(long, env = "AEGIS_CONTROL_CA", value_name = "FILE")]
    control_ca: Option<PathBuf>,
}

impl Access {
    /// A client with the right to command.
    pub(crate) fn admin(&self, data: &Path) -> Result<Client, RegionError> {
        let kept = || Some(kept_session(data)).filter(|kept| kept.exists());
        let file = self.admin_token.clone().or_else(kept).unwrap_or_else(|| node_token(data));
        let token = Secret::new(files::read_secret(&file)?);
        self.client(Some(token))
    }

    /// The same by the node's own token, whatever session is kept, unless another is named.
    pub(crate) fn of_the_node(&self, data: &Path) -> Self {
        let admin_token = self.admin_token.clone().or_else(|| Some(node_token(data)));
        Self { admin_token, ..self.clone() }
    }

    /// A client of anybody, as agents are.
    pub(crate) fn anyone(&self) -> Result<Client, RegionError> {
        self.client(None)
    }

    /// What to trust instead of the public authorities, in PEM.
    pub(crate) fn authority(&self) -> Result<Option<String>, FilesError> {
        self.control_ca.as_deref().map(files::read).transpose()
    }

    fn client(&self, token: Option<Secret<String>>) -> Result<Client, RegionError> {
        if !self.control.starts_with("https://") && !is_here(&self.control) {
            return Err(RegionError::InTheClear { url: self.control.clone() });
        }
        let ca = self.authority()?;
        Ok(Client::new(&self.control, token, ca.as_deref())?)
    }
}

/// Where `aegisctl login` keeps a session.
pub(crate) fn kept_session(data: &Path) -> PathBuf {
    data.join("control/session.token")
}

/// What the node made at its first start: its right to everything.
fn node_token(data: &Path) -> PathBuf {
    data.join("control/admin.token")
}

/// Whether a URL leads to this machine, whatever resolvers say.
fn is_here(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_this_machine_is_spoken_to_in_the_clear() {
        for here in ["http://127.0.0.1:8081", "http://127.1.2.3", "http://[::1]:8081/x"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "http://localhost:8081",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1@example.com",
            "http://10.0.0.1",
            "https://127.0.0.1",
            "ftp://127.0.0.1",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}

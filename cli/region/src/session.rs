//! `aegisctl session` and `aegisctl login`: who may command the region for some hours, and as what.
//!
//! Not here: what a role may do (`control/access`). Invariant: a session's text goes to stdout once or into a file of mode
//! 0600, and `login` is the only command that uses the node's own token while a session is kept.

use std::path::{Path, PathBuf};

use aegis_access::Role;
use aegis_control_client::{Conditions, encoded};
use aegis_domain::{Secret, TenantId};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::region::{Access, RegionError, kept_session};
use crate::{Told, files, pages};

const COLUMNS: [&str; 6] = ["id", "actor", "roles", "tenants", "opened_by", "expires_at"];

/// Open, list and revoke the sessions of people.
#[derive(Debug, Args)]
#[command(after_help = "\
Roles: viewer, approver, author, operator, admin; follower for machines. The node's own token, control/admin.token, may do
everything and never ends: keep it for opening sessions and for emergencies.

Examples:
  aegisctl session create --as alice --role operator --tenant acme --for 8h
  aegisctl session list
  aegisctl session revoke 01J9ZK3V5QD6Y8M2W4C7N0R1TB")]
pub struct SessionArgs {
    #[command(subcommand)]
    command: SessionCommand,
}

#[derive(Debug, Subcommand)]
enum SessionCommand {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// Open a session and print its token, which is shown this once.
#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    wish: WishArgs,
    /// A file to write the token to, instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Args)]
struct WishArgs {
    /// Whose session it is; the audit log names it.
    #[arg(long = "as", value_name = "NAME", required = false, requires = "roles")]
    name: String,
    /// What its bearer may do; several add up.
    #[arg(long = "role", value_name = "ROLE", requires = "name", value_delimiter = ',')]
    roles: Vec<Role>,
    /// A tenant it is limited to; all of them unless given.
    #[arg(long = "tenant", value_name = "TENANT", requires = "name", value_delimiter = ',')]
    tenants: Vec<TenantId>,
    /// How long it lasts, 12h at most.
    #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = seconds)]
    ttl_s: u32,
}

/// List the sessions that are open.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    access: Access,
}

/// End a session at once, on every node of the region.
#[derive(Debug, Args)]
struct RevokeArgs {
    id: String,
    #[command(flatten)]
    access: Access,
}

/// Open a session with the node's own token, or take one from stdin, and keep it for the commands that follow.
#[derive(Debug, Args)]
#[command(after_help = "\
The session is kept in control/session.token of the data directory, which commands use before control/admin.token.

Examples:
  aegisctl login --as alice --role operator --for 8h
  aegisctl login < token        # a session opened elsewhere, or a token of your identity provider
  aegisctl logout")]
pub struct LoginArgs {
    #[command(flatten)]
    wish: Option<WishArgs>,
    #[command(flatten)]
    access: Access,
}

/// Forget the session that `login` kept; it goes on counting until it ends or is revoked.
#[derive(Debug, Args)]
pub struct LogoutArgs {}

impl SessionArgs {
    pub(crate) fn run(&self, data: &Path) -> Result<Told, RegionError> {
        match &self.command {
            SessionCommand::Create(args) => {
                let (body, token) = open(&args.wish, &args.access, data)?;
                let Some(out) = &args.out else {
                    let until = expiry(&body);
                    return Ok(Told::text(body, &token).saying(until));
                };
                files::keep_secret(out, &token)?;
                Ok(told(&body))
            }
            SessionCommand::List(args) => {
                let sessions = pages::all(&args.access.admin(data)?, "/v1/sessions", "sessions")?;
                Ok(Told::list(&sessions, &COLUMNS))
            }
            SessionCommand::Revoke(args) => {
                let path = format!("/v1/sessions/{}", encoded(&args.id));
                let ended = args.access.admin(data)?.delete(&path, &Conditions::default())?;
                Ok(Told::list(&[ended.body], &["id"]))
            }
        }
    }
}

impl LoginArgs {
    pub(crate) fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let kept = kept_session(data);
        let Some(wish) = &self.wish else {
            let token = Secret::new(files::read_or_stdin(None)?);
            files::keep_secret(&kept, token.expose().trim())?;
            return Ok(Told::default().saying("the token is kept for the commands that follow"));
        };
        let (body, token) = open(wish, &self.access.of_the_node(data), data)?;
        files::keep_secret(&kept, &token)?;
        Ok(told(&body))
    }
}

impl LogoutArgs {
    pub(crate) fn run(&self, data: &Path) -> Result<Told, RegionError> {
        files::remove(&kept_session(data))?;
        Ok(Told::default().saying("no session is kept any more"))
    }
}

fn open(wish: &WishArgs, access: &Access, data: &Path) -> Result<(Value, String), RegionError> {
    let mut body = json!({
        "as": wish.name,
        "roles": wish.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "ttl_s": wish.ttl_s,
    });
    if let (false, Some(members)) = (wish.tenants.is_empty(), body.as_object_mut()) {
        members.insert("tenants".to_owned(), json!(wish.tenants));
    }
    let answer = access.admin(data)?.post("/v1/sessions", &body, &Conditions::default())?;
    let token = answer.body.get("token").and_then(Value::as_str).map(str::to_owned);
    let token = token.ok_or(RegionError::Answer { what: "the session's token" })?;
    Ok((answer.body, token))
}

fn told(body: &Value) -> Told {
    let session = body.get("session").cloned().unwrap_or_default();
    Told::list(&[session], &COLUMNS)
}

fn expiry(body: &Value) -> String {
    let until = body.pointer("/session/expires_at").and_then(Value::as_str).unwrap_or_default();
    format!("it counts until {until}")
}

/// `30m` or `8h`.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || "expected a length of time such as 30m or 8h".to_owned();
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    digits.parse::<u32>().ok().and_then(|count| count.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit() {
        assert_eq!(seconds("8h"), Ok(28_800));
        assert_eq!((seconds("30m"), seconds("90s")), (Ok(1_800), Ok(90)));
        for bad in ["", "8", "h", "-1h", "8 h", "8d", "9999999h", "8ü"] {
            assert!(seconds(bad).is_err(), "{bad:?}");
        }
    }
}

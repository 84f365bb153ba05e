//! `aegisctl revoke`: what no longer counts.
//!
//! Not here: spreading it (`control`). Invariant: a token to revoke is read from a file or stdin.

use std::path::{Path, PathBuf};

use aegis_control_client::Conditions;
use aegis_domain::{KeyId, TenantId};
use aegis_identity::inspect;
use aegis_registry::AgentName;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::agent::agent_name;
use crate::region::{Access, RegionError};
use crate::{Told, files, pages};

const COLUMNS: [&str; 5] = ["kind", "tenant", "what", "before", "until"];

/// Revoke a token, a key, or all that an agent or a tenant was issued until now; list what is revoked.
#[derive(Debug, Args)]
#[command(after_help = "\
Every gateway of the region hears of it within two seconds. A revocation is never taken back.

Examples:
  aegisctl revoke token < stolen-token
  aegisctl revoke token --tenant acme --jti 01J9ZK3V5Q
  aegisctl revoke agent acme/pay-bot
  aegisctl revoke key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k
  aegisctl revoke tenant acme
  aegisctl revoke list")]
pub struct RevokeArgs {
    #[command(subcommand)]
    command: RevokeCommand,
}

#[derive(Debug, Subcommand)]
enum RevokeCommand {
    Token(TokenArgs),
    Agent(AgentArgs),
    Key(KeyArgs),
    Tenant(TenantArgs),
    List(ListArgs),
}

/// List what is revoked and still matters.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    access: Access,
}

/// One token: the one in a file or on stdin, or the one of a tenant and id.
#[derive(Debug, Args)]
struct TokenArgs {
    /// A file with the token; stdin unless given.
    #[arg(value_name = "FILE", conflicts_with = "jti")]
    token: Option<PathBuf>,
    #[arg(long, requires = "tenant")]
    jti: Option<String>,
    #[arg(long, requires = "jti")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    access: Access,
}

/// Everything an agent was issued until now.
#[derive(Debug, Args)]
struct AgentArgs {
    #[arg(value_name = "TENANT/AGENT", value_parser = agent_name)]
    name: AgentName,
    #[command(flatten)]
    access: Access,
}

/// A key of an agent, or one of the region's that signs no more; for good.
#[derive(Debug, Args)]
struct KeyArgs {
    #[arg(allow_hyphen_values = true)]
    kid: KeyId,
    #[command(flatten)]
    access: Access,
}

/// Everything a tenant's agents were issued until now.
#[derive(Debug, Args)]
struct TenantArgs {
    tenant: TenantId,
    #[command(flatten)]
    access: Access,
}

impl RevokeArgs {
    pub(crate) fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let (access, wish) = match &self.command {
            RevokeCommand::Token(args) => (&args.access, token(args)?),
            RevokeCommand::Agent(args) => {
                let AgentName { tenant, id } = &args.name;
                (&args.access, json!({ "agent": { "tenant": tenant, "id": id } }))
            }
            RevokeCommand::Key(args) => (&args.access, json!({ "key": { "kid": args.kid } })),
            RevokeCommand::Tenant(args) => {
                (&args.access, json!({ "tenant": { "id": args.tenant } }))
            }
            RevokeCommand::List(args) => {
                let client = args.access.admin(data)?;
                return Ok(Told::list(
                    &pages::all(&client, "/v1/revocations", "revocations")?,
                    &COLUMNS,
                ));
            }
        };
        let revoked = access.admin(data)?.post("/v1/revocations", &wish, &Conditions::default())?;
        Ok(Told::list(&[revoked.body], &COLUMNS))
    }
}

/// Names a token by what it says of itself: a forged one names nothing that exists, or what its bearer wants revoked.
fn token(args: &TokenArgs) -> Result<Value, RegionError> {
    if let (Some(jti), Some(tenant)) = (&args.jti, &args.tenant) {
        return Ok(json!({ "token": { "tenant": tenant, "jti": jti } }));
    }
    let text = files::read_or_stdin(args.token.as_deref())?;
    let wrong = RegionError::Input { what: "the token" };
    let Ok(seen) = inspect(text.trim()) else { return Err(wrong) };
    let claim = |name: &str| seen.unverified_payload.get(name).and_then(Value::as_str);
    match (claim("tenant"), claim("jti")) {
        (Some(tenant), Some(jti)) => Ok(json!({ "token": { "tenant": tenant, "jti": jti } })),
        (Some(_) | None, Some(_) | None) => Err(wrong),
    }
}

//! `aegisctl approval`: calls that wait for a person, and grants of calls that did not ask.
//!
//! Not here: who may answer, and that a grant is used once (`control`, `ledger`). Invariant: what is granted is one exact
//! call, by the digest of its parameters.

use std::path::Path;
use std::str::FromStr;

use aegis_control_client::{Conditions, encoded};
use aegis_domain::{DecisionId, RuleId, TenantId};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::region::{Access, RegionError};
use crate::session::seconds;
use crate::{Told, pages};

const COLUMNS: [&str; 7] = ["tenant", "id", "standing", "agent", "tool", "rules", "expires_at"];

/// Answer calls that wait for a person; grant one that did not ask.
#[derive(Debug, Args)]
#[command(after_help = "\
A grant lets one exact call through, once, until it expires. Nobody answers what they asked themselves.

What a voter shows that is out of touch with the others is said to be its own (`read` is `own` in the JSON of `show`).

Examples:
  aegisctl approval list --standing open
  aegisctl approval show acme/01J9ZK3V5QD6Y8M2W4C7N0R1TB
  aegisctl approval grant acme/01J9ZK3V5QD6Y8M2W4C7N0R1TB
  aegisctl approval deny acme/01J9ZK3V5QD6Y8M2W4C7N0R1TB
  aegisctl approval override --tenant acme --params-hash m4P1sxGWl7mZf0hS0t7kVw2p6E3g8Qy4R5uJ9cXbN1A --rule big-payment")]
pub struct ApprovalArgs {
    #[command(subcommand)]
    command: ApprovalCommand,
}

#[derive(Debug, Subcommand)]
enum ApprovalCommand {
    List(ListArgs),
    Show(OneArgs),
    Grant(OneArgs),
    Deny(OneArgs),
    Override(OverrideArgs),
}

/// List approvals and overrides.
#[derive(Debug, Args)]
struct ListArgs {
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Those that stand so only.
    #[arg(long, value_parser = ["open", "granted", "denied", "consumed", "expired"])]
    standing: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// Show, grant or deny one.
#[derive(Debug, Args)]
struct OneArgs {
    #[arg(value_name = "TENANT/ID")]
    name: Name,
    #[command(flatten)]
    access: Access,
}

/// Grant one exact call that did not ask, once.
#[derive(Debug, Args)]
struct OverrideArgs {
    #[arg(long)]
    tenant: TenantId,
    /// The digest of the call's parameters, as its refusal and its record name it.
    #[arg(long, value_name = "DIGEST")]
    params_hash: String,
    /// A rule that stops the call.
    #[arg(long = "rule", value_name = "RULE", required = true, value_delimiter = ',')]
    rules: Vec<RuleId>,
    /// How long it waits for the call.
    #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = seconds)]
    ttl_s: u32,
    #[command(flatten)]
    access: Access,
}

/// An approval by its tenant and the decision that raised it.
#[derive(Clone, Debug)]
struct Name {
    tenant: TenantId,
    id: DecisionId,
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "expected a tenant and an id, such as acme/01J9ZK3V5QD6Y8M2W4C7N0R1TB";
        let (tenant, id) = text.split_once('/').ok_or(WANTED)?;
        let tenant = TenantId::parse(tenant).map_err(|_| WANTED)?;
        Ok(Self { tenant, id: DecisionId::parse(id).map_err(|_| WANTED)? })
    }
}

impl Name {
    fn path(&self) -> String {
        format!("/v1/approvals/{}/{}", encoded(self.tenant.as_str()), self.id)
    }
}

impl ApprovalArgs {
    pub(crate) fn run(&self, data: &Path) -> Result<Told, RegionError> {
        match &self.command {
            ApprovalCommand::List(args) => {
                let tenant =
                    args.tenant.as_ref().map(|it| format!("tenant={}", encoded(it.as_str())));
                let standing = args.standing.as_ref().map(|it| format!("standing={it}"));
                let query: Vec<_> = tenant.into_iter().chain(standing).collect();
                let path = match query.is_empty() {
                    true => "/v1/approvals".to_owned(),
                    false => format!("/v1/approvals?{}", query.join("&")),
                };
                let client = args.access.admin(data)?;
                let (approvals, read) = pages::read(&client, &path, "approvals")?;
                Ok(Told::list(&approvals, &COLUMNS).read_as(read.as_deref()))
            }
            ApprovalCommand::Show(args) => {
                let shown = args.access.admin(data)?.get(&args.name.path())?;
                Ok(Told::thing(&shown.body).read_as(shown.read.as_deref()))
            }
            ApprovalCommand::Grant(args) => answer(args, "grant", data),
            ApprovalCommand::Deny(args) => answer(args, "deny", data),
            ApprovalCommand::Override(args) => {
                let wish = json!({
                    "tenant": args.tenant,
                    "params_hash": args.params_hash,
                    "rules": args.rules,
                    "ttl_s": args.ttl_s,
                });
                let client = args.access.admin(data)?;
                let given = client.post("/v1/overrides", &wish, &Conditions::default())?;
                Ok(Told::list(&[given.body], &COLUMNS))
            }
        }
    }
}

fn answer(args: &OneArgs, verb: &str, data: &Path) -> Result<Told, RegionError> {
    let path = format!("{}/{verb}", args.name.path());
    let answered = args.access.admin(data)?.post(&path, &json!({}), &Conditions::default())?;
    Ok(Told::list(&[answered.body], &COLUMNS))
}

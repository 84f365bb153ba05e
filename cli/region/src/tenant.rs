//! `aegisctl tenant`: where a tenant may be, and so where its policies are released.
//!
//! Not here: who is told of them (`control`), and a tenant's limits (`definition`). Invariant: a tenant is placed against where it was just seen to be.

use std::path::Path;

use aegis_control_client::{ClientError, Conditions};
use aegis_domain::{Region, TenantId};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::Told;
use crate::definition::LimitsArgs;
use crate::region::{Access, RegionError};

/// See and set in which regions a tenant may be, and what its calls may.
#[derive(Debug, Args)]
pub struct TenantArgs {
    #[command(subcommand)]
    command: TenantCommand,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    Place(SetArgs),
    /// Show where a tenant may be; one that was never placed may be in its own region alone.
    Residency(OfArgs),
    /// Take back where a tenant was placed: from then on it may be in its own region alone.
    Unplace(OfArgs),
    Limits(LimitsArgs),
}

/// Set where a tenant may be: in its home region, and in those that are allowed beside it.
///
/// Its policies are released there and nowhere else. From a region that it loses they are withdrawn.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  aegisctl tenant place acme --home eu-west-1 --allow us-east-1 --allow ap-south-1")]
struct SetArgs {
    tenant: TenantId,
    /// Where its agents, approvals and audit heads are kept.
    #[arg(long, value_name = "REGION")]
    home: Region,
    /// Another region where its calls may be handled.
    #[arg(long, value_name = "REGION")]
    allow: Vec<Region>,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Args)]
struct OfArgs {
    tenant: TenantId,
    #[command(flatten)]
    access: Access,
}

fn path(tenant: &TenantId) -> String {
    format!("/v1/tenants/{tenant}/residency")
}

impl TenantArgs {
    pub fn run(&self, data: &Path) -> Result<Told, RegionError> {
        match &self.command {
            TenantCommand::Place(args) => place(args, data),
            TenantCommand::Residency(args) => {
                let answer = args.access.admin(data)?.get(&path(&args.tenant))?;
                Ok(Told::thing(&answer.body))
            }
            TenantCommand::Unplace(args) => {
                let client = args.access.admin(data)?;
                let answer = client.delete(&path(&args.tenant), &Conditions::default())?;
                let words = format!("{} may be in this region alone", args.tenant);
                Ok(Told::thing(&answer.body).saying(words))
            }
            TenantCommand::Limits(args) => args.run(data),
        }
    }
}

fn place(args: &SetArgs, data: &Path) -> Result<Told, RegionError> {
    let SetArgs { tenant, home, allow, access } = args;
    let client = access.admin(data)?;
    let seen = match client.get(&path(tenant)) {
        Ok(answer) => answer.etag,
        Err(ClientError::Refused { status: 404, .. }) => Some("\"0\"".to_owned()),
        Err(error) => return Err(error.into()),
    };
    let allowed: std::collections::BTreeSet<_> = allow.iter().chain([home]).collect();
    let wish = json!({ "home": home, "allowed": allowed });
    let conditions = Conditions { version: seen.as_deref(), once: None };
    let placed = client.put(&path(tenant), &wish, &conditions)?.body;
    Ok(Told::thing(&placed).saying(format!("{tenant} may be in {} regions", allowed.len())))
}

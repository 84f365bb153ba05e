//! `aegisctl tool` and `aegisctl tenant limits`: what a region defines of its tenants' tools and limits.
//!
//! Not here: what may be defined (`config`, which the control API asks), and what gateways allow of it. Invariant: a text is sent
//! and shown as it was written, so that the file that was set is the file that is shown.

use std::path::{Path, PathBuf};

use aegis_control_client::{Client, ClientError, Conditions, encoded};
use aegis_domain::{TenantId, ToolName};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::region::{Access, RegionError};
use crate::{Told, files, pages};

/// Define tools for the gateways of the whole region, in place of what stands in their files.
#[derive(Debug, Args)]
pub struct ToolArgs {
    #[command(subcommand)]
    command: ToolCommand,
}

#[derive(Debug, Subcommand)]
enum ToolCommand {
    List(OfTenant),
    Show(ShowTool),
    Set(SetTool),
    Remove(RemoveTool),
    Check(CheckTool),
}

/// List the tools that the region defines for a tenant.
#[derive(Debug, Args)]
struct OfTenant {
    tenant: TenantId,
    #[command(flatten)]
    access: Access,
}

/// Print a tool's definition as it was written.
#[derive(Debug, Args)]
struct ShowTool {
    tenant: TenantId,
    name: ToolName,
    #[command(flatten)]
    access: Access,
}

/// Define a tool, or define it anew; gateways hear of it within two seconds.
///
/// The file holds what stands below a tool's name in aegis.yaml. It names no file and no environment variable, and a credential
/// only by the name that gateways give it below `credentials`.
#[derive(Debug, Args)]
#[command(after_help = "\
Only gateways whose aegis.yaml says `definitions: { from: region }` go by what is defined here; `aegisctl fleet status` shows which of
them cannot use it, and why.
Whoever is no admin defines no tool with a price, a budget, a credential or a client certificate, and changes none that has one.

Examples:
  aegisctl tool set acme crm crm.yaml
  aegisctl tool show acme crm > crm.yaml
  aegisctl tool set acme crm --if-unchanged 17 < crm.yaml")]
struct SetTool {
    tenant: TenantId,
    name: ToolName,
    #[command(flatten)]
    text: Text,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    access: Access,
}

/// Take a tool's definition back; where a gateway's own file has such a tool, that counts again.
#[derive(Debug, Args)]
struct RemoveTool {
    tenant: TenantId,
    name: ToolName,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    access: Access,
}

/// Read a tool's definition as the region would, and define nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
What a gateway allows is the gateway's to say: its networks below `definitions`, its `credentials`. A tool that it may not use is
refused with the reason DefinitionUnusable; `aegisctl fleet status` and the gateway's log say why.

Example:
  aegisctl tool check acme crm crm.yaml")]
struct CheckTool {
    tenant: TenantId,
    name: ToolName,
    #[command(flatten)]
    text: Text,
    #[command(flatten)]
    access: Access,
}

/// Define the limits of all calls of a tenant, in place of what stands in its gateways' files.
#[derive(Debug, Args)]
pub(crate) struct LimitsArgs {
    #[command(subcommand)]
    command: LimitsCommand,
}

#[derive(Debug, Subcommand)]
enum LimitsCommand {
    /// Print a tenant's limits as they were written.
    Show(OfTenant),
    Set(SetLimits),
    Remove(RemoveLimits),
}

/// Define a tenant's limits: its `budgets`, `rates` and `in_flight`, as a whole.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  aegisctl tenant limits set acme limits.yaml")]
struct SetLimits {
    tenant: TenantId,
    #[command(flatten)]
    text: Text,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    access: Access,
}

/// Take a tenant's limits back; what its gateways' files say counts again.
#[derive(Debug, Args)]
struct RemoveLimits {
    tenant: TenantId,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Args)]
struct Text {
    /// The file with the definition; stdin if none is named.
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Seen {
    /// Fail if it is not of the version that `list` or `-o json` told; 0 if there must be none yet.
    #[arg(long, value_name = "VERSION")]
    if_unchanged: Option<u64>,
}

impl ToolArgs {
    pub fn run(&self, data: &Path) -> Result<Told, RegionError> {
        match &self.command {
            ToolCommand::List(OfTenant { tenant, access }) => {
                let path = format!("/v1/tenants/{tenant}/tools");
                let tools = pages::all(&access.admin(data)?, &path, "tools")?;
                Ok(Told::list(&tools, &["name", "version", "set_by", "set_at"]))
            }
            ToolCommand::Show(ShowTool { tenant, name, access }) => {
                show(&access.admin(data)?, &tool(tenant, name))
            }
            ToolCommand::Set(SetTool { tenant, name, text, seen, access }) => {
                let told = set(&access.admin(data)?, &tool(tenant, name), (text, seen))?;
                Ok(told.saying(format!("{tenant} has {name}")))
            }
            ToolCommand::Remove(RemoveTool { tenant, name, seen, access }) => {
                let told = remove(&access.admin(data)?, &tool(tenant, name), seen)?;
                Ok(told.saying(format!("{tenant} has {name} only where a gateway's file has it")))
            }
            ToolCommand::Check(CheckTool { tenant, name, text, access }) => {
                let path = format!("{}/check", tool(tenant, name));
                let client = access.admin(data)?;
                let checked = client.post(&path, &text.wish()?, &Conditions::default());
                let checked = checked.map_err(|error| text.misread(error))?.body;
                let who = match checked.get("entrusted").and_then(Value::as_bool) {
                    Some(true) => {
                        "an admin may set it: it has a price, a budget, a credential or a client certificate"
                    }
                    Some(false) | None => "an author may set it",
                };
                Ok(Told::thing(&checked).saying(who))
            }
        }
    }
}

impl LimitsArgs {
    pub(crate) fn run(&self, data: &Path) -> Result<Told, RegionError> {
        match &self.command {
            LimitsCommand::Show(OfTenant { tenant, access }) => {
                show(&access.admin(data)?, &limits(tenant))
            }
            LimitsCommand::Set(SetLimits { tenant, text, seen, access }) => {
                let told = set(&access.admin(data)?, &limits(tenant), (text, seen))?;
                Ok(told.saying(format!("the limits of {tenant} are set")))
            }
            LimitsCommand::Remove(RemoveLimits { tenant, seen, access }) => {
                let told = remove(&access.admin(data)?, &limits(tenant), seen)?;
                Ok(told.saying(format!("{tenant} has the limits of its gateways' files")))
            }
        }
    }
}

fn tool(tenant: &TenantId, name: &ToolName) -> String {
    format!("/v1/tenants/{tenant}/tools/{}", encoded(name.as_str()))
}

fn limits(tenant: &TenantId) -> String {
    format!("/v1/tenants/{tenant}/limits")
}

fn show(client: &Client, path: &str) -> Result<Told, RegionError> {
    let known = client.get(path)?.body;
    let text = known.get("text").and_then(Value::as_str).map(str::to_owned);
    let text = text.ok_or(RegionError::Answer { what: "the text" })?;
    // Whoever prints it ends its last line.
    Ok(Told::text(known, text.strip_suffix('\n').unwrap_or(&text)))
}

fn set(client: &Client, path: &str, (text, seen): (&Text, &Seen)) -> Result<Told, RegionError> {
    let (wish, seen) = (text.wish()?, seen.version());
    let conditions = Conditions { version: seen.as_deref(), once: None };
    let made = client.put(path, &wish, &conditions).map_err(|error| text.misread(error))?;
    Ok(Told::list(&[made.body], &["tenant", "name", "version", "set_by", "set_at"]))
}

fn remove(client: &Client, path: &str, seen: &Seen) -> Result<Told, RegionError> {
    let seen = seen.version();
    let conditions = Conditions { version: seen.as_deref(), once: None };
    Ok(Told::thing(&client.delete(path, &conditions)?.body))
}

impl Text {
    fn wish(&self) -> Result<Value, RegionError> {
        Ok(json!({ "text": files::read_or_stdin(self.file.as_deref())? }))
    }

    /// Mistakes by the lines of the file that was named.
    fn misread(&self, error: ClientError) -> RegionError {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        RegionError::of_definition(error, file.as_deref().unwrap_or("stdin"))
    }
}

impl Seen {
    fn version(&self) -> Option<String> {
        self.if_unchanged.map(|version| format!("\"{version}\""))
    }
}

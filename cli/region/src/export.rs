//! `aegisctl policy export`: the releases of a region as one signed file, for gateways that start with nobody reachable.
//!
//! Not here: believing it, which every gateway does for itself (`policies/follow`). Invariant: the file is whole or absent.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::region::{Access, RegionError};
use crate::{Told, files};

/// Write what decides now into a file that gateways take with `policy_export`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file holds the region's signatures, so it may lie anywhere: a gateway believes it as it believes a voter, and never in
place of anything newer.

Examples:
  aegisctl policy export --out releases.jsonl
  aegisctl policy export --out acme.jsonl --tenant acme --region us-east-1")]
pub struct ExportArgs {
    /// Where to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only for this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// For the gateways of this region; the one that is asked, unless given.
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl ExportArgs {
    pub fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let named = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{name}={}", aegis_control_client::encoded(value)))
        };
        let query = [named("tenants", &self.tenant), named("region", &self.region)];
        let query: Vec<_> = query.into_iter().flatten().collect();
        let path = format!("/v1/releases/export?{}", query.join("&"));
        let told = self.access.admin(data)?.get(&path)?.body;
        let releases = told.get("releases").and_then(Value::as_array);
        let lines = releases.into_iter().flatten().filter_map(Value::as_str);
        let text: String = lines.clone().flat_map(|line| [line, "\n"]).collect();
        files::replace(&self.out, text.as_bytes())?;
        let count = lines.count();
        let value = json!({ "out": self.out, "releases": count });
        Ok(Told::thing(&value).saying(format!("{count} releases were written")))
    }
}

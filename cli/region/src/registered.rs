//! Audit logs made known to a region's voters, which witness them from then on: those of another region's gateways.
//!
//! Not here: what the voters say of them (`witnessed`); a region's own gateways register themselves. Invariant: all keys are read
//! before the first is sent, and what is known already stays as it is.

use std::path::{Path, PathBuf};

use aegis_audit_chain::Origin;
use aegis_audit_chain::note::Verifier;
use aegis_audit_trust::Trust;
use aegis_control_client::Conditions;
use clap::Args;
use serde_json::{Value, json};

use crate::files;
use crate::region::{Access, RegionError};
use crate::{Told, witnessed};

/// Have the region's voters witness audit logs of another region.
#[derive(Debug, Args)]
#[command(after_help = "\
A log is named by the verifier key that its gateway wrote into trust.txt at its first start. Whoever registers it says that this
key speaks for the log of that name, so take it from the gateway, not from the log. Afterwards the other region's configuration
names these voters below `audit.witnesses`; `audit heads --logs-of` and `audit trust --logs-of` ask them.

Examples:
  aegisctl audit register --trust gw-1/trust.txt --trust gw-2/trust.txt --control https://control.us-east-1.example.com
  aegisctl audit register audit.example.com/eu-west-1/registry.gw-1/1+0f6c8b9a+AQ..")]
pub struct RegisterArgs {
    /// The key of a log.
    #[arg(value_name = "VKEY", value_parser = key, required_unless_present = "trust")]
    keys: Vec<Verifier>,
    /// A trust file: all logs that it trusts. May be repeated.
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// A key whose name is that of a log.
fn key(text: &str) -> Result<Verifier, String> {
    let key = Verifier::parse(text).ok().filter(|key| Origin::parse(key.name()).is_ok());
    key.ok_or_else(|| "expected name+hash+base64 of an audit log".to_owned())
}

impl RegisterArgs {
    pub fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let mut keys = self.keys.clone();
        for path in &self.trust {
            keys.extend(trusted(&files::read(path)?)?);
        }
        let client = self.access.admin(data)?;
        let (mut logs, mut witnesses) = (Vec::new(), Vec::new());
        for key in &keys {
            let wish = json!({ "key": key.to_string() });
            let answer = client.put("/v1/audit/logs", &wish, &Conditions::default())?.body;
            let all = answer.get("witnesses").and_then(Value::as_array).cloned();
            witnesses = all.ok_or(RegionError::Answer { what: "witnesses" })?;
            logs.push(json!({ "origin": key.name(), "key": key.to_string() }));
        }
        let voters = witnessed::cosigning(&witnesses).count();
        let told = Told::list(&logs, &["origin", "key"]);
        let value = json!({ "logs": logs, "witnesses": witnesses });
        Ok(Told { value, ..told }.saying(format!("{voters} voters witness them")))
    }
}

/// The logs of a trust file, which may be one key and nothing else.
fn trusted(text: &str) -> Result<Vec<Verifier>, RegionError> {
    if let Ok(key) = key(text.trim()) {
        return Ok(vec![key]);
    }
    let trust = Trust::parse(text).map_err(|_| RegionError::Input { what: "the trust file" })?;
    Ok(trust.registries().map(|(_, key)| key.clone()).collect())
}

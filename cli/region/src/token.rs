//! `aegisctl token get`: an agent's own token, asked for with its key.
//!
//! Not here: what is granted (`agents/tokens`). Invariant: the key is read from a file that only its owner can read.

use std::path::PathBuf;

use aegis_control_client::{client_assertion, dpop_proof};
use aegis_domain::Timestamp;
use aegis_identity::CLIENT_ASSERTION_TYPE;
use aegis_registry::AgentName;
use clap::Args;
use serde_json::Value;

use crate::agent::agent_name;
use crate::region::{Access, RegionError};
use crate::{Told, files};

/// Get a token for an agent, with the agent's key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl token get --agent acme/pay-bot --key agent.pem
  aegisctl token get --agent acme/pay-bot --key agent.pem --scope payments:read --dpop")]
pub struct GetArgs {
    #[arg(long, value_name = "TENANT/AGENT", value_parser = agent_name)]
    agent: AgentName,
    /// The agent's private key, PKCS#8 PEM of mode 0600.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A scope; may be given several times; all the agent may have unless given.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The gateway it is for; all of them unless given.
    #[arg(long)]
    resource: Option<String>,
    /// Bind the token to the key: each call must then prove it.
    #[arg(long)]
    dpop: bool,
    #[command(flatten)]
    access: Access,
}

impl GetArgs {
    pub fn run(&self, now: Timestamp) -> Result<Told, RegionError> {
        let client = self.access.anyone()?;
        let issuer = client.issuer()?;
        let key = files::read_key(&self.key)?;
        let client_id = format!("{}/{}", self.agent.tenant, self.agent.id);
        let assertion = client_assertion(&key, &client_id, &issuer, &files::jti(now)?, now);
        let scope = self.scopes.join(" ");
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_assertion_type", CLIENT_ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
            ("scope", scope.as_str()),
        ];
        form.extend(self.resource.as_deref().map(|resource| ("resource", resource)));
        let endpoint = client.token_endpoint();
        let prove = |nonce: Option<&str>| {
            files::jti(now).map(|jti| dpop_proof(&key, &endpoint, nonce, &jti, now))
        };
        let answer = match self.dpop {
            true => client.token_proved(&form, prove)?,
            false => client.token(&form, None)?,
        };
        let body = answer.body;
        let token = body.get("access_token").and_then(Value::as_str).map(str::to_owned);
        let token = token.ok_or(RegionError::Answer { what: "the token" })?;
        let seconds = body.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
        Ok(Told::text(body, &token).saying(format!("valid for {seconds} s")))
    }
}

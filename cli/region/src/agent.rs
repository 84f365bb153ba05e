//! `aegisctl agent`: register agents, look at them, change and disable them, and enrol their keys.
//!
//! Not here: what may be registered (`agents/registry`), and changing it (`amend`). Invariant: an enrolment code is shown by the command that made it
//! and written nowhere.

use std::path::{Path, PathBuf};

use aegis_control_client::{Conditions, encoded, enrolment_proof};
use aegis_domain::{AgentId, OrgId, Timestamp};
use aegis_identity::CertificateThumbprint;
use aegis_registry::AgentName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::amend::{AmendArgs, amend};
use crate::region::{Access, RegionError};
use crate::{Told, files, pages};

/// Register agents, look at them, change and disable them, and enrol their keys.
#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    Register(Box<RegisterArgs>),
    List(ListArgs),
    Show(NameArgs),
    Amend(Box<AmendArgs>),
    Disable(NameArgs),
    Enable(NameArgs),
    Rotate(RotateArgs),
    Enrol(EnrolArgs),
}

/// Register an agent; what is printed is the one-time code it enrols with.
#[derive(Debug, Args)]
#[command(after_help = "\
The code is shown once and kept nowhere. With --jwk or --certificate the agent needs none.

Examples:
  aegisctl agent register acme/pay-bot --org acme --scope payments:write > code
  aegisctl agent register acme/helper --org acme --parent pay-bot --mode proof --token-ttl-s 120")]
struct RegisterArgs {
    #[arg(value_name = "TENANT/AGENT", value_parser = agent_name)]
    name: AgentName,
    /// The tenant's organisation.
    #[arg(long)]
    org: OrgId,
    /// The agent of the same tenant that starts it.
    #[arg(long)]
    parent: Option<AgentId>,
    /// A scope it may have; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A group policies may name; may be given several times.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// What keeps its tokens from being used by others.
    #[arg(long, value_enum, default_value_t = ModeName::Bound)]
    mode: ModeName,
    /// How long its tokens live: 300 unless given, 900 at most.
    #[arg(long)]
    token_ttl_s: Option<u32>,
    #[arg(long)]
    calls_per_minute: Option<u32>,
    /// A file with its public key as a JWK.
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    jwk: Option<PathBuf>,
    /// A file with the certificate it will show, in PEM.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// How long the enrolment code counts, in seconds.
    #[arg(long, default_value_t = 3_600)]
    code_ttl_s: u64,
    #[command(flatten)]
    access: Access,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeName {
    /// Reusable, tied to whoever used it first.
    Bound,
    /// Good for one call.
    Once,
    /// Each call proves the key (DPoP).
    Proof,
    /// Each connection proves the certificate.
    Mtls,
}

impl ModeName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ModeName::Bound => "bound",
            ModeName::Once => "once",
            ModeName::Proof => "proof",
            ModeName::Mtls => "mtls",
        }
    }
}

/// List agents.
#[derive(Debug, Args)]
struct ListArgs {
    /// Of this tenant only.
    #[arg(long)]
    tenant: Option<aegis_domain::TenantId>,
    #[command(flatten)]
    access: Access,
}

/// One agent by its name.
#[derive(Debug, Args)]
struct NameArgs {
    #[arg(value_name = "TENANT/AGENT", value_parser = agent_name)]
    name: AgentName,
    #[command(flatten)]
    access: Access,
}

/// Hand out a code to enrol another key with; what is printed is the code.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  aegisctl agent rotate acme/pay-bot --overlap-s 600 > code")]
struct RotateArgs {
    #[arg(value_name = "TENANT/AGENT", value_parser = agent_name)]
    name: AgentName,
    /// For how long the old key goes on counting once the new one is enrolled, in seconds.
    #[arg(long, default_value_t = 0)]
    overlap_s: u64,
    /// How long the code counts, in seconds.
    #[arg(long, default_value_t = 3_600)]
    code_ttl_s: u64,
    #[command(flatten)]
    access: Access,
}

/// Enrol a key with a one-time code; run by the agent, which needs no other right.
#[derive(Debug, Args)]
#[command(after_help = "\
The code is read from stdin unless --code names a file. The key is made if the file is not there.

Example:
  aegisctl agent enrol --key agent.pem < code")]
struct EnrolArgs {
    /// The agent's private key, PKCS#8 PEM of mode 0600.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A file with the code.
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// `<tenant>/<agent>`, which is also the agent's client id.
pub(crate) fn agent_name(text: &str) -> Result<AgentName, String> {
    let (tenant, id) =
        text.split_once('/').ok_or("expected <tenant>/<agent>, such as acme/pay-bot")?;
    let tenant = tenant.parse().map_err(|error| format!("{error}"))?;
    let id = id.parse().map_err(|error| format!("{error}"))?;
    Ok(AgentName { tenant, id })
}

impl AgentArgs {
    pub(crate) fn run(&self, data: &Path, now: Timestamp) -> Result<Told, RegionError> {
        match &self.command {
            AgentCommand::Register(args) => register(args, data),
            AgentCommand::List(args) => list(args, data),
            AgentCommand::Show(args) => {
                let agent = args.access.admin(data)?.get(&path(&args.name))?;
                Ok(Told::thing(agent.body.get("agent").unwrap_or(&Value::Null)))
            }
            AgentCommand::Amend(args) => amend(args, data),
            AgentCommand::Disable(args) => {
                let told = stand(args, data, "disable")?;
                Ok(told.saying(format!(
                    "{} is disabled: its tokens no longer count",
                    spelt(&args.name)
                )))
            }
            AgentCommand::Enable(args) => {
                Ok(stand(args, data, "enable")?
                    .saying(format!("{} may act again", spelt(&args.name))))
            }
            AgentCommand::Rotate(args) => {
                let wish = json!({ "overlap_s": args.overlap_s, "code_ttl_s": args.code_ttl_s });
                let client = args.access.admin(data)?;
                let answer = client.post(
                    &format!("{}/rotate", path(&args.name)),
                    &wish,
                    &Conditions::default(),
                )?;
                code(answer.body)
            }
            AgentCommand::Enrol(args) => enrol(args, now),
        }
    }
}

pub(crate) fn spelt(name: &AgentName) -> String {
    format!("{}/{}", name.tenant, name.id)
}

pub(crate) fn path(name: &AgentName) -> String {
    format!("/v1/agents/{}/{}", name.tenant, encoded(name.id.as_str()))
}

fn register(args: &RegisterArgs, data: &Path) -> Result<Told, RegionError> {
    let mut wish = json!({
        "tenant": args.name.tenant,
        "id": args.name.id,
        "org": args.org,
        "parent": args.parent,
        "scopes": args.scopes,
        "groups": args.groups,
        "mode": args.mode.as_str(),
        "limits": { "token_ttl_s": args.token_ttl_s, "calls_per_minute": args.calls_per_minute },
        "code_ttl_s": args.code_ttl_s,
    });
    if let (Some(key), Some(members)) = (key(args)?, wish.as_object_mut()) {
        members.insert("key".to_owned(), key);
    }
    let client = args.access.admin(data)?;
    code(client.post("/v1/agents", &wish, &Conditions::default())?.body)
}

fn key(args: &RegisterArgs) -> Result<Option<Value>, RegionError> {
    if let Some(path) = &args.jwk {
        let jwk: Value = serde_json::from_str(&files::read(path)?)
            .map_err(|_| RegionError::Input { what: "the JWK" })?;
        return Ok(Some(json!({ "jwk": jwk })));
    }
    let Some(path) = &args.certificate else { return Ok(None) };
    let pem = files::read(path)?;
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"));
    let body: String = lines.skip(1).take_while(|line| !line.starts_with("-----END")).collect();
    let der = STANDARD.decode(body).map_err(|_| RegionError::Input { what: "the certificate" })?;
    if der.is_empty() {
        return Err(RegionError::Input { what: "the certificate" });
    }
    Ok(Some(json!({ "x5t#S256": CertificateThumbprint::of_der(&der).to_string() })))
}

/// The code that came with an answer, or the client id of an agent that needs none.
fn code(body: Value) -> Result<Told, RegionError> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let client_id =
        text("/agent/client_id").ok_or(RegionError::Answer { what: "the client id" })?;
    let Some(code) = text("/enrolment/code") else {
        return Ok(
            Told::text(body, &client_id).saying("registered with its key; no code is needed")
        );
    };
    let until = text("/enrolment/expires_at").unwrap_or_default();
    let words = format!("{client_id} enrols with this code until {until}; it is not shown again");
    Ok(Told::text(body, &code).saying(words))
}

fn list(args: &ListArgs, data: &Path) -> Result<Told, RegionError> {
    const COLUMNS: [&str; 7] = ["tenant", "id", "standing", "mode", "parent", "scopes", "groups"];
    let tenant = args.tenant.as_ref().map(|tenant| format!("?tenant={tenant}"));
    let path = format!("/v1/agents{}", tenant.unwrap_or_default());
    Ok(Told::list(&pages::all(&args.access.admin(data)?, &path, "agents")?, &COLUMNS))
}

fn stand(args: &NameArgs, data: &Path, verb: &str) -> Result<Told, RegionError> {
    let client = args.access.admin(data)?;
    let path = format!("{}/{verb}", path(&args.name));
    let answer = client.post(&path, &json!({}), &Conditions::default())?;
    Ok(Told::thing(answer.body.get("agent").unwrap_or(&Value::Null)))
}

fn enrol(args: &EnrolArgs, now: Timestamp) -> Result<Told, RegionError> {
    let code = files::read_or_stdin(args.code.as_deref())?;
    let client = args.access.anyone()?;
    let issuer = client.issuer()?;
    let key = files::key_at(&args.key)?;
    let proof = enrolment_proof(&key, &issuer, &code, now);
    let wish = json!({ "code": code.trim(), "jwk": key.public_jwk(), "proof": proof });
    let body = client.post("/v1/enrol", &wish, &Conditions::default())?.body;
    let client_id = body.pointer("/agent/client_id").and_then(Value::as_str);
    let client_id = client_id.ok_or(RegionError::Answer { what: "the client id" })?.to_owned();
    let words = format!("enrolled with the key in {}", args.key.display());
    Ok(Told::text(body, &client_id).saying(words))
}

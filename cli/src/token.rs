//! `aegisctl token`: make a token for an agent, have one given, look at one, check one.
//!
//! Not here: the checks themselves (`identity`). Invariant: a token is read from a file or stdin, never from the command
//! line, where every process on the machine could see it.

use std::path::PathBuf;

use aegis_cli_region::GetArgs;
use aegis_domain::{AgentId, OrgId, TenantId, Timestamp, TokenUse, Ttl};
use aegis_identity::{
    Claims, KeySet, SigningKey, TokenLimits, TrustedIssuer, Verifier, inspect, mint,
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::home::{self, Home};
use crate::screen::Screen;
use crate::{args::ttl, clock, region};
use aegis_cli_sheet::Sheet;

/// Make, look at and check agents' tokens.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Mint(MintArgs),
    Get(GetArgs),
    Inspect(InspectArgs),
    Verify(VerifyArgs),
}

/// Sign a token with the gateway's own issuer key.
#[derive(Debug, Args)]
#[command(after_help = "\
Audience, issuer and org come from aegis.yaml unless they are given.

Examples:
  aegisctl token mint --tenant acme --agent demo
  aegisctl token mint --tenant acme --agent batch --scope payments:write --ttl 5m --use once")]
struct MintArgs {
    /// The tenant the agent belongs to.
    #[arg(long)]
    tenant: TenantId,
    /// The agent that will call.
    #[arg(long)]
    agent: AgentId,
    /// The agent that started this one.
    #[arg(long)]
    parent: Option<AgentId>,
    /// The tenant's organisation.
    #[arg(long)]
    org: Option<OrgId>,
    /// A scope; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// How long it is valid.
    #[arg(long, default_value = "15m", value_parser = ttl)]
    ttl: Ttl,
    /// Whether it is good for one call or, bound to its first user, for many.
    #[arg(long = "use", value_enum, default_value_t = Uses::Bound)]
    uses: Uses,
    /// The gateway it is for.
    #[arg(long)]
    audience: Option<String>,
    /// The issuer it names.
    #[arg(long)]
    issuer: Option<String>,
    /// The key to sign with, PKCS#8 PEM; the data directory's issuer key unless given.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Uses {
    Bound,
    Once,
}

/// Show what a token says; its signature is not checked.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  aegisctl token mint --tenant acme --agent demo | aegisctl token inspect")]
struct InspectArgs {
    /// A file with the token; stdin unless given.
    #[arg(value_name = "FILE")]
    token: Option<PathBuf>,
}

/// Check a token as the gateway would; replay is not looked at.
#[derive(Debug, Args)]
#[command(after_help = "\
Trusted issuers come from aegis.yaml unless --jwks, --issuer and --audience are given.

Examples:
  aegisctl token verify token.txt
  aegisctl token verify --jwks keys/jwks.json --issuer https://a --audience https://b < token.txt")]
struct VerifyArgs {
    /// A file with the token; stdin unless given.
    #[arg(value_name = "FILE")]
    token: Option<PathBuf>,
    /// The issuer's public keys.
    #[arg(long, value_name = "FILE", requires_all = ["issuer", "audience"])]
    jwks: Option<PathBuf>,
    /// The issuer to trust.
    #[arg(long, requires = "jwks")]
    issuer: Option<String>,
    /// The gateway it must be for.
    #[arg(long, requires = "jwks")]
    audience: Option<String>,
}

pub(crate) fn run(args: &TokenArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    match &args.command {
        TokenCommand::Mint(args) => run_mint(args, home, screen),
        TokenCommand::Get(args) => region::show(args.run(clock::now()), screen),
        TokenCommand::Inspect(args) => run_inspect(args, screen),
        TokenCommand::Verify(args) => run_verify(args, home, screen),
    }
}

fn run_mint(args: &MintArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let path = args.key.clone().unwrap_or_else(|| home.issuer_key());
    let key = SigningKey::from_pkcs8_pem(&home::read("the issuer key", &path)?)
        .map_err(|error| Failure::invalid(path.display().to_string(), error))?;
    let claims = claims(args, home, clock::now())?;
    let token = mint(&key, &claims).map_err(|error| Failure::invalid("a claim", error))?;
    let value = json!({
        "token": token,
        "kid": key.key_id().as_str(),
        "jti": claims.jti.as_str(),
        "expires_at": clock::show(claims.expires_at),
    });
    screen.text(&value, &token)?;
    screen.say(&format!("valid until {}", clock::show(claims.expires_at)));
    Ok(Exit::Ok)
}

fn claims(args: &MintArgs, home: &Home, now: Timestamp) -> Result<Claims, Failure> {
    // The file is needed only for what was not given.
    let given = (args.org.clone(), args.audience.clone(), args.issuer.clone());
    let (org, audience, issuer) = match given {
        (Some(org), Some(audience), Some(issuer)) => (org, audience, issuer),
        (org, audience, issuer) => {
            let config = Config::load(&home.config())?;
            let tenant = config.tenants.get(&args.tenant).map(|tenant| tenant.org.clone());
            let own = config.issuers.first().map(|issuer| issuer.name.clone());
            let missing = |what: &str| Failure::Unknown {
                message: format!("{what}: it is not in aegis.yaml and was not given"),
            };
            (
                org.or(tenant).ok_or_else(|| missing("the tenant's --org"))?,
                audience.unwrap_or(config.audience),
                issuer.or(own).ok_or_else(|| missing("the --issuer"))?,
            )
        }
    };
    Ok(Claims {
        issuer,
        org,
        tenant: args.tenant.clone(),
        agent: args.agent.clone(),
        parent_agent: args.parent.clone(),
        acts_for: Vec::new(),
        confirmation: None,
        scopes: args.scopes.iter().cloned().collect(),
        audience: vec![audience],
        expires_at: now.plus(args.ttl),
        not_before: None,
        issued_at: Some(now),
        jti: clock::jti(now)?,
        token_use: match args.uses {
            Uses::Bound => TokenUse::Bound,
            Uses::Once => TokenUse::Once,
        },
    })
}

fn run_inspect(args: &InspectArgs, screen: &Screen) -> Result<Exit, Failure> {
    let token = read_token(args.token.as_ref())?;
    let seen = inspect(&token).map_err(|error| Failure::invalid("the token", error))?;
    let mut sheet = Sheet::new(&["part", "name", "value"]);
    let parts = [("header", &seen.unverified_header), ("payload", &seen.unverified_payload)];
    for (part, members) in parts {
        for (name, value) in members {
            sheet.row(vec![part.into(), name.clone().into(), readable(name, value)]);
        }
    }
    let value = json!({
        "unverified_header": seen.unverified_header,
        "unverified_payload": seen.unverified_payload,
    });
    screen.thing(&value, &sheet)?;
    screen.say("not verified: anyone may have written this");
    Ok(Exit::Ok)
}

fn run_verify(args: &VerifyArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let token = read_token(args.token.as_ref())?;
    let verifier = Verifier::new(trusted(args, home)?, TokenLimits::default());
    match verifier.verify(&token, clock::now()) {
        Ok(verified) => {
            let value = Value::Object(shown(verified.claims(), verified.key_id().as_str()));
            let mut sheet = Sheet::new(&["name", "value"]);
            for (name, value) in value.as_object().into_iter().flatten() {
                sheet.row(vec![name.clone().into(), value.clone()]);
            }
            screen.thing(&value, &sheet)?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            let reason = error.reason();
            let message = Failure::invalid("the token", error).chain();
            let value = json!({
                "valid": false,
                "reason": reason.code(),
                "message": message,
                "advice": reason.advice(),
            });
            let mut sheet = Sheet::new(&["reason", "advice"]);
            sheet.row(vec![reason.code().into(), reason.advice().into()]);
            screen.thing(&value, &sheet)?;
            screen.say(&message);
            Ok(Exit::CheckFailed)
        }
    }
}

fn trusted(args: &VerifyArgs, home: &Home) -> Result<Vec<TrustedIssuer>, Failure> {
    if let (Some(jwks), Some(issuer), Some(audience)) = (&args.jwks, &args.issuer, &args.audience) {
        return Ok(vec![trust(issuer, audience, jwks)?]);
    }
    let config = Config::load(&home.config())?;
    config.issuers.iter().map(|it| trust(&it.name, &config.audience, &it.jwks)).collect()
}

fn trust(issuer: &str, audience: &str, jwks: &std::path::Path) -> Result<TrustedIssuer, Failure> {
    let text = home::read("the issuer's key set", jwks)?;
    let keys = KeySet::from_jwks(text.as_bytes())
        .map_err(|error| Failure::invalid(jwks.display().to_string(), error))?;
    Ok(TrustedIssuer { issuer: issuer.to_owned(), audiences: vec![audience.to_owned()], keys })
}

fn shown(claims: &Claims, key_id: &str) -> Map<String, Value> {
    let value = json!({
        "valid": true,
        "issuer": claims.issuer,
        "org": claims.org.as_str(),
        "tenant": claims.tenant.as_str(),
        "agent": claims.agent.as_str(),
        "parent_agent": claims.parent_agent.as_ref().map(AgentId::as_str),
        "scopes": claims.scopes,
        "audience": claims.audience,
        "expires_at": clock::show(claims.expires_at),
        "jti": claims.jti.as_str(),
        "use": claims.token_use.as_str(),
        "kid": key_id,
    });
    value.as_object().cloned().unwrap_or_default()
}

/// Seconds since 1970 say little to people.
fn readable(name: &str, value: &Value) -> Value {
    match (name, value.as_u64()) {
        ("exp" | "nbf" | "iat", Some(seconds)) => {
            clock::show(Timestamp::from_unix_s(seconds)).into()
        }
        _ => value.clone(),
    }
}

fn read_token(file: Option<&PathBuf>) -> Result<String, Failure> {
    /// More than any token Aegis reads; stdin may be anything.
    const BYTES_MAX: u64 = 64 * 1_024;
    let text = match file {
        Some(path) => home::read("the token", path)?,
        None => aegis_audit_plain::read_open(std::io::stdin().lock(), BYTES_MAX)
            .map_err(Failure::Stdin)?,
    };
    Ok(text.trim().to_owned())
}

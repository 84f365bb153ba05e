//! `aegisctl init`: a data directory with keys, one tenant and its policy, ready to run.
//!
//! Not here: running it. Invariant: nothing is ever overwritten, and a private key is readable by its owner only from the
//! moment it exists.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_audit_chain::Origin;
use aegis_audit_chain::note::SecretKey;
use aegis_audit_trust::Trust;
use aegis_domain::{AgentId, Host, Region, TenantId};
use aegis_identity::{KeySet, SigningKey};
use clap::Args;

use crate::clock;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use crate::seed;
use aegis_cli_sheet::Sheet;

/// Make a data directory: keys, aegis.yaml, one tenant and its policy.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is overwritten: if any of the files exists, nothing is written.

Examples:
  aegisctl init
  aegisctl --data /var/lib/aegis init --tenant acme --region eu-west-1 --domain aegis.example.com")]
pub(crate) struct InitArgs {
    /// The first tenant.
    #[arg(long, default_value = "acme")]
    tenant: TenantId,
    /// Its first agent.
    #[arg(long, default_value = "demo")]
    agent: AgentId,
    /// The region this gateway serves.
    #[arg(long, default_value = "local")]
    region: Region,
    /// The name tokens and audit logs are issued under.
    #[arg(long, default_value = "aegis.localhost")]
    domain: Host,
}

/// A file to be written.
struct Planned {
    path: PathBuf,
    mode: u32,
    text: String,
}

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;
const FOLDER: u32 = 0o700;
/// A region begins another registry only when it gives one up.
const REGISTRY_EPOCH: u64 = 1;

pub(crate) fn run(args: &InitArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let files = plan(args, home)?;
    if let Some(there) = files.iter().find(|file| file.path.symlink_metadata().is_ok()) {
        return Err(Failure::Exists { path: there.path.clone() });
    }
    for file in &files {
        write(file)?;
    }
    let mut sheet = Sheet::new(&["file", "mode"]);
    for file in &files {
        sheet
            .row(vec![file.path.display().to_string().into(), format!("{:04o}", file.mode).into()]);
    }
    screen.sheet(&sheet)?;
    let data = home.root().display();
    let (tenant, agent) = (&args.tenant, &args.agent);
    screen.say(&format!(
        "next: aegis-gateway run --config {data}/aegis.yaml\n      \
         aegisctl --data {data} token mint --tenant {tenant} --agent {agent}"
    ));
    Ok(Exit::Ok)
}

fn plan(args: &InitArgs, home: &Home) -> Result<Vec<Planned>, Failure> {
    let issuer = SigningKey::from_seed(clock::random()?);
    let region = SigningKey::from_seed(clock::random()?);
    let seed = clock::random()?;
    let name = format!("gw-{:08x}", u32::from_be_bytes(clock::random()?));
    let (domain, in_region) = (args.domain.as_str(), args.region.as_str());
    let registry = Origin::registry(domain, in_region, &name, REGISTRY_EPOCH)
        .map_err(|error| Failure::invalid("--domain or --region", error))?;
    let vkey = SecretKey::from_seed(&seed).verifier(registry.as_str());
    let trust = Trust::of(vkey).map(|trust| trust.to_string()).unwrap_or_default();
    let jwks = KeySet::default()
        .with(issuer.public_key().clone())
        .and_then(|set| set.with(region.public_key().clone()))
        .map_err(|error| Failure::invalid("a new key set", error))?;
    let file = |path, mode, text| Planned { path, mode, text };
    Ok(vec![
        file(home.issuer_key(), PRIVATE, issuer.to_pkcs8_pem().expose().clone()),
        file(home.region_key(), PRIVATE, region.to_pkcs8_pem().expose().clone()),
        file(home.registry_seed(), PRIVATE, seed::encode(&seed).expose().clone()),
        file(home.jwks(), PUBLIC, jwks.to_jwks_json() + "\n"),
        file(home.gateway_name(), PUBLIC, name),
        file(home.trust(), PUBLIC, trust),
        file(home.policy(&args.tenant), PUBLIC, fill(POLICY, args)),
        file(home.config(), PUBLIC, fill(CONFIG, args)),
    ])
}

fn write(file: &Planned) -> Result<(), Failure> {
    let failure = |error| Failure::file("the folder", &file.path, error);
    let folder = file.path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(FOLDER).create(folder).map_err(failure)?;
    let mut options = OpenOptions::new();
    let mut target =
        options.write(true).create_new(true).mode(file.mode).open(&file.path).map_err(failure)?;
    target.write_all(file.text.as_bytes()).and_then(|()| target.sync_all()).map_err(failure)
}

fn fill(template: &str, args: &InitArgs) -> String {
    template
        .replace("{tenant}", args.tenant.as_str())
        .replace("{agent}", args.agent.as_str())
        .replace("{region}", args.region.as_str())
        .replace("{domain}", args.domain.as_str())
}

const CONFIG: &str = include_str!("init/aegis.yaml");
const POLICY: &str = include_str!("init/policy.yaml");

//! What a first `dev` run lays out: keys, certificates, a tenant with three agents, the demo policy pack.
//!
//! Not here: production set-up (`aegisctl init`). Invariant: a file that exists is left as it is.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aegis_identity::SigningKey;
use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::{DemoOptions, Ports, demo_file};

const POLICY: &str = include_str!("../../policies/packs/demo.yaml");

/// Names the demo upstream answers to.
pub(crate) const HOSTS: [&str; 5] = [
    "api.payments.test",
    "ehr.clinic.test",
    "api.llm.test",
    "hooks.partner.test",
    "hooks.unlisted.test",
];

/// Lays out whatever is missing beside the gateway's keys; returns the configuration file.
pub fn lay_out(options: &DemoOptions) -> anyhow::Result<PathBuf> {
    let data_dir = &options.data_dir;
    certificates(data_dir)?;
    for name in ["payments", "ehr", "llm"] {
        let random =
            (options.source.random)().context("the operating system gives no random bytes")?;
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = demo_file(data_dir, &format!("{name}.secret"));
        once(&path, &format!("demo-{name}-key-{digits}\n"), SECRET)?;
    }
    once(&data_dir.join("policies/demo.yaml"), POLICY, PUBLIC)?;
    let config = data_dir.join("aegis.yaml");
    once(&config, &configuration(options.ports), PUBLIC)?;
    Ok(config)
}

/// The demo's issuer, as tokens and configuration name it.
pub(crate) const ISSUER: &str = "https://aegis.localhost";
pub(crate) const AUDIENCE: &str = "https://gateway.aegis.localhost";

/// The configuration of the demo, with its ports filled in.
fn configuration(ports: Ports) -> String {
    let values = [
        ("@plain@", ports.plain.to_string()),
        ("@tls@", ports.tls.to_string()),
        ("@metrics@", ports.metrics.to_string()),
        ("@control@", ports.control.to_string()),
        ("@upstream@", ports.upstream.to_string()),
        ("@audience@", AUDIENCE.to_owned()),
        ("@issuer@", ISSUER.to_owned()),
    ];
    let template = include_str!("config.yaml").to_owned();
    values.iter().fold(template, |text, (name, value)| text.replace(name, value))
}

/// A CA of the demo's own, and from it a leaf for the upstream and one for the gateway.
fn certificates(data_dir: &Path) -> anyhow::Result<()> {
    let ca_file = demo_file(data_dir, "ca.pem");
    if ca_file.exists() {
        return Ok(());
    }
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Aegis demo CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    leaf(data_dir, "upstream", &HOSTS, &issuer)?;
    leaf(data_dir, "gateway", &["localhost", "127.0.0.1"], &issuer)?;
    once(&ca_file, &certificate.pem(), PUBLIC)
}

fn leaf(
    data_dir: &Path,
    name: &str,
    hosts: &[&str],
    issuer: &Issuer<'_, KeyPair>,
) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, format!("Aegis demo {name}"));
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    once(&demo_file(data_dir, &format!("{name}.pem")), &certificate.pem(), PUBLIC)?;
    once(&demo_file(data_dir, &format!("{name}.key")), &key.serialize_pem(), SECRET)
}

/// Only this user may read it.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Writes a file that is not there yet.
fn once(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// The demo issuer's key, to mint the scenario's tokens with.
pub(crate) fn issuer_key(data_dir: &Path) -> anyhow::Result<SigningKey> {
    let path = data_dir.join("keys/issuer.pem");
    let pem = std::fs::read_to_string(&path)
        .with_context(|| format!("the issuer's key {} cannot be read", path.display()))?;
    Ok(SigningKey::from_pkcs8_pem(&pem)?)
}

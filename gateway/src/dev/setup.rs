//! What a first `dev` run lays out: keys, certificates, a tenant with three agents, the demo policy pack.
//!
//! Not here: production set-up (`aegisctl init`). Invariant: a file that exists is left as it is.

use std::path::{Path, PathBuf};

use aegis_identity::SigningKey;
use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::{Ports, demo_file};
use crate::{clock, files, keys};

const POLICY: &str = include_str!("../../../policies/packs/demo.yaml");

/// Names the demo upstream answers to.
pub(super) const HOSTS: [&str; 5] = [
    "api.payments.test",
    "ehr.clinic.test",
    "api.llm.test",
    "hooks.partner.test",
    "hooks.unlisted.test",
];

/// Lays out whatever is missing; returns the configuration file.
pub fn prepare(data_dir: &Path, ports: Ports) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("the data directory {} cannot be made", data_dir.display()))?;
    keys::ensure(data_dir)?;
    certificates(data_dir)?;
    secret(&demo_file(data_dir, "payments.secret"), "demo-payments-key")?;
    secret(&demo_file(data_dir, "ehr.secret"), "demo-ehr-key")?;
    secret(&demo_file(data_dir, "llm.secret"), "demo-llm-key")?;
    once(&data_dir.join("policies/demo.yaml"), POLICY)?;
    let config = data_dir.join("aegis.yaml");
    once(&config, &configuration(ports))?;
    Ok(config)
}

/// The demo's issuer, as tokens and configuration name it.
pub(super) const ISSUER: &str = "https://aegis.localhost";
pub(super) const AUDIENCE: &str = "https://gateway.aegis.localhost";

/// The configuration of the demo, with its ports filled in.
fn configuration(ports: Ports) -> String {
    let values = [
        ("@plain@", ports.plain.to_string()),
        ("@tls@", ports.tls.to_string()),
        ("@metrics@", ports.metrics.to_string()),
        ("@upstream@", ports.upstream.to_string()),
        ("@audience@", AUDIENCE.to_owned()),
        ("@issuer@", ISSUER.to_owned()),
    ];
    let template = include_str!("demo-config.yaml").to_owned();
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
    files::replace(&ca_file, certificate.pem().as_bytes())?;
    Ok(())
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
    files::replace(&demo_file(data_dir, &format!("{name}.pem")), certificate.pem().as_bytes())?;
    let key = key.serialize_pem();
    files::replace_secret(&demo_file(data_dir, &format!("{name}.key")), key.as_bytes())?;
    Ok(())
}

fn once(path: &Path, text: &str) -> anyhow::Result<()> {
    if !path.exists() {
        files::replace(path, text.as_bytes())?;
    }
    Ok(())
}

fn secret(path: &Path, prefix: &str) -> anyhow::Result<()> {
    if !path.exists() {
        let random: [u8; 8] = clock::random()?;
        let text = format!("{prefix}-{:016x}\n", u64::from_be_bytes(random));
        files::replace_secret(path, text.as_bytes())?;
    }
    Ok(())
}

/// The demo issuer's key, to mint the scenario's tokens with.
pub(super) fn issuer_key(data_dir: &Path) -> anyhow::Result<SigningKey> {
    Ok(keys::issuer(data_dir)?)
}

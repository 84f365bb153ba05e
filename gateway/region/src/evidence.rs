//! The audit log of this process: its journal opened, and shipped to where the configuration says.
//!
//! Not here: the journal and the shipper themselves (`audit/ship`). Invariant: a store that promises less than was asked for
//! keeps the gateway down; one that cannot be reached does not.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::{Hash, Origin};
use aegis_audit_ship::{
    Address, BucketError, FILE_BYTES, Journal, JournalConfig, Keep, LockMode, RealDisk, Recovered,
    Retention, ShipConfig, Shipper,
};
use aegis_audit_trust::Trust;
use aegis_config::{AuditShipping, Config, RetentionMode, ShipTo};
use aegis_corridor::clock;
use aegis_telemetry::Saved;
use anyhow::Context as _;

use crate::{files, keys, name};

/// Which streams' keys others may have, below the data directory.
const REVOKED: &str = "revoked.txt";

/// Opens the journal of this life, and says which registry verifiers should trust.
pub fn open(config: &Config) -> anyhow::Result<(JournalConfig, Journal, Recovered)> {
    let seed = keys::registry_seed(&config.data_dir)?;
    let region_key = SecretKey::from_seed(seed.expose());
    let log = JournalConfig {
        dir: config.data_dir.join("audit"),
        domain: config.domain.clone(),
        region: config.region.clone(),
        writer: name::of(config)?,
        build: format!("aegis-gateway {}", env!("CARGO_PKG_VERSION")),
        config_sha256: Hash::from_bytes(config.sha256),
        region_key: region_key.clone(),
        clock: Arc::new(clock::now),
        disk: Arc::new(RealDisk),
        file_bytes: FILE_BYTES,
        revoked: revocations(&config.data_dir).with_context(|| {
            format!("{} cannot be read", config.data_dir.join(REVOKED).display())
        })?,
    };
    let registry = log.registry()?;
    let trust =
        Trust::of(region_key.verifier(registry.as_str())).context("the registry has no name")?;
    files::replace(&config.data_dir.join("trust.txt"), trust.to_string().as_bytes())
        .context("the verifiers' trust file cannot be written")?;
    let opened = Journal::open(log.clone()).context("the audit journal cannot be opened");
    opened.map(|(journal, recovered)| (log, journal, recovered))
}

/// Why a stream's key is not to be believed any more, where `aegisctl audit revoke --end` has said so of it.
pub fn revoked(data_dir: &Path, stream: &Origin) -> io::Result<Option<String>> {
    let told = revocations(data_dir)?.into_iter();
    Ok(told.filter(|(origin, _)| origin == stream).map(|(_, reason)| reason).next())
}

/// All that was said so, the oldest first. Whoever writes the file by hand means it no less, so of a line nothing but the name has to
/// be right.
fn revocations(data_dir: &Path) -> io::Result<Vec<(Origin, String)>> {
    let told = match std::fs::read(data_dir.join(REVOKED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        told => told?,
    };
    let of = |line: &str| {
        let line = line.trim();
        let (name, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        Some((Origin::parse(name).ok()?, reason.trim_start().to_owned()))
    };
    Ok(String::from_utf8_lossy(&told).lines().filter_map(of).collect())
}

/// Whether what earlier lives left open is settled by their records; until then none of these is deleted.
#[derive(Clone, Debug, Default)]
pub struct Settled(Arc<AtomicBool>);

impl Settled {
    pub fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_marked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Begins to ship the journal, where the configuration says so.
pub fn ship(
    config: &Config,
    (log, journal): (&JournalConfig, &Journal),
    (settled, told): (Settled, Saved),
) -> anyhow::Result<Option<Shipper>> {
    let Some(shipping) = &config.shipping else { return Ok(None) };
    let address = address(&shipping.to).context("the audit bucket cannot be used")?;
    let is_read = move |stream: &Origin, size| settled.is_marked() && told.is_past(stream, size);
    let ship = ShipConfig {
        retention: retention(shipping),
        backlog_bytes_max: shipping.spool_bytes_max,
        keep: Some(Keep { at_least: shipping.keep, is_read: Arc::new(is_read) }),
        ..ShipConfig::new(log, address)?
    };
    let started = aegis_audit_ship::start(ship, journal);
    started.map(Some).context("the audit log cannot be shipped")
}

pub(crate) fn address(to: &ShipTo) -> Result<Address, BucketError> {
    match to {
        ShipTo::Folder(path) => Address::folder(path),
        ShipTo::Bucket { url, options } => {
            let plain = |(key, value): &(&'static str, aegis_domain::Secret<String>)| {
                ((*key).to_owned(), value.expose().clone())
            };
            Ok(Address { url: url.clone(), options: options.iter().map(plain).collect() })
        }
    }
}

fn retention(shipping: &AuditShipping) -> Option<Retention> {
    shipping.retention.map(|asked| Retention {
        mode: match asked.mode {
            RetentionMode::Governance => LockMode::Governance,
            RetentionMode::Compliance => LockMode::Compliance,
        },
        days: asked.days,
    })
}

//! A gateway's journal with three tenants in it, and packages made from that.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_audit_chain::Hash;
use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::record::DecisionEntry;
use aegis_audit_ship::{Directory, Journal, JournalConfig, RealDisk};
use aegis_audit_tenant::{Package, Report, check, make};
use aegis_audit_trust::Trust;
use aegis_domain::{DecisionId, Effect, Reason, Region, TenantId, Timestamp};

fn region_key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

pub(crate) fn trust() -> Trust {
    Trust::of(region_key().verifier("aegis.example/eu-west-1/registry.gw-1/1")).unwrap()
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(crate) fn open(dir: &Path) -> Journal {
    let config = JournalConfig {
        dir: dir.to_path_buf(),
        domain: "aegis.example".to_owned(),
        region: Region::parse("eu-west-1").unwrap(),
        writer: "gw-1".to_owned(),
        build: "aegis-gateway 0.1.0".to_owned(),
        config_sha256: Hash::of(b"config"),
        region_key: region_key(),
        clock: Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            Timestamp::from_unix_ns(since.as_nanos() as u64)
        }),
        disk: Arc::new(RealDisk),
        file_bytes: 16 * 1024,
        revoked: Vec::new(),
    };
    Journal::open(config).unwrap().0
}

/// One refused call of each tenant named, in that order.
pub(crate) fn calls(journal: &Journal, tenants: &[&str]) {
    for (n, name) in (1..).zip(tenants) {
        let region = Region::parse("eu-west-1").unwrap();
        let decision = DecisionEntry {
            tenant: Some(tenant(name)),
            ..DecisionEntry::new(
                DecisionId::new(n, [3; 10]),
                region,
                Effect::Deny,
                Reason::DefaultDeny,
            )
        };
        let pending = journal.append_blocking(decision.draft().unwrap()).unwrap();
        drop(pending.durable_blocking().unwrap());
    }
}

/// Three lives: in the second one acme makes no call.
pub(crate) fn log() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let lives: [&[&str]; 3] = [
        &["acme", "globex", "acme", "acme", "initech", "acme", "globex"],
        &["globex", "initech", "globex"],
        &["initech", "acme"],
    ];
    for tenants in lives {
        let journal = open(dir.path());
        calls(&journal, tenants);
        journal.close().unwrap();
    }
    dir
}

pub(crate) fn package(dir: &Path, name: &str) -> Package {
    make(&Directory(dir.to_path_buf()), &trust(), &tenant(name), &mut |_| {}).unwrap()
}

/// As it would be checked by whoever is handed the file.
pub(crate) fn checked(package: &Package) -> Report {
    check(&Package::parse(&package.to_text()).unwrap(), &trust(), &[])
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

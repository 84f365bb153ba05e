//! What opens the digests of records: kept beside the log, one file a tenant and day, so that it can be erased.
//!
//! Not here: the digests (`audit/chain`). Invariant: erasing a file here leaves every chain, tree and signature valid;
//! its values can then be neither read nor guessed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use aegis_audit_chain::disclosure::Disclosure;
use aegis_domain::{DecisionId, TenantId, Timestamp};
use parking_lot::Mutex;

/// Files kept open; the one whose tenant comes first in the alphabet is closed for another.
const OPEN_MAX: usize = 64;
const SECONDS_PER_DAY: u64 = 86_400;

/// Appends disclosures below one directory: `<tenant>/<days since 1970-01-01>.jsonl`.
#[derive(Debug)]
pub struct Disclosures {
    dir: PathBuf,
    open: Mutex<BTreeMap<TenantId, (u64, File)>>,
}

impl Disclosures {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, open: Mutex::new(BTreeMap::new()) }
    }

    /// Keeps the disclosures of one decision, in one write. They are not synced: a power cut may take the last ones,
    /// and then their digests stay closed.
    pub fn keep(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        id: DecisionId,
        disclosures: &[Disclosure],
    ) -> io::Result<()> {
        let texts: Vec<&str> = disclosures.iter().map(Disclosure::as_str).collect();
        let mut line = serde_json::json!({ "id": id.as_str(), "sd": texts }).to_string();
        line.push('\n');
        let day = now.unix_s() / SECONDS_PER_DAY;
        let mut open = self.open.lock();
        if let Some((_, file)) = open.get_mut(tenant).filter(|(opened, _)| *opened == day) {
            return file.write_all(line.as_bytes());
        }
        let mut file = self.file(tenant, day)?;
        file.write_all(line.as_bytes())?;
        if open.len() >= OPEN_MAX && !open.contains_key(tenant) {
            open.pop_first();
        }
        open.insert(tenant.clone(), (day, file));
        Ok(())
    }

    fn file(&self, tenant: &TenantId, day: u64) -> io::Result<File> {
        let folder = self.dir.join(tenant.as_str());
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{day}.jsonl"));
        OpenOptions::new().append(true).create(true).mode(0o600).open(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_and_day_has_a_file_of_its_own_that_only_we_can_read() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let store = Disclosures::new(dir.path().to_path_buf());
        let tenant = TenantId::parse("acme").unwrap();
        let secret = Disclosure::new([7; 16], "path", &"/v1/patients/4711".into());
        for day in [1, 1, 2] {
            let now = Timestamp::from_unix_s(day * SECONDS_PER_DAY);
            store.keep(&tenant, now, DecisionId::new(1, [1; 10]), &[secret.clone()]).unwrap();
        }
        let first = dir.path().join("acme/1.jsonl");
        assert_eq!(std::fs::read_to_string(&first).unwrap().lines().count(), 2);
        assert_eq!(std::fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(dir.path().join("acme/2.jsonl").exists());
    }
}

//! What opens the digests of records: kept beside the log, sealed under keys that can be destroyed.
//!
//! Not here: the digests (`audit/chain`). Invariant: destroying a tenant's keys leaves every chain, tree and signature valid;
//! its values can then be neither read, where a copy of their files remains, nor guessed.

mod erase;
mod keys;
mod read;
mod seal;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use aegis_audit_chain::disclosure::Disclosure;
use aegis_domain::{DecisionId, TenantId, Timestamp};
use parking_lot::Mutex;

pub use erase::{Erased, erase_subject, erase_tenant};
pub use read::{Kept, KeptDay, KeptLine};

use keys::{KeyFile, Keys};
use seal::DayKey;

/// Files kept open; the one whose tenant comes first in the alphabet is closed for another.
const OPEN_MAX: usize = 64;
const SECONDS_PER_DAY: u64 = 86_400;

/// Appends disclosures below one directory: `<tenant>/<days since 1970-01-01>-<key>.jsonl`, the keys below `.keys`.
#[derive(Debug)]
pub struct Disclosures {
    dir: PathBuf,
    open: Mutex<BTreeMap<TenantId, Open>>,
}

/// Where a tenant's disclosures go today.
#[derive(Debug)]
struct Open {
    day: u64,
    file: File,
    key: DayKey,
    key_file: KeyFile,
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
        let day = now.unix_s() / SECONDS_PER_DAY;
        let mut open = self.open.lock();
        // A key that was destroyed meanwhile is never used again.
        let current = open.remove(tenant).filter(|it| it.day == day && it.key_file.is_there());
        let mut current = match current {
            Some(current) => current,
            None => self.begin(tenant, day)?,
        };
        let line = current.key.seal(tenant, id, disclosures)?;
        let written = current.file.write_all(line.as_bytes());
        if open.len() >= OPEN_MAX {
            open.pop_first();
        }
        open.insert(tenant.clone(), current);
        written
    }

    fn begin(&self, tenant: &TenantId, day: u64) -> io::Result<Open> {
        let (key_file, secret) = Keys::new(&self.dir).current(tenant, day)?;
        let folder = self.dir.join(tenant.as_str());
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(file_name(day, key_file.number()));
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Open { day, file, key: DayKey::new(&secret, day)?, key_file })
    }
}

fn file_name(day: u64, key: u64) -> String {
    format!("{day}-{key}.jsonl")
}

/// Day and key number, from the name of a file.
fn parse_file_name(name: &str) -> Option<(u64, u64)> {
    let (day, key) = name.strip_suffix(".jsonl")?.split_once('-')?;
    Some((day.parse().ok()?, key.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn id(n: u8) -> DecisionId {
        DecisionId::new(1, [n; 10])
    }

    fn keep(store: &Disclosures, (name, day): (&str, u64), (n, value): (u8, &str)) {
        let secret = Disclosure::new([n; 16], "path", &value.into());
        let now = Timestamp::from_unix_s(day * SECONDS_PER_DAY);
        store.keep(&tenant(name), now, id(n), std::slice::from_ref(&secret)).unwrap();
    }

    /// The values that can be opened, with the decisions they belong to.
    fn opened(dir: &Path, name: &str) -> Vec<(DecisionId, String)> {
        let kept = Kept::new(dir.to_path_buf());
        let mut found = Vec::new();
        kept.each(&tenant(name), &mut |line| {
            let disclosures = line.disclosures.into_iter().flatten();
            let values = disclosures.map(|it| Disclosure::parse(it.as_str()).unwrap().2);
            found.extend(values.map(|value| (line.id, value.as_str().unwrap().to_owned())));
            Ok(())
        })
        .unwrap();
        found
    }

    /// Everything below a folder, as bytes.
    fn bytes_below(dir: &Path) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            all.extend(if path.is_dir() { bytes_below(&path) } else { fs::read(&path).unwrap() });
        }
        all
    }

    fn holds(dir: &Path, text: &str) -> bool {
        bytes_below(dir).windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn each_tenant_and_day_has_a_sealed_file_that_only_we_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Disclosures::new(dir.path().to_path_buf());
        for (n, day) in [(1, 1), (2, 1), (3, 2)] {
            keep(&store, ("acme", day), (n, "/v1/patients/4711"));
        }
        let first = dir.path().join("acme/1-1.jsonl");
        assert_eq!(fs::read_to_string(&first).unwrap().lines().count(), 2);
        for file in ["acme/1-1.jsonl", "acme/2-1.jsonl", ".keys/acme/0-1.key"] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let clear = Disclosure::new([1; 16], "path", &"/v1/patients/4711".into());
        assert!(!holds(dir.path(), clear.as_str()) && !holds(dir.path(), "patients"));
        let found = opened(dir.path(), "acme");
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|(_, value)| value == "/v1/patients/4711"));
        assert!(opened(dir.path(), "globex").is_empty());
    }

    #[test]
    fn a_line_without_end_is_passed_over_and_never_held() {
        let dir = tempfile::tempdir().unwrap();
        let store = Disclosures::new(dir.path().to_path_buf());
        keep(&store, ("acme", 1), (1, "/one"));
        let file = Kept::new(dir.path().to_path_buf()).path(&tenant("acme"), (1, 1));
        let mut text = fs::read(&file).unwrap();
        text.extend(vec![b'x'; 16 << 20]);
        text.push(b'\n');
        fs::write(&file, text).unwrap();
        keep(&store, ("acme", 1), (2, "/two"));

        let mut found = Vec::new();
        let counted = allocation_counter::measure(|| found = opened(dir.path(), "acme"));

        assert_eq!(found, [(id(1), "/one".to_owned()), (id(2), "/two".to_owned())]);
        assert!(counted.bytes_max < 4 << 20, "{} bytes were held", counted.bytes_max);
    }

    #[test]
    fn a_line_moved_to_another_decision_tenant_or_day_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let store = Disclosures::new(dir.path().to_path_buf());
        keep(&store, ("acme", 1), (1, "x"));
        let line = fs::read_to_string(dir.path().join("acme/1-1.jsonl")).unwrap();
        let other = line.replace(id(1).as_str(), id(2).as_str());
        fs::write(dir.path().join("acme/1-1.jsonl"), &other).unwrap();
        fs::write(dir.path().join("acme/2-1.jsonl"), &line).unwrap();
        assert!(opened(dir.path(), "acme").is_empty());
        keep(&store, ("globex", 1), (3, "y"));
        fs::copy(dir.path().join(".keys/globex/0-1.key"), dir.path().join(".keys/acme/0-1.key"))
            .unwrap();
        fs::copy(dir.path().join("globex/1-1.jsonl"), dir.path().join("acme/3-1.jsonl")).unwrap();
        assert!(opened(dir.path(), "acme").is_empty());
    }

    #[test]
    fn an_erased_tenant_is_closed_for_ever_also_in_copies_of_its_files() {
        let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Disclosures::new(dir.path().to_path_buf());
        keep(&store, ("acme", 1), (1, "ada@example.com"));
        keep(&store, ("acme", 40), (2, "ada@example.com"));
        keep(&store, ("globex", 1), (3, "bob@example.com"));
        let copy = backup.path().join("acme.jsonl");
        fs::copy(dir.path().join("acme/1-1.jsonl"), &copy).unwrap();
        let key = File::open(dir.path().join(".keys/acme/0-1.key")).unwrap();

        let now = Timestamp::from_unix_s(1);
        let erased = erase_tenant(dir.path(), &tenant("acme"), now).unwrap();
        assert_eq!((erased.keys, erased.decisions, erased.kept), (2, 2, 0));
        // Whoever still had the key's file open reads other bytes in it.
        let left = std::io::read_to_string(&key).unwrap();
        assert!(left.chars().all(|c| c == '0'), "{left}");
        fs::create_dir_all(dir.path().join("acme")).unwrap();
        fs::copy(&copy, dir.path().join("acme/1-1.jsonl")).unwrap();
        assert!(opened(dir.path(), "acme").is_empty());
        assert_eq!(opened(dir.path(), "globex").len(), 1);
        let told = fs::read_to_string(dir.path().join(".erased.jsonl")).unwrap();
        assert!(told.contains("\"tenant\":\"acme\"") && !told.contains("ada"), "{told}");
    }

    #[test]
    fn a_gateway_that_runs_on_never_writes_under_a_key_that_was_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Disclosures::new(dir.path().to_path_buf());
        keep(&store, ("acme", 1), (1, "before"));
        erase_tenant(dir.path(), &tenant("acme"), Timestamp::from_unix_s(1)).unwrap();
        keep(&store, ("acme", 1), (2, "after"));
        assert_eq!(opened(dir.path(), "acme"), [(id(2), "after".to_owned())]);
    }

    #[test]
    fn erasing_a_subject_keeps_the_others_under_a_key_that_never_sealed_it() {
        let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Disclosures::new(dir.path().to_path_buf());
        keep(&store, ("acme", 1), (1, "/users/Ada@example.com/orders"));
        keep(&store, ("acme", 1), (2, "/users/bob@example.com"));
        keep(&store, ("acme", 2), (3, "/users/eve@example.com"));
        let copy = backup.path().join("copy");
        fs::copy(dir.path().join("acme/1-1.jsonl"), &copy).unwrap();

        let now = Timestamp::from_unix_s(1);
        let erased = erase_subject(dir.path(), &tenant("acme"), ("ada@example.com", now)).unwrap();
        assert_eq!((erased.keys, erased.decisions, erased.kept), (1, 1, 2));
        keep(&store, ("acme", 1), (4, "/users/kim@example.com"));
        let mut left: Vec<DecisionId> = opened(dir.path(), "acme").iter().map(|it| it.0).collect();
        left.sort_unstable();
        assert_eq!(left, [id(2), id(3), id(4)]);
        fs::copy(&copy, dir.path().join("acme/1-1.jsonl")).unwrap();
        assert_eq!(opened(dir.path(), "acme").len(), 3);

        let none = erase_subject(dir.path(), &tenant("acme"), ("nobody@example.com", now)).unwrap();
        assert_eq!((none.keys, none.decisions), (0, 0));
        let told = fs::read_to_string(dir.path().join(".erased.jsonl")).unwrap();
        assert!(told.contains(id(1).as_str()) && !told.to_lowercase().contains("ada"), "{told}");
    }

    #[test]
    fn a_key_set_aside_by_an_erasure_that_was_interrupted_is_destroyed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let store = Disclosures::new(dir.path().to_path_buf());
        keep(&store, ("acme", 1), (1, "ada@example.com"));
        keep(&store, ("acme", 1), (2, "bob@example.com"));
        let keys = dir.path().join(".keys/acme");
        fs::rename(keys.join("0-1.key"), keys.join("0-1.going")).unwrap();
        // What it sealed can still be opened, and what comes is sealed under another.
        assert_eq!(opened(dir.path(), "acme").len(), 2);
        keep(&store, ("acme", 1), (3, "kim@example.com"));
        let now = Timestamp::from_unix_s(1);
        let erased = erase_subject(dir.path(), &tenant("acme"), ("ada@example.com", now)).unwrap();
        // The third was never sealed under the key that went.
        assert_eq!((erased.keys, erased.decisions, erased.kept), (1, 1, 1));
        assert_eq!(opened(dir.path(), "acme").len(), 2);
        assert!(!keys.join("0-1.going").exists());
    }
}

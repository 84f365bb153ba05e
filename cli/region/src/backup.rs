//! A backup of the region's ledger as a file: one line that says what it is, and the ledger after it.
//!
//! Not here: taking it (`control`) and starting with it (`raft-store`). Invariant: a copy is whole and has the digest that
//! its first line names, or it is not there; and a ledger is taken over only as the region signed it, unless someone says that
//! they answer for it.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aegis_identity::{BACKUP_TYPE, KeySet, TokenError, verify_jws};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const FORMAT: u32 = 2;
const MANIFEST_BYTES_MAX: u64 = 64 * 1_024;
/// More than a ledger's bounds let it be.
const BYTES_MAX: u64 = 2 * 1_024 * 1_024 * 1_024;

/// What the backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub format: u32,
    pub cluster: String,
    /// Who took it.
    pub node: u64,
    pub index: u64,
    pub revision: u64,
    /// When the last command in it was given.
    pub at: String,
    pub bytes: u64,
    pub sha256: String,
}

/// The first line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    manifest: Manifest,
    /// The manifest as the region signed it.
    signed: String,
}

/// Whose word a backup is taken on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// The region's, that has these keys.
    Keys(&'a KeySet),
    /// Of whoever gave the file.
    Anybody,
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the backup broke off or cannot be read")]
    Read(#[source] io::Error),
    #[error("the backup does not begin with what it is")]
    Manifest(#[source] serde_json::Error),
    #[error("the backup is of format {found}, and this version reads {FORMAT}")]
    Format { found: u32 },
    #[error("the backup is not what was written: its digest differs")]
    Digest,
    #[error(
        "the backup is not signed by the region whose keys are known here; name its keys with --region-keys"
    )]
    Signature(#[source] TokenError),
    #[error("the backup says something else than the region signed")]
    Differs,
}

/// What stands between a backup's first line and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    Whole,
    LedgerOnly,
}

/// Copies a backup, or the ledger in it, into a new file of mode 0600.
pub(crate) fn copy_checked(
    mut from: impl BufRead,
    to: &Path,
    (what, trust): (Copied, Trust<'_>),
) -> Result<Manifest, BackupError> {
    let mut line = String::new();
    let read = from.by_ref().take(MANIFEST_BYTES_MAX).read_line(&mut line);
    read.map_err(BackupError::Read)?;
    let manifest = believed(&line, trust)?;
    let file = |source| BackupError::File { path: to.to_owned(), source };
    let beside = to.with_extension("part");
    let mut options = OpenOptions::new();
    let made = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let mut out = made.map_err(file)?;
    if what == Copied::Whole {
        out.write_all(line.as_bytes()).map_err(file)?;
    }
    let mut digest = Digesting { out: &mut out, sha256: Sha256::new(), failed: None };
    let copied = io::copy(&mut from.take(BYTES_MAX), &mut digest);
    let Digesting { sha256, failed, .. } = digest;
    if let Some(source) = failed {
        return Err(file(source));
    }
    let bytes = copied.map_err(BackupError::Read)?;
    let is_whole = bytes == manifest.bytes && STANDARD.encode(sha256.finalize()) == manifest.sha256;
    if !is_whole {
        fs::remove_file(&beside).map_err(file)?;
        return Err(BackupError::Digest);
    }
    out.sync_all().and_then(|()| fs::rename(&beside, to)).map_err(file)?;
    Ok(manifest)
}

/// What the first line says, if whoever is trusted said it.
fn believed(line: &str, trust: Trust<'_>) -> Result<Manifest, BackupError> {
    let Head { manifest, signed } = serde_json::from_str(line).map_err(BackupError::Manifest)?;
    if manifest.format != FORMAT {
        return Err(BackupError::Format { found: manifest.format });
    }
    let Trust::Keys(keys) = trust else { return Ok(manifest) };
    let payload = verify_jws(&signed, BACKUP_TYPE, keys).map_err(BackupError::Signature)?;
    let told: Manifest = serde_json::from_slice(&payload).map_err(BackupError::Manifest)?;
    if told == manifest { Ok(manifest) } else { Err(BackupError::Differs) }
}

/// Writes on, and knows which side failed.
struct Digesting<'a> {
    out: &'a mut fs::File,
    sha256: Sha256,
    failed: Option<io::Error>,
}

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes).inspect_err(|error| {
            self.failed = Some(error.kind().into());
        })?;
        self.sha256.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use aegis_identity::SigningKey;
    use serde_json::json;

    use super::*;

    fn region() -> SigningKey {
        SigningKey::from_seed([7; 32])
    }

    fn keys(key: &SigningKey) -> KeySet {
        KeySet::default().with(key.public_key().clone()).unwrap()
    }

    fn backup(ledger: &str, sha256: &str) -> String {
        let manifest = json!({
            "format": 2, "cluster": "eu-west-1", "node": 1, "index": 9, "revision": 7,
            "at": "2026-11-22T00:00:00Z", "bytes": ledger.len(), "sha256": sha256,
        });
        let signed = region().sign(BACKUP_TYPE, manifest.to_string().as_bytes());
        format!("{}\n{ledger}", json!({ "manifest": manifest, "signed": signed }))
    }

    #[test]
    fn a_backup_is_taken_over_only_as_the_region_signed_it() {
        let home = tempfile::tempdir().unwrap();
        let to = home.path().join("backup");
        let digest = |ledger: &str| STANDARD.encode(Sha256::digest(ledger));
        let (own, forged) = ("{\"a\":1}", "{\"a\":2}");
        let good = backup(own, &digest(own));
        let take = |text: &str, trust: Trust<'_>| {
            copy_checked(text.as_bytes(), &to, (Copied::LedgerOnly, trust)).map(drop)
        };
        let known = keys(&region());
        take(&good, Trust::Keys(&known)).unwrap();
        let stranger = keys(&SigningKey::from_seed([8; 32]));
        assert!(matches!(take(&good, Trust::Keys(&stranger)), Err(BackupError::Signature(_))));
        // Another ledger with a digest that fits it, under the signature of the first.
        let forged = good.replace(own, forged).replace(&digest(own), &digest(forged));
        assert!(matches!(take(&forged, Trust::Keys(&known)), Err(BackupError::Differs)));
        let unsigned = good.replace("\"signed\":\"e", "\"signed\":\"f");
        assert!(matches!(take(&unsigned, Trust::Keys(&known)), Err(BackupError::Signature(_))));
        take(&forged, Trust::Anybody).unwrap();
    }

    #[test]
    fn a_backup_is_copied_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let to = home.path().join("backup");
        let ledger = "{\"a\":1}";
        let digest = STANDARD.encode(Sha256::digest(ledger));
        let good = backup(ledger, &digest);
        let known = keys(&region());
        let trust = Trust::Keys(&known);
        copy_checked(good.as_bytes(), &to, (Copied::Whole, trust)).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), good);
        copy_checked(good.as_bytes(), &to, (Copied::LedgerOnly, trust)).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), ledger);
        fs::remove_file(&to).unwrap();
        let cut = good.get(..good.len() - 1).unwrap();
        let changed = good.replace(":1}", ":2}");
        for bad in [cut, &changed, &(good.clone() + " ")] {
            let refused = copy_checked(bad.as_bytes(), &to, (Copied::Whole, trust));
            assert!(matches!(refused, Err(BackupError::Digest)), "{bad}");
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left");
        }
        let later = good.replace("\"format\":2", "\"format\":3");
        let refused = copy_checked(later.as_bytes(), &to, (Copied::Whole, trust));
        assert!(matches!(refused, Err(BackupError::Format { found: 3 })));
    }
}

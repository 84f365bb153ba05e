//! The private halves of the region's token keys: made here, used here, and never handed out.
//!
//! The trait has the shape of PKCS#11 (generate, sign, destroy, all by key id), so that a module of that kind can stand in
//! its place. Not here: which key signs when (`agents/registry`). Invariant: a private key is a file of mode 0600 in a
//! directory of mode 0700 that this process owns, and is never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aegis_domain::{KeyId, Secret};
use aegis_identity::SigningKey;
use aegis_registry::{AgentKeyError, PublicJwk};

/// Why a key cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{} cannot be read or written", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} can be read by others; run `chmod -R go=` on it", path.display())]
    TooOpen { path: PathBuf },
    #[error("{} belongs to another user", path.display())]
    NotOurs { path: PathBuf },
    #[error("{} holds no Ed25519 key in PKCS#8 PEM, or another than its name says", path.display())]
    Content { path: PathBuf },
    #[error("the vault has no key of that id")]
    Unknown,
    #[error("a new key is refused")]
    Refused(#[from] AgentKeyError),
    #[error("the system gives no randomness")]
    Random(#[source] getrandom::Error),
}

/// Keeps keys and signs with them.
pub trait Vault: Send + Sync + fmt::Debug {
    /// Makes a key and names it by its thumbprint (`C_GenerateKeyPair`).
    fn generate(&self) -> Result<PublicJwk, VaultError>;

    /// The signature of a message, as JWS wants it (`C_Sign`).
    fn sign(&self, key: &KeyId, message: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// The keys it holds (`C_FindObjects`).
    fn keys(&self) -> Vec<KeyId>;

    /// Forgets a key for good (`C_DestroyObject`).
    fn destroy(&self, key: &KeyId) -> Result<(), VaultError>;
}

/// Keys as files.
pub struct Files {
    directory: PathBuf,
    keys: RwLock<BTreeMap<KeyId, SigningKey>>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Files {
    /// Reads the keys of a directory, which is made if it is not there.
    pub fn open(directory: &Path) -> Result<Self, VaultError> {
        let file = |source| VaultError::File { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(file)?;
        check_closed(directory)?;
        let mut keys = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(file)? {
            let path = entry.map_err(file)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                let key = read(&path)?;
                keys.insert(key.key_id().clone(), key);
            }
        }
        Ok(Self { directory: directory.to_owned(), keys: RwLock::new(keys) })
    }

    fn path(&self, key: &KeyId) -> PathBuf {
        self.directory.join(format!("{key}.pem"))
    }

    fn write(&self, key: &SigningKey) -> Result<(), VaultError> {
        let path = self.path(key.key_id());
        let written = || -> io::Result<()> {
            let beside = path.with_extension("new");
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(key.to_pkcs8_pem().expose().as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        written().map_err(|source| VaultError::File { path: path.clone(), source })
    }
}

impl Vault for Files {
    fn generate(&self) -> Result<PublicJwk, VaultError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(VaultError::Random)?;
        let key = SigningKey::from_seed(seed);
        let public = PublicJwk::parse(&key.public_jwk())?;
        self.write(&key)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.key_id().clone(), key);
        Ok(public)
    }

    fn sign(&self, key: &KeyId, message: &[u8]) -> Result<Vec<u8>, VaultError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.get(key).ok_or(VaultError::Unknown)?;
        Ok(key.sign_message(message).to_vec())
    }

    fn keys(&self) -> Vec<KeyId> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn destroy(&self, key: &KeyId) -> Result<(), VaultError> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(source) => Err(VaultError::File { path, source }),
        }
    }
}

fn read(path: &Path) -> Result<SigningKey, VaultError> {
    check_closed(path)?;
    let text = fs::read_to_string(path).map(Secret::new);
    let text = text.map_err(|source| VaultError::File { path: path.to_owned(), source })?;
    let key = SigningKey::from_pkcs8_pem(text.expose()).ok();
    let is_named =
        |key: &SigningKey| path.file_stem().is_some_and(|stem| stem == key.key_id().as_str());
    key.filter(is_named).ok_or(VaultError::Content { path: path.to_owned() })
}

fn check_closed(path: &Path) -> Result<(), VaultError> {
    let file = |source| VaultError::File { path: path.to_owned(), source };
    let (found, ours) =
        (fs::metadata(path).map_err(file)?, fs::metadata("/proc/self").map_err(file)?);
    if found.mode() & 0o077 != 0 {
        return Err(VaultError::TooOpen { path: path.to_owned() });
    }
    if found.uid() != ours.uid() {
        return Err(VaultError::NotOurs { path: path.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use aegis_identity::{Unsigned, verify_jws};

    use super::*;

    fn vault() -> (tempfile::TempDir, PathBuf, Files) {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("keys");
        let files = Files::open(&directory).unwrap();
        (home, directory, files)
    }

    #[test]
    fn what_a_vault_signs_verifies_with_the_key_it_published_also_after_a_restart() {
        let (_home, directory, files) = vault();
        let public = files.generate().unwrap();
        let sign = |vault: &dyn Vault| {
            let unsigned = Unsigned::new(public.key(), "test+jwt", b"{}");
            let signature = vault.sign(public.id(), unsigned.message()).unwrap();
            let token = unsigned.with(&signature);
            verify_jws(&token, "test+jwt", &PublicJwk::set([&public])).unwrap();
        };
        sign(&files);
        drop(files);
        sign(&Files::open(&directory).unwrap());
    }

    #[test]
    fn a_destroyed_key_signs_no_more_and_leaves_no_file() {
        let (_home, directory, files) = vault();
        let public = files.generate().unwrap();
        files.destroy(public.id()).unwrap();
        files.destroy(public.id()).unwrap();
        assert!(matches!(files.sign(public.id(), b"x"), Err(VaultError::Unknown)));
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    }

    #[test]
    fn private_keys_are_0600_in_a_0700_directory_and_refused_otherwise() {
        let (_home, directory, files) = vault();
        let public = files.generate().unwrap();
        let file = directory.join(format!("{}.pem", public.id()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&file)), (0o700, 0o600));
        assert!(!format!("{files:?}").contains("PRIVATE"));
        for (path, open, closed) in [(&file, 0o640, 0o600), (&directory, 0o755, 0o700)] {
            fs::set_permissions(path, fs::Permissions::from_mode(open)).unwrap();
            assert!(matches!(Files::open(&directory), Err(VaultError::TooOpen { .. })));
            fs::set_permissions(path, fs::Permissions::from_mode(closed)).unwrap();
        }
        fs::rename(&file, directory.join("another.pem")).unwrap();
        assert!(matches!(Files::open(&directory), Err(VaultError::Content { .. })));
    }
}

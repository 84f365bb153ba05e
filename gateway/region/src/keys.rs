//! The keys a gateway keeps on disk: the token issuer's, the region's, and the audit registry's.
//!
//! Not here: signing (`identity`) and stream keys, which live in memory (`audit/ship`). Invariant: a private key file
//! is 0600 and is refused when others can read it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegis_domain::Secret;
use aegis_identity::{KeyError, KeySet, KeySetError, SigningKey};

use crate::files;
use aegis_corridor::clock;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("the key file {path} cannot be read or written")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the key file {path} can be read by others; run `chmod 600` on it")]
    TooOpen { path: PathBuf },
    #[error("the key file {path} holds no Ed25519 key in PKCS#8 PEM")]
    Key { path: PathBuf, source: KeyError },
    #[error("the key file {path} does not hold 64 hex digits")]
    Seed { path: PathBuf },
    #[error("the public key set cannot be built")]
    Set(#[from] KeySetError),
    #[error(transparent)]
    Random(#[from] clock::RandomError),
}

/// Makes the keys that are missing and publishes their public halves in `keys/jwks.json`.
pub fn ensure(data_dir: &Path) -> Result<(), KeysError> {
    let set = KeySet::default()
        .with(make(&path(data_dir, "issuer.pem"))?.public_key().clone())?
        .with(make(&path(data_dir, "region.pem"))?.public_key().clone())?;
    let jwks = path(data_dir, "jwks.json");
    if jwks.exists() {
        return Ok(());
    }
    let write = files::replace(&jwks, set.to_jwks_json().as_bytes());
    write.map_err(|source| KeysError::File { path: jwks, source })
}

/// The key that signs tokens of our own issuer.
pub fn issuer(data_dir: &Path) -> Result<SigningKey, KeysError> {
    read(&path(data_dir, "issuer.pem"))
}

/// The key that signs attestations.
pub fn region(data_dir: &Path) -> Result<SigningKey, KeysError> {
    make(&path(data_dir, "region.pem"))
}

/// The seed of the key that signs the region's audit registry: 32 bytes as 64 hex digits. It signs nothing else.
pub fn registry_seed(data_dir: &Path) -> Result<Secret<[u8; 32]>, KeysError> {
    let path = path(data_dir, "registry.seed");
    if !path.exists() {
        let seed: [u8; 32] = clock::random()?;
        let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        files::replace_secret(&path, hex.as_bytes())
            .map_err(|source| KeysError::File { path: path.clone(), source })?;
    }
    let text = Secret::new(read_secret(&path)?);
    let mut seed = [0; 32];
    let pairs = text.expose().trim().as_bytes().chunks(2);
    let digits = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Option<Vec<u8>> = digits.collect();
    match bytes.filter(|bytes| bytes.len() == seed.len()) {
        Some(bytes) => seed.copy_from_slice(&bytes),
        None => return Err(KeysError::Seed { path }),
    }
    Ok(Secret::new(seed))
}

fn path(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join("keys").join(name)
}

fn make(path: &Path) -> Result<SigningKey, KeysError> {
    if path.exists() {
        return read(path);
    }
    let key = SigningKey::from_seed(clock::random()?);
    files::replace_secret(path, key.to_pkcs8_pem().expose().as_bytes())
        .map_err(|source| KeysError::File { path: path.to_owned(), source })?;
    Ok(key)
}

fn read(path: &Path) -> Result<SigningKey, KeysError> {
    let pem = read_secret(path)?;
    SigningKey::from_pkcs8_pem(&pem)
        .map_err(|source| KeysError::Key { path: path.to_owned(), source })
}

fn read_secret(path: &Path) -> Result<String, KeysError> {
    let file = |source| KeysError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(file)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeysError::TooOpen { path: path.to_owned() });
    }
    std::fs::read_to_string(path).map_err(file)
}

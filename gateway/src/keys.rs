//! The two keys a gateway keeps on disk: the token issuer's and the region's.
//!
//! Not here: signing (`identity`) and stream keys, which live in memory (`audit/ship`). Invariant: a private key file
//! is 0600 and is refused when others can read it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegis_identity::{KeyError, KeySet, KeySetError, SigningKey};

use crate::{clock, files};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("the key file {path} cannot be read or written")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the key file {path} can be read by others; run `chmod 600` on it")]
    TooOpen { path: PathBuf },
    #[error("the key file {path} holds no Ed25519 key in PKCS#8 PEM")]
    Key { path: PathBuf, source: KeyError },
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

/// The key that signs attestations and the region's audit registry.
pub fn region(data_dir: &Path) -> Result<SigningKey, KeysError> {
    make(&path(data_dir, "region.pem"))
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
    let file = |source| KeysError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(file)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeysError::TooOpen { path: path.to_owned() });
    }
    let pem = std::fs::read_to_string(path).map_err(file)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|source| KeysError::Key { path: path.to_owned(), source })
}

//! Files with secrets: read only if closed to others, made 0600.
//!
//! Not here: what is in them. Invariant: a key file is whole or not there.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_domain::{DecisionId, Jti, Secret, Timestamp};
use aegis_identity::SigningKey;

use crate::RegionError;

/// More than any code, token or certificate.
const STDIN_BYTES_MAX: u64 = 64 * 1_024;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} can be read by others; run `chmod 600` on it", path.display())]
    TooOpen { path: PathBuf },
    #[error("stdin cannot be read")]
    Stdin(#[source] io::Error),
}

pub(crate) fn read(path: &Path) -> Result<String, FilesError> {
    fs::read_to_string(path).map_err(|source| FilesError::File { path: path.to_owned(), source })
}

pub(crate) fn read_secret(path: &Path) -> Result<String, FilesError> {
    let text = read(path)?;
    let found = fs::metadata(path);
    let mode = found.map_err(|source| FilesError::File { path: path.to_owned(), source })?.mode();
    if mode & 0o077 == 0 { Ok(text) } else { Err(FilesError::TooOpen { path: path.to_owned() }) }
}

/// Replaces a file as a whole by one that is closed to others.
pub(crate) fn keep_secret(path: &Path, secret: &str) -> Result<(), FilesError> {
    let beside = path.with_extension("new");
    let written = || -> io::Result<()> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(format!("{secret}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|source| FilesError::File { path: path.to_owned(), source })
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), FilesError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FilesError::File { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A file, or stdin where none is named.
pub(crate) fn read_or_stdin(path: Option<&Path>) -> Result<String, FilesError> {
    if let Some(path) = path {
        return read(path);
    }
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(STDIN_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(FilesError::Stdin)?;
    Ok(text)
}

pub(crate) fn read_key(path: &Path) -> Result<SigningKey, RegionError> {
    let pem = Secret::new(read_secret(path)?);
    SigningKey::from_pkcs8_pem(pem.expose())
        .map_err(|source| RegionError::Key { path: path.to_owned(), source })
}

/// Writes a file that is no secret, whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FilesError> {
    let beside = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|source| FilesError::File { path: path.to_owned(), source })
}

/// Writes a file that is no secret and must not be there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FilesError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| FilesError::File { path: path.to_owned(), source })
}

/// The key of a file, or a new one in it.
pub(crate) fn key_at(path: &Path) -> Result<SigningKey, RegionError> {
    if path.exists() {
        return read_key(path);
    }
    let key = SigningKey::from_seed(random()?);
    new_secret(path, key.to_pkcs8_pem().expose())?;
    Ok(key)
}

/// Makes a file that is not there.
pub(crate) fn new_secret(path: &Path, text: &str) -> Result<(), FilesError> {
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|source| FilesError::File { path: path.to_owned(), source })
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], RegionError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RegionError::Random)?;
    Ok(bytes)
}

/// A name for a proof that nobody else gives one.
pub(crate) fn jti(now: Timestamp) -> Result<Jti, RegionError> {
    let ulid = DecisionId::new(now.unix_ms(), random()?);
    Jti::parse(ulid.as_str()).map_err(|_| RegionError::Input { what: "a new proof's name" })
}

//! Files with secrets: read only if closed to others, made 0600.
//!
//! Not here: what is in them. Invariant: a key file is whole or not there.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_domain::{DecisionId, Jti, Secret, Timestamp};
use aegis_identity::SigningKey;

use crate::RegionError;

/// More than any code, token or certificate.
const STDIN_BYTES_MAX: u64 = 64 * 1_024;
/// More than any key set, policy or definition.
pub(crate) const FILE_BYTES_MAX: u64 = 16 * 1_024 * 1_024;

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

/// A file that a person named, or a pipe.
pub(crate) fn read(path: &Path) -> Result<String, FilesError> {
    aegis_audit_plain::read_given_text(path, FILE_BYTES_MAX)
        .map_err(|source| FilesError::File { path: path.to_owned(), source })
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
    aegis_audit_plain::read_open(io::stdin().lock(), STDIN_BYTES_MAX).map_err(FilesError::Stdin)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_no_end_is_refused_by_its_name_and_a_secret_behind_links_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("key.pem"), dir.path().join("mounted.pem"));
        fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
        let FilesError::File { path, source } = read(&file).unwrap_err() else { panic!() };
        assert!(path == file && source.to_string().contains("1099511627776 bytes"), "{source}");
        assert!(read(Path::new("/dev/zero")).is_err());
        fs::remove_file(&file).unwrap();
        new_secret(&file, "secret").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_secret(&link).unwrap(), "secret");
    }
}

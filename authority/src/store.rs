//! An authority on disk: one file with certificate and key, and the certificate it replaced.
//!
//! Not here: when to rotate; a person says so. Invariant: the file with the key is 0600 from its first byte on, and
//! is replaced whole, so a crash leaves the old authority or the new one.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aegis_domain::{Region, Secret, Timestamp};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use crate::{Authority, AuthorityError};

/// The folder of a region's authority.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

/// Why an authority cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the authority's file {path} cannot be read or written")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the authority's file {path} can be read by others; run `chmod 600` on it")]
    TooOpen { path: PathBuf },
    #[error("the authority's file {path} is not one")]
    Content { path: PathBuf, source: AuthorityError },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl Store {
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The authority that is there, or a new one.
    pub fn open(&self, region: &Region, now: Timestamp) -> Result<Authority, StoreError> {
        match self.read()? {
            Some(authority) => Ok(authority),
            None => self.create(region, now),
        }
    }

    /// A new authority in the place of the old one, whose certificate stays in the bundle until it ends.
    pub fn rotate(&self, region: &Region, now: Timestamp) -> Result<Authority, StoreError> {
        if let Some(old) = self.read()? {
            replace(&self.previous(), old.certificate_pem().as_bytes(), 0o644)?;
        }
        self.create(region, now)
    }

    /// The certificates agents should trust at present: the current one first, then the one it replaced.
    pub fn bundle(&self, now: Timestamp) -> Result<Option<String>, StoreError> {
        let Some(current) = self.read()? else { return Ok(None) };
        let mut bundle = current.certificate_pem().to_owned();
        let path = self.previous();
        if let Some(previous) = read_file(&path)? {
            let facts = facts(&previous);
            let (_, ends) = facts.map_err(|source| StoreError::Content { path, source })?;
            if ends > now {
                bundle.push_str(&previous);
            }
        }
        Ok(Some(bundle))
    }

    fn current(&self) -> PathBuf {
        self.0.join("authority.pem")
    }

    fn previous(&self) -> PathBuf {
        self.0.join("previous.pem")
    }

    fn read(&self) -> Result<Option<Authority>, StoreError> {
        let path = self.current();
        let Some(text) = read_secret(&path)? else { return Ok(None) };
        let content = |source| StoreError::Content { path: path.clone(), source };
        let start = text.expose().find("-----BEGIN CERTIFICATE-----").unwrap_or(0);
        let (key, certificate) = text.expose().split_at(start);
        Authority::load(certificate, &Secret::new(key.to_owned())).map(Some).map_err(content)
    }

    fn create(&self, region: &Region, now: Timestamp) -> Result<Authority, StoreError> {
        let (authority, key) = Authority::create(region, now)?;
        let both = Secret::new(format!("{}{}", key.expose(), authority.certificate_pem()));
        replace(&self.current(), both.expose().as_bytes(), 0o600)?;
        Ok(authority)
    }
}

/// Writes a file whole, with its permissions from its first byte on.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let written = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let beside = path.with_extension("new");
        // A left-over of a crash may have other permissions.
        if beside.exists() {
            std::fs::remove_file(&beside)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|source| StoreError::File { path: path.to_owned(), source })
}

/// A file that only this user may read, if it is there.
pub(crate) fn read_secret(path: &Path) -> Result<Option<Secret<String>>, StoreError> {
    let Some(text) = read_file(path)?.map(Secret::new) else { return Ok(None) };
    let file = |source| StoreError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(file)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(StoreError::TooOpen { path: path.to_owned() });
    }
    Ok(Some(text))
}

fn read_file(path: &Path) -> Result<Option<String>, StoreError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::File { path: path.to_owned(), source }),
    }
}

/// The raw public key of an authority's certificate, and when it ends.
pub(crate) fn facts(certificate_pem: &str) -> Result<(Vec<u8>, Timestamp), AuthorityError> {
    let unusable = || AuthorityError::Unusable(rcgen::Error::CouldNotParseCertificate);
    let (pem, _) =
        Pem::read(std::io::Cursor::new(certificate_pem.as_bytes())).map_err(|_| unusable())?;
    let parsed = x509_parser::certificate::X509Certificate::from_der(&pem.contents);
    let (_, certificate) = parsed.map_err(|_| unusable())?;
    if !certificate.is_ca() {
        return Err(unusable());
    }
    let ends = certificate.validity().not_after.timestamp();
    let ends = u64::try_from(ends).map_err(|_| AuthorityError::Time)?;
    let public = certificate.public_key().subject_public_key.data.to_vec();
    Ok((public, Timestamp::from_unix_s(ends)))
}

//! A policy version as one file that travels: an OPA bundle, reproducible and signed.
//!
//! Not here: what the files say (`snapshot`), keys (`identity`), delivery (`gateway`). Pure: a signature is checked by
//! the caller's closure. Invariant: equal files give equal bytes on every machine, and a bundle that was opened holds
//! nothing but files that this crate could have written: no second spelling of an archive, a name or a JSON text.

mod archive;
pub(crate) mod json;
mod manifest;
mod signature;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use aegis_policy_language::canonical;

use manifest::MANIFEST;
pub use manifest::Manifest;
pub use signature::{SIGNATURE_BYTES_MAX, SIGNATURE_TYPE, SignatureError};

/// One file of a bundle; names are relative, without `./`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The files of one policy version, sorted by name, and the signature over them if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    files: Vec<BundleFile>,
    manifest: Manifest,
    digest: String,
    signature: Option<String>,
}

/// A bundle as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, lower-case hex: the ETag. It differs from `Bundle::digest` as soon as a signature is in.
    pub sha256: String,
}

/// Why bytes are not a bundle of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("the archive is longer than {BUNDLE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the bundle unpacks to more than {BUNDLE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the bundle holds more than {FILES_MAX} files")]
    TooManyFiles,
    #[error("not a gzip archive as bundles are written")]
    Gzip,
    #[error("the archive's checksum does not fit its content")]
    Checksum,
    #[error("the entry at byte {at} is not a plain file as bundles are written")]
    Entry { at: usize },
    #[error("the archive does not end where its last file does")]
    End,
    #[error("a file's name is not one that bundles have")]
    Name,
    #[error("{name} is out of order or a second file of that name")]
    Order { name: String },
    #[error("{name} is not JSON in its one spelling")]
    Json { name: String },
    #[error("there is no {name}")]
    Missing { name: &'static str },
    #[error("{name} does not say what it should")]
    Malformed { name: &'static str },
}

/// The most bytes a bundle has, packed or unpacked.
pub const BUNDLE_BYTES_MAX: usize = 64 << 20;
/// More than the tools of a set, its source, data and manifest.
const FILES_MAX: usize = 512;

const SIGNATURES: &str = ".signatures.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signatures {
    signatures: [String; 1],
}

impl Bundle {
    /// Takes files that are sorted by name, without a signature.
    pub(crate) fn new(files: Vec<BundleFile>) -> Result<Self, BundleError> {
        check(&files)?;
        let manifest = files.iter().find(|file| file.name == MANIFEST);
        let manifest = Manifest::read(manifest.ok_or(BundleError::Missing { name: MANIFEST })?)?;
        let digest = sha256(&archive::pack(&files)?);
        Ok(Self { files, manifest, digest, signature: None })
    }

    /// Reads what `archive` wrote. Nothing is believed yet: ask `verify` whose it is.
    pub fn open(bytes: &[u8]) -> Result<Self, BundleError> {
        let mut files = archive::unpack(bytes)?;
        check(&files)?;
        let at = files.iter().position(|file| file.name == SIGNATURES);
        let signature =
            at.map(|at| files.remove(at)).map(|file| signature_in(&file)).transpose()?;
        Ok(Self { signature, ..Self::new(files)? })
    }

    /// The files, sorted by name; the signature is not one of them.
    pub fn files(&self) -> &[BundleFile] {
        &self.files
    }

    pub(crate) fn file(&self, name: &'static str) -> Result<&BundleFile, BundleError> {
        let mut files = self.files.iter();
        files.find(|file| file.name == name).ok_or(BundleError::Missing { name })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the tar.gz without its signature, lower-case hex. So whoever rebuilds a version finds its digest
    /// without the key, and signing a version with another key does not rename it.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What is served: the tar.gz with the signature in it, if there is one.
    pub fn archive(&self) -> Result<Archive, BundleError> {
        let mut files = self.files.clone();
        if let Some(jwt) = &self.signature {
            let signatures = serde_json::json!(Signatures { signatures: [jwt.clone()] });
            let bytes = json::compact(&signatures).into_bytes();
            files.push(BundleFile { name: SIGNATURES.to_owned(), bytes });
            files.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let bytes = archive::pack(&files)?;
        Ok(Archive { sha256: sha256(&bytes), bytes })
    }
}

fn sha256(bytes: &[u8]) -> String {
    canonical::hex(&Sha256::digest(bytes))
}

fn signature_in(file: &BundleFile) -> Result<String, BundleError> {
    let malformed = |_| BundleError::Malformed { name: SIGNATURES };
    let Signatures { signatures: [jwt] } =
        serde_json::from_slice(&file.bytes).map_err(malformed)?;
    Ok(jwt)
}

/// Whether each file could stand in a bundle, by its name, its place and, for JSON, its spelling.
fn check(files: &[BundleFile]) -> Result<(), BundleError> {
    if files.len() > FILES_MAX {
        return Err(BundleError::TooManyFiles);
    }
    let mut before = "";
    for BundleFile { name, bytes } in files {
        let known = [MANIFEST, SIGNATURES].contains(&name.as_str());
        if !known && !name.split('/').all(is_plain) {
            return Err(BundleError::Name);
        }
        if name.as_str() <= before {
            return Err(BundleError::Order { name: name.clone() });
        }
        let is_json = known || name.ends_with(".json");
        if is_json && !json::is_compact(bytes) {
            return Err(BundleError::Json { name: name.clone() });
        }
        before = name;
    }
    Ok(())
}

/// A folder or file as we name them: never empty, hidden, `.` or `..`.
fn is_plain(part: &str) -> bool {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.');
    !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
}

#[cfg(test)]
mod tests;

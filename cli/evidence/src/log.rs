//! Which log a command reads, and by which keys it believes it.
//!
//! Not here: reading records. Invariant: a trust file that holds nothing but one verifier key counts as a policy that trusts this
//! one registry; whatever else is not understood is refused.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aegis_audit_chain::note::Verifier;
use aegis_audit_ship::{BucketError, Log};
use aegis_audit_trust::Trust;
use clap::Args;

use crate::EvidenceError;
use crate::named::{self, SMALL_BYTES_MAX};

/// Something a bucket's client must be told.
pub type StoreOption = (String, String);

pub fn store_option(text: &str) -> Result<StoreOption, String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Which log, and which keys.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// Where the log lies: a folder, or s3://, gs:// or az://bucket/prefix; the data directory's own unless given.
    #[arg(long, value_name = "FROM")]
    pub from: Option<String>,
    /// What the bucket's client must be told, such as aws_endpoint=http://127.0.0.1:9000; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = store_option)]
    pub store_option: Vec<StoreOption>,
    /// Which registries to believe; the data directory's trust.txt unless given.
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
}

impl LogArgs {
    pub fn open(&self, root: &Path) -> Result<(Log, Trust), EvidenceError> {
        let own = || root.join("audit").display().to_string();
        let from = self.from.clone().unwrap_or_else(own);
        Ok((open_log(&from, &self.store_option)?, self.trust(root)?))
    }

    pub(crate) fn trust(&self, root: &Path) -> Result<Trust, EvidenceError> {
        load_trust(&self.trust.clone().unwrap_or_else(|| root.join("trust.txt")))
    }
}

/// Opens a log wherever it lies.
pub fn open_log(from: &str, options: &[StoreOption]) -> Result<Log, EvidenceError> {
    Log::open(from, options).map_err(|error| match error {
        BucketError::Folder(source) => {
            EvidenceError::file("the audit log", Path::new(from))(source)
        }
        error => EvidenceError::Bucket(error),
    })
}

/// Reads which audit registries are believed, and by which keys.
pub fn load_trust(path: &Path) -> Result<Trust, EvidenceError> {
    let text = named::read("the trust file", path, SMALL_BYTES_MAX)?;
    if let Some(trust) = Verifier::parse(text.trim()).ok().and_then(Trust::of) {
        return Ok(trust);
    }
    Trust::parse(&text).map_err(|error| EvidenceError::invalid(path.display().to_string(), error))
}

/// Writes a file that must not be there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), EvidenceError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(EvidenceError::file("the file to write", path))
}

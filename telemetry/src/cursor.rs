//! How far each writer's records have been told, in one small file.
//!
//! Not here: when it is saved (`follow`). Invariant: the file is whole at any moment, and never ahead of what the
//! sinks have synced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Why a cursor file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    #[error("the cursor file cannot be read or written")]
    Io(#[from] io::Error),
    #[error("the cursor file is not a cursor")]
    Malformed(#[from] serde_json::Error),
    #[error("the cursor file's version is {0}, not 1")]
    Version(u32),
}

/// The next record of one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) incarnation: u64,
    pub(crate) next: u64,
}

/// The next record of every writer.
pub(crate) type Places = BTreeMap<String, Place>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CursorFile {
    version: u32,
    writers: Places,
}

const VERSION: u32 = 1;

/// Reads the cursor; where there is none, nothing has been told yet.
pub(crate) fn load(path: &Path) -> Result<Places, CursorError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Places::new()),
        Err(error) => return Err(error.into()),
    };
    let file: CursorFile = serde_json::from_slice(&bytes)?;
    if file.version == VERSION { Ok(file.writers) } else { Err(CursorError::Version(file.version)) }
}

/// Replaces the cursor, and makes the replacement last.
pub(crate) fn save(path: &Path, places: &Places) -> Result<(), CursorError> {
    let file = CursorFile { version: VERSION, writers: places.clone() };
    let temporary = path.with_extension("tmp");
    let mut new = File::create(&temporary)?;
    new.write_all(&serde_json::to_vec(&file)?)?;
    new.sync_all()?;
    fs::rename(&temporary, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

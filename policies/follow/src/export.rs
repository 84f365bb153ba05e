//! Releases as they were exported: in one file, or in numbered generations that voters write into a store.
//!
//! Not here: the store (`gateway/region` has it), and what becomes of a release (`follow`). Invariant: a generation holds what
//! the region signed at the revision that it is numbered by, so an old one cannot be passed off as a later one.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aegis_domain::Region;
use aegis_identity::KeySet;
use tracing::warn;

use crate::release::{Release, ReleaseError};

/// How many generations are tried, from the newest.
const TRIED: usize = 3;

/// Why an export is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the store does not give it: {0}")]
    Store(String),
    #[error("the store holds no export of this region")]
    Empty,
    #[error("a release in it does not check out: {}", cause(.0))]
    Release(#[from] ReleaseError),
    /// Nothing in it is signed, so it is neither believed nor passed over: what it took back must not decide again.
    #[error("generation {generation}, the newest, holds no release")]
    Nothing { generation: u64 },
    #[error("generation {generation} holds what was released at revision {revision}")]
    Renumbered { generation: u64, revision: u64 },
}

fn cause(error: &ReleaseError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A store of exports. Its methods block.
pub trait Generations: Send + Sync {
    /// The numbers of all that are there.
    fn numbers(&self) -> Result<Vec<u64>, String>;

    fn read(&self, number: u64) -> Result<String, String>;
}

/// Where an export lies.
#[derive(Clone)]
pub enum Export {
    File(PathBuf),
    Generations(Arc<dyn Generations>),
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Export::File(path) => f.debug_tuple("File").field(path).finish(),
            Export::Generations(_) => f.write_str("Generations"),
        }
    }
}

impl Export {
    /// All releases of it; of several generations, of the newest that checks out as a whole.
    pub(crate) fn releases(
        &self,
        keys: &KeySet,
        region: &Region,
    ) -> Result<Vec<Release>, ExportError> {
        let store = match self {
            Export::File(path) => {
                let file = |source| ExportError::File { path: path.clone(), source };
                return read(&std::fs::read_to_string(path).map_err(file)?, keys, region);
            }
            Export::Generations(store) => store,
        };
        let mut numbers = store.numbers().map_err(ExportError::Store)?;
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let mut failed = ExportError::Empty;
        for number in numbers.into_iter().take(TRIED) {
            match generation(store.as_ref(), number, (keys, region)) {
                Ok(releases) => return Ok(releases),
                Err(nothing @ ExportError::Nothing { .. }) => return Err(nothing),
                Err(cause) => {
                    warn!(number, %cause, "an export is refused; the one before is tried");
                    failed = cause;
                }
            }
        }
        Err(failed)
    }
}

fn generation(
    store: &dyn Generations,
    generation: u64,
    (keys, region): (&KeySet, &Region),
) -> Result<Vec<Release>, ExportError> {
    let text = store.read(generation).map_err(ExportError::Store)?;
    let releases = read(&text, keys, region)?;
    if releases.is_empty() {
        return Err(ExportError::Nothing { generation });
    }
    for release in &releases {
        let revision = release.statement().revision;
        if revision != generation {
            return Err(ExportError::Renumbered { generation, revision });
        }
    }
    Ok(releases)
}

fn read(text: &str, keys: &KeySet, region: &Region) -> Result<Vec<Release>, ExportError> {
    let releases = text.lines().map(|line| Release::read(line, keys, region));
    Ok(releases.collect::<Result<_, _>>()?)
}

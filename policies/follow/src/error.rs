//! Why what a region releases is not followed.
//!
//! Not here: why a release is refused, which whoever decides by it says (`Installer`). Invariant: where an epoch or a revision is not taken, the one that is held is named too.

use std::io;
use std::path::PathBuf;

use aegis_audit_chain::Hash;
use aegis_ledger::LineKey;

use crate::export::ExportError;
use crate::release::ReleaseError;
use crate::source::SourceError;

/// Why a page or a release of it does not count.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("the region's voter gives nothing")]
    Source(#[from] SourceError),
    #[error("the page does not count")]
    Page(#[source] ReleaseError),
    #[error("the page leads on from {after:?}, not from {held:?}")]
    Gap { after: Option<u64>, held: Option<u64> },
    #[error("the page is older than what is held: {revision}, not {held}")]
    OlderPage { revision: u64, held: u64 },
    #[error("a release does not check out")]
    Release(#[from] ReleaseError),
    #[error("the release of {line:?} is older than what is held: epoch {epoch}, not {held}")]
    Older { line: LineKey, epoch: u64, held: u64 },
    #[error("epoch {epoch} of {line:?} was another release before")]
    Forked { line: LineKey, epoch: u64 },
    #[error("the voter gives other bytes than {0} names")]
    Digest(Hash),
    #[error("the export of releases is not taken")]
    Export(#[from] ExportError),
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
}

//! Where releases come from: a voter of the region, in this process or elsewhere.
//!
//! Not here: believing what comes (`follow`). Invariant: a source is asked, and never tells by itself.

use std::collections::BTreeSet;

use aegis_audit_chain::Hash;
use aegis_domain::{Region, TenantId};

use crate::wire::Report;

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the certificate to trust is no PEM")]
    Certificate,
    #[error("no answer")]
    Http(#[source] Box<ureq::Error>),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer is longer than {bytes_max} bytes, or broke off")]
    Body { bytes_max: u64 },
    #[error("the region's ledger in this process does not answer: {0}")]
    Here(String),
}

impl SourceError {
    /// The whole of it, in one line.
    pub fn cause(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// Which releases are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub region: Region,
    /// Empty means every tenant that may be in the region.
    pub tenants: BTreeSet<TenantId>,
}

impl Scope {
    /// Whether a tenant is asked for.
    pub fn names(&self, tenant: &TenantId) -> bool {
        self.tenants.is_empty() || self.tenants.contains(tenant)
    }
}

/// A voter of the region. Its methods block.
pub trait Source: Send + Sync {
    /// A signed page: what came after a revision, once something did or some time went by; or everything.
    fn page(&self, scope: &Scope, after: Option<u64>) -> Result<String, SourceError>;

    /// The bundle of a digest. The caller checks it.
    fn content(&self, digest: Hash) -> Result<Vec<u8>, SourceError>;

    /// Says what a gateway runs.
    fn report(&self, gateway: &str, report: &Report) -> Result<(), SourceError>;
}

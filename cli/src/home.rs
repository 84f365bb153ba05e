//! Where the gateway keeps its things below the data directory.
//!
//! Not here: what is in the files. Invariant: this layout is the gateway's; it is spelled out only here.

use std::path::{Path, PathBuf};

use aegis_domain::TenantId;

use crate::failure::Failure;

/// The data directory.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn at(root: PathBuf) -> Self {
        Self(root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("aegis.yaml")
    }

    /// The key that signs agents' tokens.
    pub(crate) fn issuer_key(&self) -> PathBuf {
        self.0.join("keys/issuer.pem")
    }

    /// The key that signs attestations.
    pub(crate) fn region_key(&self) -> PathBuf {
        self.0.join("keys/region.pem")
    }

    /// The seed of the key that signs the audit registry, and nothing else.
    pub(crate) fn registry_seed(&self) -> PathBuf {
        self.0.join("keys/registry.seed")
    }

    pub(crate) fn jwks(&self) -> PathBuf {
        self.0.join("keys/jwks.json")
    }

    /// What the fleet and the audit log call this gateway, where its configuration gives it no name.
    pub(crate) fn gateway_name(&self) -> PathBuf {
        self.0.join("gateway.name")
    }

    /// The registry's verifier key: what an auditor is given.
    pub(crate) fn trust(&self) -> PathBuf {
        self.0.join("trust.txt")
    }

    /// The audit journal: registry and streams.
    pub(crate) fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// What opens the digests of records.
    pub(crate) fn all_disclosures(&self) -> PathBuf {
        self.0.join("disclosures")
    }

    pub(crate) fn policy(&self, tenant: &TenantId) -> PathBuf {
        self.0.join(format!("policies/{tenant}.yaml"))
    }
}

/// More than any configuration, policy, key set or file of calls.
const FILE_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// Reads a file, or a pipe, as text; `what` names it for people.
pub(crate) fn read(what: &'static str, path: &Path) -> Result<String, Failure> {
    aegis_audit_plain::read_given_text(path, FILE_BYTES_MAX)
        .map_err(|error| Failure::file(what, path, error))
}

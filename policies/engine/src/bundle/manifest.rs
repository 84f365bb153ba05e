//! `.manifest`: which policy version a bundle is, in the form that OPA reads.
//!
//! Not here: what belongs to which version (`snapshot`). Invariant: a manifest that was read has the roots and the Rego
//! version that our bundles have, and names one policy version and the compiler that wrote it.

use aegis_domain::TenantId;
use serde::{Deserialize, Serialize};

use super::{BundleError, BundleFile, json};

pub(super) const MANIFEST: &str = ".manifest";
const ROOTS: [&str; 2] = ["aegis", "aegis_data"];
const REGO_VERSION: u8 = 1;

/// Which policy version a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `<tenant>/<env>@<version>+<source digest>.<compiler>`.
    pub revision: String,
    pub tenant: TenantId,
    pub env: String,
    pub version: u64,
    /// SHA-256 of the canonical JSON of the source, lower-case hex.
    pub source_digest: String,
    /// The compiler that wrote the bundle: another one may write other bytes for the same source.
    pub compiler: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    revision: String,
    roots: Vec<String>,
    rego_version: u8,
    metadata: Metadata,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    aegis: About,
}

/// A later compiler may say more; it must still be possible to see that it was another.
#[derive(Serialize, Deserialize)]
struct About {
    tenant: TenantId,
    env: String,
    version: u64,
    source_digest: String,
    compiler: String,
}

impl Manifest {
    pub(super) fn read(file: &BundleFile) -> Result<Self, BundleError> {
        let written: Written = serde_json::from_slice(&file.bytes)
            .map_err(|_| BundleError::Malformed { name: MANIFEST })?;
        if written.roots != ROOTS || written.rego_version != REGO_VERSION {
            return Err(BundleError::Malformed { name: MANIFEST });
        }
        let About { tenant, env, version, source_digest, compiler } = written.metadata.aegis;
        let revision = written.revision;
        Ok(Self { revision, tenant, env, version, source_digest, compiler })
    }

    pub(crate) fn write(&self) -> BundleFile {
        let written = Written {
            revision: self.revision.clone(),
            roots: ROOTS.map(str::to_owned).to_vec(),
            rego_version: REGO_VERSION,
            metadata: Metadata {
                aegis: About {
                    tenant: self.tenant.clone(),
                    env: self.env.clone(),
                    version: self.version,
                    source_digest: self.source_digest.clone(),
                    compiler: self.compiler.clone(),
                },
            },
        };
        let bytes = json::compact(&serde_json::json!(written)).into_bytes();
        BundleFile { name: MANIFEST.to_owned(), bytes }
    }
}

//! The certificate and key that a tool shows to upstreams that ask who calls.
//!
//! Not here: the handshake (`conduit`), and whom an upstream believes. Invariant: a key that exists belongs to its
//! certificate, and nobody but its owner can change it or, but for its group, read it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use aegis_document::{Mapping, Node, Problems};
use aegis_domain::Secret;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use crate::read_tool::Folder;

/// A checked pair.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The leaf comes first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Secret<PrivateKeyDer<'static>>,
    /// SHA-256 of the chain: connections are shared only where it is the same.
    pub sha256: [u8; 32],
}

/// What must not be set on a key: reading by others, and writing by anyone but its owner. Groups may read, because
/// mounted secrets belong to one.
const TOO_OPEN: u32 = 0o027;

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
enum PairError {
    #[error("the {what} cannot be read: {source}")]
    Read { what: &'static str, source: std::io::Error },
    #[error("the {what} is not PEM")]
    NotPem { what: &'static str },
    #[error("the chain holds no certificate")]
    Empty,
    #[error("others may read the key, or its group change it (mode {mode:o})")]
    TooOpen { mode: u32 },
    #[error("the key does not belong to the first certificate of the chain: {0}")]
    Mismatch(rustls::Error),
}

pub(super) fn client_certificate(
    node: &Node,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<ClientCertificate> {
    client_certificate_in(node.mapping(problems)?, problems, folder)
}

/// The same where something else stood beside it and was taken out.
pub(super) fn client_certificate_in(
    mut map: Mapping<'_>,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<ClientCertificate> {
    let position = map.position();
    let chain = map.required("chain", problems, |node, problems| {
        let path = folder.path(node, problems)?;
        chain(&path).map_err(|error| problems.report(node.position(), error.to_string())).ok()
    });
    let key = map.required("key", problems, |node, problems| {
        let path = folder.path(node, problems)?;
        let report = |error: PairError| match error {
            PairError::TooOpen { .. } => {
                let help = "`chmod 600` it, or 640 where a group must read it";
                problems.report_with_help(node.position(), error.to_string(), help);
            }
            _ => problems.report(node.position(), error.to_string()),
        };
        key(&path).map_err(report).ok()
    });
    map.finish(problems);
    let (chain, key) = (chain?, key?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    if let Err(error) = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider) {
        problems.report(position, PairError::Mismatch(error).to_string());
        return None;
    }
    let mut sha256 = Sha256::new();
    for certificate in &chain {
        sha256.update(certificate);
    }
    Some(ClientCertificate { chain, key: Secret::new(key), sha256: sha256.finalize().into() })
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let what = "chain";
    let bytes = std::fs::read(path).map_err(|source| PairError::Read { what, source })?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|_| PairError::NotPem { what })?;
    if chain.is_empty() { Err(PairError::Empty) } else { Ok(chain) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, PairError> {
    let what = "key";
    let read = |source| PairError::Read { what, source };
    let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
    if mode & TOO_OPEN != 0 {
        return Err(PairError::TooOpen { mode });
    }
    let bytes = Secret::new(std::fs::read(path).map_err(read)?);
    PrivateKeyDer::from_pem_slice(bytes.expose()).map_err(|_| PairError::NotPem { what })
}

//! What the hot state must remember so that a credential serves nobody a second time.
//!
//! Not here: remembering it (`state`). Invariant: names derived here never equal the `jti` of a token that our own
//! service issued, and two keys or clients never share one.

use aegis_domain::{Jti, Timestamp, TokenUse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::CertificateThumbprint;

/// One question to the hot state: field by field what its `TokenCheck` wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayCheck {
    pub jti: Jti,
    pub token_use: TokenUse,
    /// What ties the token to its user; `None` leaves that to the network the call came from.
    pub binding: Option<[u8; 32]>,
    /// When it was made, as far as it says so: what is older than a loss of memory may have been used.
    pub issued_at: Option<Timestamp>,
    /// Until when a second use must be known.
    pub expires_at: Timestamp,
}

impl ReplayCheck {
    pub(crate) fn once(jti: Jti, issued_at: Option<Timestamp>, expires_at: Timestamp) -> Self {
        Self { jti, token_use: TokenUse::Once, binding: None, issued_at, expires_at }
    }
}

/// The name under which a proof or assertion is remembered: its `jti` is unique for one key or client only.
/// `None` cannot happen: the text is 48 bytes of printable ASCII.
pub(crate) fn derived_jti(kind: &'static str, owner: &[u8], jti: &Jti) -> Option<Jti> {
    let mut hash = Sha256::new();
    hash.update(b"aegis-replay-v1\0");
    hash.update(kind);
    hash.update([0]);
    hash.update(Sha256::digest(owner));
    hash.update(jti.as_str());
    Jti::parse(&format!("{kind}.{}", URL_SAFE_NO_PAD.encode(hash.finalize()))).ok()
}

/// The binding of a token first used over TLS with a certificate.
pub(crate) fn certificate_binding(certificate: &CertificateThumbprint) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"aegis-binding-certificate-v1\0");
    hash.update(certificate.as_bytes());
    hash.finalize().into()
}

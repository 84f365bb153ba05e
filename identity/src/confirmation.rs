//! `cnf`: what a caller must show beside a token (RFC 7800 §3.1).
//!
//! Not here: whether it was shown (`mode`). Invariant: a confirmation names at least one key that this gateway can
//! ask for, so a token that was meant to be bound is never taken for one that is not.

use serde_json::{Map, Value};

use crate::payload::Payload;
use crate::{CertificateThumbprint, JwkThumbprint, TokenError};

const KEY: &str = "jkt";
const CERTIFICATE: &str = "x5t#S256";

/// The keys a token is bound to; with two, both must be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// `jkt`: each use comes with a proof signed by this key (RFC 9449 §6.1).
    Key(JwkThumbprint),
    /// `x5t#S256`: each use comes over TLS with this certificate (RFC 8705 §3.1).
    Certificate(CertificateThumbprint),
    Both(JwkThumbprint, CertificateThumbprint),
}

impl Confirmation {
    pub fn key(&self) -> Option<JwkThumbprint> {
        match self {
            Confirmation::Key(key) | Confirmation::Both(key, _) => Some(*key),
            Confirmation::Certificate(_) => None,
        }
    }

    pub fn certificate(&self) -> Option<CertificateThumbprint> {
        match self {
            Confirmation::Certificate(certificate) | Confirmation::Both(_, certificate) => {
                Some(*certificate)
            }
            Confirmation::Key(_) => None,
        }
    }

    /// Members that nobody here understands are ignored (RFC 7800 §3.1), unless there is no other.
    pub(crate) fn read(payload: Payload<'_>) -> Result<Option<Self>, TokenError> {
        const MALFORMED: TokenError = TokenError::ClaimMalformed { claim: "cnf" };
        let Some(cnf) = payload.object("cnf")? else {
            return Ok(None);
        };
        let member = |name| cnf.text(name).map_err(|_| MALFORMED);
        let key = member(KEY)?.map(JwkThumbprint::parse).transpose();
        let certificate = member(CERTIFICATE)?.map(CertificateThumbprint::parse).transpose();
        match (key.map_err(|_| MALFORMED)?, certificate.map_err(|_| MALFORMED)?) {
            (Some(key), Some(certificate)) => Ok(Some(Self::Both(key, certificate))),
            (Some(key), None) => Ok(Some(Self::Key(key))),
            (None, Some(certificate)) => Ok(Some(Self::Certificate(certificate))),
            (None, None) => Err(MALFORMED),
        }
    }

    pub(crate) fn write(&self) -> Value {
        let mut cnf = Map::new();
        cnf.extend(self.key().map(|key| (KEY.to_owned(), key.to_string().into())));
        cnf.extend(self.certificate().map(|one| (CERTIFICATE.to_owned(), one.to_string().into())));
        Value::Object(cnf)
    }
}

//! What an agent proves itself with: a public key, or a certificate.
//!
//! Not here: checking what is signed with it (`identity`). Invariant: a key has one spelling and is named by its RFC 7638
//! thumbprint, whatever `kid` it was brought with; there is never a private member in it.

use aegis_domain::KeyId;
use aegis_identity::{CertificateThumbprint, KeyError, KeySet, PublicKey, ThumbprintError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a key cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentKeyError {
    #[error("the JWK is refused")]
    Jwk(#[from] KeyError),
    #[error("the certificate's thumbprint is refused")]
    Thumbprint(#[from] ThumbprintError),
}

/// What an agent proves itself with, spelled as in `cnf` (RFC 7800 §3.2, RFC 8705 §3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentKey {
    #[serde(rename = "jwk")]
    Jwk(PublicJwk),
    #[serde(rename = "x5t#S256", with = "thumbprint")]
    Certificate(CertificateThumbprint),
}

impl AgentKey {
    /// What revocations call it.
    pub fn id(&self) -> KeyId {
        match self {
            AgentKey::Jwk(jwk) => jwk.id().clone(),
            AgentKey::Certificate(thumbprint) => certificate_id(thumbprint),
        }
    }
}

/// What revocations call a certificate.
pub fn certificate_id(thumbprint: &CertificateThumbprint) -> KeyId {
    let text = thumbprint.to_string();
    // 43 characters of base64url always are a key id.
    KeyId::parse(&text).unwrap_or_else(|_| KeyId::thumbprint(text.as_bytes()))
}

/// A public key that checks signatures.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct PublicJwk(Box<PublicKey>);

impl PublicJwk {
    /// Reads a JWK (RFC 7517) and forgets the name it came with.
    pub fn parse(jwk: &Value) -> Result<Self, AgentKeyError> {
        let key = PublicKey::from_jwk_json(jwk.to_string().as_bytes())?;
        Ok(Self(Box::new(key.named_by_thumbprint())))
    }

    /// Its RFC 7638 thumbprint.
    pub fn id(&self) -> &KeyId {
        self.0.id()
    }

    pub fn key(&self) -> &PublicKey {
        &self.0
    }

    pub fn to_value(&self) -> Value {
        self.0.to_jwk()
    }

    /// The set of these keys. A key stands in it once.
    pub fn set<'a>(keys: impl IntoIterator<Item = &'a PublicJwk>) -> KeySet {
        keys.into_iter().fold(KeySet::default(), |set, key| {
            let fuller = set.clone().with(key.key().clone());
            fuller.unwrap_or(set)
        })
    }
}

impl PartialEq for PublicJwk {
    fn eq(&self, other: &Self) -> bool {
        self.to_value() == other.to_value()
    }
}

impl Eq for PublicJwk {}

impl TryFrom<Value> for PublicJwk {
    type Error = AgentKeyError;
    fn try_from(jwk: Value) -> Result<Self, AgentKeyError> {
        Self::parse(&jwk)
    }
}

impl From<PublicJwk> for Value {
    fn from(jwk: PublicJwk) -> Value {
        jwk.to_value()
    }
}

mod thumbprint {
    use serde::{Deserializer, Serializer};

    use super::*;

    pub(super) fn serialize<S: Serializer>(
        thumbprint: &CertificateThumbprint,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(thumbprint)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<CertificateThumbprint, D::Error> {
        let text = String::deserialize(from)?;
        CertificateThumbprint::parse(&text).map_err(serde::de::Error::custom)
    }
}

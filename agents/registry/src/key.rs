//! What an agent proves itself with: a public key, or a certificate.
//!
//! Not here: checking what is signed with it (`identity`). Invariant: a key has one spelling and is named by its RFC 7638
//! thumbprint, whatever `kid` it was brought with; there is never a private member in it.

use std::fmt;

use aegis_domain::KeyId;
use aegis_identity::{KeySet, KeySetError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Why a key cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentKeyError {
    #[error("the JWK is refused")]
    Jwk(#[source] KeySetError),
    #[error("the JWK is not an Ed25519, RSA or P-256 key for signatures")]
    Unusable,
    #[error("a certificate thumbprint is 32 bytes in base64url without padding (RFC 8705 §3.1)")]
    Thumbprint,
}

/// What an agent proves itself with, spelled as in `cnf` (RFC 7800 §3.2, RFC 8705 §3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AgentKey {
    #[serde(rename = "jwk")]
    Jwk(PublicJwk),
    #[serde(rename = "x5t#S256")]
    Certificate(CertificateThumbprint),
}

impl AgentKey {
    /// What revocations call it.
    pub fn id(&self) -> KeyId {
        match self {
            AgentKey::Jwk(jwk) => jwk.id().clone(),
            AgentKey::Certificate(thumbprint) => thumbprint.key_id(),
        }
    }
}

/// A public key that checks signatures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct PublicJwk {
    id: KeyId,
    /// The JWK as it is published.
    text: Box<str>,
}

impl PublicJwk {
    /// Reads a JWK (RFC 7517) and forgets the name it came with.
    pub fn parse(mut jwk: Value) -> Result<Self, AgentKeyError> {
        if let Some(members) = jwk.as_object_mut() {
            members.remove("kid");
        }
        let set = json!({ "keys": [jwk] }).to_string();
        let set = KeySet::from_jwks(set.as_bytes()).map_err(AgentKeyError::Jwk)?;
        let set: Value = serde_json::from_str(&set.to_jwks_json()).unwrap_or_default();
        let jwk = set.pointer("/keys/0").ok_or(AgentKeyError::Unusable)?;
        let id = jwk.get("kid").and_then(Value::as_str).map(KeyId::parse);
        let id = id.and_then(Result::ok).ok_or(AgentKeyError::Unusable)?;
        Ok(Self { id, text: jwk.to_string().into() })
    }

    /// Its RFC 7638 thumbprint.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The set of this key alone.
    pub fn key_set(&self) -> Result<KeySet, AgentKeyError> {
        let set = format!("{{\"keys\":[{}]}}", self.text);
        KeySet::from_jwks(set.as_bytes()).map_err(AgentKeyError::Jwk)
    }
}

impl TryFrom<Value> for PublicJwk {
    type Error = AgentKeyError;
    fn try_from(jwk: Value) -> Result<Self, AgentKeyError> {
        Self::parse(jwk)
    }
}

impl From<PublicJwk> for Value {
    fn from(jwk: PublicJwk) -> Value {
        jwk.to_value()
    }
}

/// SHA-256 over the DER of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateThumbprint([u8; 32]);

impl CertificateThumbprint {
    pub fn from_digest(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// Reads the spelling of `x5t#S256`.
    pub fn parse(text: &str) -> Result<Self, AgentKeyError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| AgentKeyError::Thumbprint)?;
        bytes.try_into().map(Self).map_err(|_| AgentKeyError::Thumbprint)
    }

    /// The name it has as a key.
    pub fn key_id(&self) -> KeyId {
        // 43 characters of base64url are always a key id; the bytes' hash is not needed a second time.
        KeyId::parse(&self.to_string()).unwrap_or_else(|_| KeyId::thumbprint(&self.0))
    }
}

impl fmt::Display for CertificateThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl TryFrom<String> for CertificateThumbprint {
    type Error = AgentKeyError;
    fn try_from(text: String) -> Result<Self, AgentKeyError> {
        Self::parse(&text)
    }
}

impl From<CertificateThumbprint> for String {
    fn from(thumbprint: CertificateThumbprint) -> String {
        thumbprint.to_string()
    }
}

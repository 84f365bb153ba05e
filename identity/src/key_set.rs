//! The public keys of one issuer (RFC 7517 §5), and which of them checks a given signature.
//!
//! Not here: fetching and refreshing them; that is the gateway's. Invariant: a key id names one key.

use std::collections::BTreeMap;

use aegis_domain::KeyId;
use serde_json::Value;

use crate::jwk::Purpose;
use crate::public_key::Algorithm;
use crate::{JsonError, KeyError, PublicKey, TokenError, json};

const JWKS_BYTES_MAX: usize = 64 * 1_024;
const KEYS_MAX: usize = 256;

/// Why a set of keys was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("key set is longer than {JWKS_BYTES_MAX} bytes")]
    TooLong,
    #[error("key set cannot be read")]
    Json(#[source] JsonError),
    #[error("key set has no array of keys")]
    NoKeysArray,
    #[error("key set has more than {KEYS_MAX} keys")]
    TooManyKeys,
    #[error("key at index {index} is refused")]
    Key { index: usize, source: KeyError },
    #[error("two keys have one key id")]
    DuplicateKeyId,
}

/// The keys whose signatures count.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: BTreeMap<KeyId, PublicKey>,
}

impl KeySet {
    /// Reads a JWK set. Keys for other uses or algorithms are skipped (RFC 7517 §5); a private or broken
    /// key refuses the set, because whoever publishes one cannot be trusted with the others.
    /// A set without usable keys is fine: an issuer that withdrew all its keys must be believed.
    pub fn from_jwks(bytes: &[u8]) -> Result<Self, KeySetError> {
        Self::read(bytes, Purpose::Signing)
    }

    /// Reads the bundle of a SPIFFE trust domain: a JWK set whose keys for tokens say so in words of their own.
    pub fn from_spiffe_bundle(bytes: &[u8]) -> Result<Self, KeySetError> {
        Self::read(bytes, Purpose::JwtSvid)
    }

    fn read(bytes: &[u8], purpose: Purpose) -> Result<Self, KeySetError> {
        if bytes.len() > JWKS_BYTES_MAX {
            return Err(KeySetError::TooLong);
        }
        let members = json::object(bytes).map_err(KeySetError::Json)?;
        let jwks = members.get("keys").and_then(Value::as_array).ok_or(KeySetError::NoKeysArray)?;
        if jwks.len() > KEYS_MAX {
            return Err(KeySetError::TooManyKeys);
        }
        let mut set = Self::default();
        for (index, jwk) in jwks.iter().enumerate() {
            let key = PublicKey::from_jwk(jwk, purpose)
                .map_err(|source| KeySetError::Key { index, source })?;
            if let Some(key) = key {
                set = set.with(key)?;
            }
        }
        Ok(set)
    }

    /// The set with one key more.
    pub fn with(mut self, key: PublicKey) -> Result<Self, KeySetError> {
        if self.keys.contains_key(&key.id) {
            return Err(KeySetError::DuplicateKeyId);
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(KeySetError::TooManyKeys);
        }
        self.keys.insert(key.id.clone(), key);
        Ok(self)
    }

    /// The JWK set to publish, such as at `/.well-known/jwks.json`.
    pub fn to_jwks_json(&self) -> String {
        let keys: Vec<Value> = self.keys.values().map(PublicKey::to_jwk).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key for a signature. Without a key id there must be no choice.
    pub(crate) fn select(
        &self,
        id: Option<&KeyId>,
        algorithm: Algorithm,
    ) -> Result<&PublicKey, TokenError> {
        let Some(id) = id else {
            let mut fitting = self.keys.values().filter(|key| key.algorithm() == algorithm);
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Ok(only),
                (None | Some(_), _) => Err(TokenError::KeyAmbiguous),
            };
        };
        let key = self.keys.get(id).ok_or(TokenError::KeyUnknown)?;
        if key.algorithm() == algorithm { Ok(key) } else { Err(TokenError::AlgorithmMismatch) }
    }
}

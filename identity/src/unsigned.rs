//! A JWS that lacks its signature: what a key that is kept elsewhere is given to sign.
//!
//! Not here: keys and signatures (`signing_key`, and whoever keeps a key). Invariant: the header names the key that is to
//! sign, and nothing that was laid out here is laid out a second time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::PublicKey;

/// The signing input of RFC 7515 §5.1.
#[derive(Clone, Debug)]
pub struct Unsigned(String);

impl Unsigned {
    pub fn new(key: &PublicKey, typ: &str, payload: &[u8]) -> Self {
        let header = json!({ "alg": key.algorithm().name(), "kid": key.id().as_str(), "typ": typ });
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        Self(format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload)))
    }

    /// What is signed.
    pub fn message(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The compact JWS.
    pub fn with(self, signature: &[u8]) -> String {
        format!("{}.{}", self.0, URL_SAFE_NO_PAD.encode(signature))
    }
}

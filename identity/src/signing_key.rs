//! An Ed25519 key that signs tokens and attestations.
//!
//! Not here: where it is kept and when it is rotated. Invariant: the seed leaves only as a `Secret`.

use std::fmt;

use aegis_domain::{KeyId, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use serde_json::Value;

use crate::{KeyError, PublicKey, Unsigned};

/// The DER of a PKCS#8 version 1 Ed25519 key up to its 32 bytes (RFC 8410 §7), the version OpenSSL reads.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A private signing key with its public half.
#[derive(Clone)]
pub struct SigningKey {
    private: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// Takes 32 random bytes, which the caller brings.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self::from_private(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Reads PKCS#8 PEM, such as `openssl genpkey -algorithm ed25519` writes.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem)
            .map(Self::from_private)
            .map_err(|_| KeyError::Pkcs8)
    }

    fn from_private(private: ed25519_dalek::SigningKey) -> Self {
        let public = PublicKey::from_ed25519(private.verifying_key());
        Self { private, public }
    }

    /// Writes PKCS#8 PEM; the 48 bytes of DER fill exactly one line.
    pub fn to_pkcs8_pem(&self) -> Secret<String> {
        let der = STANDARD.encode([PKCS8_PREFIX.as_slice(), self.private.as_bytes()].concat());
        Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"))
    }

    /// The RFC 7638 thumbprint of the public key.
    pub fn key_id(&self) -> &KeyId {
        self.public.id()
    }

    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The JWK to publish.
    pub fn public_jwk(&self) -> Value {
        self.public.to_jwk()
    }

    /// Signs a payload as a compact JWS of the given type.
    pub fn sign(&self, typ: &str, payload: &[u8]) -> String {
        let unsigned = Unsigned::new(&self.public, typ, payload);
        let signature = self.sign_message(unsigned.message());
        unsigned.with(&signature)
    }

    /// The bare signature over a message.
    pub fn sign_message(&self, message: &[u8]) -> [u8; 64] {
        self.private.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", self.key_id()).finish_non_exhaustive()
    }
}

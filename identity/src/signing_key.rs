//! An Ed25519 key that signs tokens and attestations.
//!
//! Not here: where it is kept and when it is rotated. Invariant: the seed leaves only as a `Secret`.

use std::fmt;

use aegis_domain::{KeyId, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ring::hmac;
use serde_json::Value;

use crate::{KeyError, PublicKey, Unsigned};

/// The DER of a PKCS#8 version 1 Ed25519 key up to its 32 bytes (RFC 8410 §7), the version OpenSSL reads.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What HKDF is salted with, so that no other protocol derives the same from one key.
const DERIVATION_SALT: &[u8] = b"aegis-derived-secret-v1";

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

    /// A secret for another purpose, the same wherever this key is: HKDF-SHA-256 over the seed (RFC 5869), of which one
    /// block is enough.
    pub fn derive(&self, purpose: &str) -> Secret<[u8; 32]> {
        Secret::new(hkdf_block(DERIVATION_SALT, self.private.as_bytes(), purpose.as_bytes()))
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

/// Extract, then the first block of expand (RFC 5869 §2.2, §2.3).
fn hkdf_block(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; 32] {
    let hmac = |key: &[u8], message: &[u8]| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
        let mut block = [0; 32];
        block.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        block
    };
    hmac(&hmac(salt, secret), &[info, &[1]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_is_hkdf_as_rfc_5869_appendix_a_1_has_it() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let block = hkdf_block(&salt, &[0x0b; 22], &info);
        let hex: String = block.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    }

    #[test]
    fn what_is_derived_follows_the_key_and_the_purpose() {
        let derive = |seed, purpose| *SigningKey::from_seed([seed; 32]).derive(purpose).expose();
        assert_eq!(derive(1, "a"), derive(1, "a"));
        assert_ne!(derive(1, "a"), derive(1, "b"));
        assert_ne!(derive(1, "a"), derive(2, "a"));
    }
}

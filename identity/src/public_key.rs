//! One public key, and the only place in this crate where a signature is checked.
//!
//! Not here: its JSON form (`jwk`) and which key checks which token (`key_set`). Invariant: a key has one
//! algorithm, fixed when it is made (RFC 8725 §3.1), and no caller chooses another.

use aegis_domain::KeyId;
use ed25519_dalek::{Signature, VerifyingKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

use crate::{JwkThumbprint, TokenError};

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Ed25519,
    Rs256,
    Ps256,
    Es256,
    Es384,
}

impl Algorithm {
    /// Reads a JOSE name. Ed25519 has two: that of RFC 8037 and that of RFC 9864, which deprecates it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "EdDSA" | "Ed25519" => Some(Algorithm::Ed25519),
            "RS256" => Some(Algorithm::Rs256),
            "PS256" => Some(Algorithm::Ps256),
            "ES256" => Some(Algorithm::Es256),
            "ES384" => Some(Algorithm::Es384),
            _ => None,
        }
    }

    /// The name to write: for Ed25519 still the older one, which every JWT library reads.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Algorithm::Ed25519 => "EdDSA",
            Algorithm::Rs256 => "RS256",
            Algorithm::Ps256 => "PS256",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
        }
    }
}

/// The names of every algorithm that proofs, assertions and tokens may be signed with, as metadata lists them.
pub const ALGORITHM_NAMES: [&str; 6] = ["Ed25519", "EdDSA", "ES256", "ES384", "PS256", "RS256"];

/// A key that tokens or attestations are checked with.
#[derive(Clone, Debug)]
pub struct PublicKey {
    pub(crate) id: KeyId,
    pub(crate) thumbprint: JwkThumbprint,
    pub(crate) material: Material,
}

/// What a signature is checked against; the variant is the algorithm.
#[derive(Clone, Debug)]
pub(crate) enum Material {
    Ed25519(VerifyingKey),
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
    Ps256(RsaPublicKeyComponents<Vec<u8>>),
    /// An uncompressed point (SEC 1 §2.3.3); `ring` checks with every use that it is on the curve.
    Es256([u8; 65]),
    /// The same on P-384.
    Es384([u8; 97]),
}

impl PublicKey {
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The name that the key itself decides (RFC 7638), whatever its key id says.
    pub fn thumbprint(&self) -> JwkThumbprint {
        self.thumbprint
    }

    /// The same key under the key id that is its thumbprint, which no other key can have.
    #[must_use]
    pub fn named_by_thumbprint(self) -> Self {
        Self { id: self.material.key_id(), ..self }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.material.algorithm()
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        self.material.verify(message, signature)
    }
}

impl Material {
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Material::Ed25519(_) => Algorithm::Ed25519,
            Material::Rs256(_) => Algorithm::Rs256,
            Material::Ps256(_) => Algorithm::Ps256,
            Material::Es256(_) => Algorithm::Es256,
            Material::Es384(_) => Algorithm::Es384,
        }
    }

    /// Checks a signature; for Ed25519 strictly: no small-order point, no second encoding of anything.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        let holds = match self {
            Material::Ed25519(key) => Signature::from_slice(signature)
                .and_then(|signature| key.verify_strict(message, &signature))
                .is_ok(),
            Material::Rs256(key) => {
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Material::Ps256(key) => {
                key.verify(&RSA_PSS_2048_8192_SHA256, message, signature).is_ok()
            }
            Material::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Material::Es384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(message, signature)
                .is_ok(),
        };
        if holds { Ok(()) } else { Err(TokenError::Signature) }
    }
}

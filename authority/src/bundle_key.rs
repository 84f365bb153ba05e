//! The key that policy bundles are signed with for OPAs that know no EdDSA: ECDSA on P-256, ES256 of RFC 7518 §3.4.
//!
//! Not here: what is signed (`policies/engine`). Invariant: the private key is a file of mode 0600 and is never printed.

use std::path::Path;

use aegis_domain::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use crate::store::{read_secret, replace};
use crate::{AuthorityError, StoreError};

/// What OPA's configuration calls the key unless told otherwise.
pub const BUNDLE_KEY_ID: &str = "aegis-bundles";

/// Signs bundles.
pub struct BundleKey {
    pair: EcdsaKeyPair,
    public_pem: String,
}

impl std::fmt::Debug for BundleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BundleKey")
    }
}

impl BundleKey {
    /// The key in a file, or a new one in it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let pem = match read_secret(path)? {
            Some(pem) => pem,
            None => {
                let key = KeyPair::generate().map_err(AuthorityError::Making)?;
                let pem = Secret::new(key.serialize_pem());
                replace(path, pem.expose().as_bytes(), 0o600)?;
                pem
            }
        };
        let content = |source| StoreError::Content { path: path.to_owned(), source };
        Self::load(&pem).map_err(content)
    }

    fn load(pem: &Secret<String>) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(pem.expose()).map_err(AuthorityError::Unusable)?;
        let public_pem = key.public_key_pem();
        let der = Secret::new(key.serialize_der());
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose(), &random);
        let pair = pair.map_err(|_| AuthorityError::Mismatch)?;
        Ok(Self { pair, public_pem })
    }

    /// What OPA is given, in SubjectPublicKeyInfo PEM.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// A compact JWS over a payload.
    pub fn sign(&self, typ: &str, payload: &[u8]) -> Result<String, AuthorityError> {
        let header = format!(r#"{{"alg":"ES256","kid":"{BUNDLE_KEY_ID}","typ":"{typ}"}}"#);
        let header = URL_SAFE_NO_PAD.encode(header);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| AuthorityError::Random)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

//! One public key in its JSON form (RFC 7517, 7518 §6, 8037), read and written.
//!
//! Not here: sets of them (`key_set`). Invariant: what is read holds no private member and has one
//! encoding only, so that two thumbprints never name one key.

use aegis_domain::KeyId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use ring::signature::RsaPublicKeyComponents;
use serde_json::{Map, Value};

use crate::public_key::{Algorithm, Material};
use crate::{PublicKey, rsa};

/// Members that hold a secret (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("key is not a JSON object")]
    NotAnObject,
    #[error("key has a private member")]
    Private,
    #[error("member {name} is missing")]
    MemberMissing { name: &'static str },
    #[error("member {name} is malformed")]
    MemberMalformed { name: &'static str },
    #[error("Ed25519 key is not a canonical point of full order")]
    Ed25519Point,
    #[error("RSA key has {bits} bits, not 2048 to 8192")]
    RsaSize { bits: usize },
    #[error("RSA key bears the mark of CVE-2017-15361 (ROCA)")]
    RsaRoca,
    #[error("private key is not Ed25519 in PKCS#8 PEM")]
    Pkcs8,
}

impl PublicKey {
    /// Reads a JWK. `None` is a sound key for something else: another use, curve or algorithm.
    pub(crate) fn from_jwk(jwk: &Value) -> Result<Option<Self>, KeyError> {
        let jwk = Members(jwk.as_object().ok_or(KeyError::NotAnObject)?);
        if PRIVATE_MEMBERS.iter().any(|name| jwk.0.contains_key(*name)) {
            return Err(KeyError::Private);
        }
        if !jwk.is_for_verifying()? {
            return Ok(None);
        }
        let Some(material) = jwk.material()? else {
            return Ok(None);
        };
        let id = match jwk.text("kid")? {
            Some(kid) => {
                KeyId::parse(kid).map_err(|_| KeyError::MemberMalformed { name: "kid" })?
            }
            None => material.thumbprint(),
        };
        Ok(Some(Self { id, material }))
    }

    pub(crate) fn from_ed25519(key: VerifyingKey) -> Self {
        let material = Material::Ed25519(key);
        Self { id: material.thumbprint(), material }
    }

    /// The JWK to publish.
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.material.members();
        jwk.insert("alg".to_owned(), self.algorithm().name().into());
        jwk.insert("kid".to_owned(), self.id.as_str().into());
        jwk.insert("use".to_owned(), "sig".into());
        Value::Object(jwk)
    }
}

impl Material {
    /// The members that make the key, and no others: those of RFC 7638 §3.2.
    fn members(&self) -> Map<String, Value> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let members = match self {
            Material::Ed25519(key) => {
                vec![
                    ("crv", "Ed25519".into()),
                    ("kty", "OKP".into()),
                    ("x", encode(key.as_bytes())),
                ]
            }
            Material::Rs256(key) | Material::Ps256(key) => {
                vec![("e", encode(&key.e)), ("kty", "RSA".into()), ("n", encode(&key.n))]
            }
            Material::Es256([_, point @ ..]) => {
                let (x, y) = point.split_at(32);
                let (x, y) = (encode(x), encode(y));
                vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", x), ("y", y)]
            }
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
    }

    fn thumbprint(&self) -> KeyId {
        KeyId::thumbprint(Value::Object(self.members()).to_string().as_bytes())
    }
}

struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    fn text(&self, name: &'static str) -> Result<Option<&'a str>, KeyError> {
        let text = |value: &'a Value| value.as_str().ok_or(KeyError::MemberMalformed { name });
        self.0.get(name).map(text).transpose()
    }

    fn required_text(&self, name: &'static str) -> Result<&'a str, KeyError> {
        self.text(name)?.ok_or(KeyError::MemberMissing { name })
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, KeyError> {
        let text = self.required_text(name)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::MemberMalformed { name })
    }

    fn bytes_32(&self, name: &'static str) -> Result<[u8; 32], KeyError> {
        self.bytes(name)?.try_into().map_err(|_| KeyError::MemberMalformed { name })
    }

    /// Honours `use` and `key_ops` (RFC 7517 §4.2, §4.3).
    fn is_for_verifying(&self) -> Result<bool, KeyError> {
        let signs = self.text("use")?.is_none_or(|purpose| purpose == "sig");
        let verifies = match self.0.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|name| name == "verify"),
            Some(_) => return Err(KeyError::MemberMalformed { name: "key_ops" }),
        };
        Ok(signs && verifies)
    }

    /// An RSA key without `alg` is for RS256, as those who leave it out mean it: one key, one algorithm.
    fn material(&self) -> Result<Option<Material>, KeyError> {
        let kty = self.required_text("kty")?;
        let alg = self.text("alg")?.map(Algorithm::parse);
        match (kty, alg) {
            ("OKP", None | Some(Some(Algorithm::Ed25519))) => self.ed25519(),
            ("EC", None | Some(Some(Algorithm::Es256))) => self.p256(),
            ("RSA", None | Some(Some(Algorithm::Rs256))) => {
                self.rsa().map(Material::Rs256).map(Some)
            }
            ("RSA", Some(Some(Algorithm::Ps256))) => self.rsa().map(Material::Ps256).map(Some),
            _ => Ok(None),
        }
    }

    fn ed25519(&self) -> Result<Option<Material>, KeyError> {
        if self.required_text("crv")? != "Ed25519" {
            return Ok(None);
        }
        let bytes = self.bytes_32("x")?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Ed25519Point)?;
        let canonical = key.to_edwards().compress().to_bytes() == bytes;
        if !canonical || key.is_weak() {
            return Err(KeyError::Ed25519Point);
        }
        Ok(Some(Material::Ed25519(key)))
    }

    fn p256(&self) -> Result<Option<Material>, KeyError> {
        if self.required_text("crv")? != "P-256" {
            return Ok(None);
        }
        let mut point = [0; 65];
        let coordinates = [self.bytes_32("x")?, self.bytes_32("y")?].concat();
        for (slot, byte) in point.iter_mut().zip([4].into_iter().chain(coordinates)) {
            *slot = byte;
        }
        Ok(Some(Material::Es256(point)))
    }

    fn rsa(&self) -> Result<RsaPublicKeyComponents<Vec<u8>>, KeyError> {
        let (n, e) = (self.bytes("n")?, self.bytes("e")?);
        rsa::check(&n, &e)?;
        Ok(RsaPublicKeyComponents { n, e })
    }
}

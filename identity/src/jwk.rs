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
use crate::{JsonError, JwkThumbprint, PublicKey, json, rsa};

/// Members that hold a secret (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("key cannot be read")]
    Json(#[source] JsonError),
    #[error("key is not a JSON object")]
    NotAnObject,
    #[error("key is for another use, curve or algorithm")]
    Unsupported,
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

/// What a key must say it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `use: sig`, or nothing (RFC 7517 §4.2).
    Signing,
    /// `use: jwt-svid`; a key that says nothing is ignored (SPIFFE Trust Domain and Bundle §4.2.2).
    JwtSvid,
}

impl PublicKey {
    /// Reads one JWK, as an agent registers it. Unlike in a set, a key for something else is an error.
    pub fn from_jwk_json(bytes: &[u8]) -> Result<Self, KeyError> {
        let jwk = Value::Object(json::object(bytes).map_err(KeyError::Json)?);
        Self::from_jwk(&jwk, Purpose::Signing)?.ok_or(KeyError::Unsupported)
    }

    /// Reads a JWK. `None` is a sound key for something else: another use, curve or algorithm.
    pub(crate) fn from_jwk(jwk: &Value, purpose: Purpose) -> Result<Option<Self>, KeyError> {
        let jwk = Members::public(jwk)?;
        if !jwk.is_for_verifying(purpose)? {
            return Ok(None);
        }
        let Some(material) = jwk.material(None)? else {
            return Ok(None);
        };
        let id = match jwk.text("kid")? {
            Some(kid) => {
                KeyId::parse(kid).map_err(|_| KeyError::MemberMalformed { name: "kid" })?
            }
            None => material.key_id(),
        };
        Ok(Some(Self { id, thumbprint: material.thumbprint(), material }))
    }

    pub(crate) fn from_ed25519(key: VerifyingKey) -> Self {
        let material = Material::Ed25519(key);
        Self { id: material.key_id(), thumbprint: material.thumbprint(), material }
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
    /// Reads the key that a proof brings along, for the algorithm that the proof names.
    pub(crate) fn from_proof(jwk: &Value, algorithm: Algorithm) -> Result<Self, KeyError> {
        let jwk = Members::public(jwk)?;
        if !jwk.is_for_verifying(Purpose::Signing)? {
            return Err(KeyError::Unsupported);
        }
        jwk.material(Some(algorithm))?.ok_or(KeyError::Unsupported)
    }

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
            Material::Es384([_, point @ ..]) => {
                let (x, y) = point.split_at(48);
                let (x, y) = (encode(x), encode(y));
                vec![("crv", "P-384".into()), ("kty", "EC".into()), ("x", x), ("y", y)]
            }
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
    }

    pub(crate) fn thumbprint(&self) -> JwkThumbprint {
        JwkThumbprint::of_canonical(&self.canonical())
    }

    pub(crate) fn key_id(&self) -> KeyId {
        KeyId::thumbprint(self.canonical().as_bytes())
    }

    fn canonical(&self) -> String {
        Value::Object(self.members()).to_string()
    }
}

struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    fn public(jwk: &'a Value) -> Result<Self, KeyError> {
        let jwk = jwk.as_object().ok_or(KeyError::NotAnObject)?;
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
            return Err(KeyError::Private);
        }
        Ok(Self(jwk))
    }

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

    fn bytes_of<const N: usize>(&self, name: &'static str) -> Result<[u8; N], KeyError> {
        self.bytes(name)?.try_into().map_err(|_| KeyError::MemberMalformed { name })
    }

    /// Honours `use` and `key_ops` (RFC 7517 §4.2, §4.3).
    fn is_for_verifying(&self, purpose: Purpose) -> Result<bool, KeyError> {
        let named = self.text("use")?;
        let signs = match purpose {
            Purpose::Signing => named.is_none_or(|named| named == "sig"),
            Purpose::JwtSvid => named == Some("jwt-svid"),
        };
        let verifies = match self.0.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|name| name == "verify"),
            Some(_) => return Err(KeyError::MemberMalformed { name: "key_ops" }),
        };
        Ok(signs && verifies)
    }

    /// An RSA key without `alg` is for RS256, as those who leave it out mean it: one key, one algorithm. Only the
    /// holder of a key may say otherwise, in a proof signed with it (`wanted`).
    fn material(&self, wanted: Option<Algorithm>) -> Result<Option<Material>, KeyError> {
        let kty = self.required_text("kty")?;
        let alg = match (self.text("alg")?.map(Algorithm::parse), wanted) {
            (None, wanted) => wanted,
            (Some(None), _) => return Ok(None),
            (Some(named), Some(_)) if named != wanted => return Ok(None),
            (Some(named), _) => named,
        };
        match (kty, alg) {
            ("OKP", None | Some(Algorithm::Ed25519)) => self.ed25519(),
            ("EC", None) => Ok(self.p256()?.or(self.p384()?)),
            ("EC", Some(Algorithm::Es256)) => self.p256(),
            ("EC", Some(Algorithm::Es384)) => self.p384(),
            ("RSA", None | Some(Algorithm::Rs256)) => self.rsa().map(Material::Rs256).map(Some),
            ("RSA", Some(Algorithm::Ps256)) => self.rsa().map(Material::Ps256).map(Some),
            _ => Ok(None),
        }
    }

    fn ed25519(&self) -> Result<Option<Material>, KeyError> {
        if self.required_text("crv")? != "Ed25519" {
            return Ok(None);
        }
        let bytes = self.bytes_of("x")?;
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
        Ok(Some(Material::Es256(uncompressed(self.point::<32>()?))))
    }

    fn p384(&self) -> Result<Option<Material>, KeyError> {
        if self.required_text("crv")? != "P-384" {
            return Ok(None);
        }
        Ok(Some(Material::Es384(uncompressed(self.point::<48>()?))))
    }

    fn point<const N: usize>(&self) -> Result<[[u8; N]; 2], KeyError> {
        Ok([self.bytes_of("x")?, self.bytes_of("y")?])
    }

    fn rsa(&self) -> Result<RsaPublicKeyComponents<Vec<u8>>, KeyError> {
        let (n, e) = (self.bytes("n")?, self.bytes("e")?);
        rsa::check(&n, &e)?;
        Ok(RsaPublicKeyComponents { n, e })
    }
}

/// `4 ‖ x ‖ y` (SEC 1 §2.3.3); `POINT` is twice `N` and one.
fn uncompressed<const N: usize, const POINT: usize>(coordinates: [[u8; N]; 2]) -> [u8; POINT] {
    let mut point = [0; POINT];
    let bytes = [4].into_iter().chain(coordinates.into_iter().flatten());
    for (slot, byte) in point.iter_mut().zip(bytes) {
        *slot = byte;
    }
    point
}

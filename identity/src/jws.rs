//! A signed text in compact form (RFC 7515 §7.1): taken apart, and its signature checked.
//!
//! Not here: what the payload says (`claims`). Tokens and our own attestations both come through here.
//! Invariant: the header never supplies a key, never causes a fetch, and never picks the algorithm: it can
//! only name the one its key already has.

use aegis_domain::KeyId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::public_key::{Algorithm, Material};
use crate::{KeySet, Part, PublicKey, TokenError, json};

/// The longest attestation that is looked at.
pub(crate) const JWS_BYTES_MAX: usize = 16 * 1_024;

/// Members that would bring a key along, change how bytes are read, or must be understood (RFC 8725 §3.1, §3.10).
const FORBIDDEN: [&str; 6] = ["crit", "b64", "zip", "jku", "x5u", "x5c"];
/// The key itself: a proof must bring it (RFC 9449 §4.2), nothing else may.
const JWK: &str = "jwk";

/// `typ` of what a backup of a region's ledger says of itself.
pub const BACKUP_TYPE: &str = "aegis-backup+jwt";

/// Checks a text that we signed ourselves, such as an attestation, and hands out what was signed.
/// The type must match exactly, so that nothing signed for one purpose serves another (RFC 8725 §3.11).
pub fn verify_jws(token: &str, typ: &str, keys: &KeySet) -> Result<Vec<u8>, TokenError> {
    verify_jws_within(token, typ, keys, JWS_BYTES_MAX)
}

/// The same for texts that may be longer, such as the signature of a policy bundle, which lists its files.
pub fn verify_jws_within(
    token: &str,
    typ: &str,
    keys: &KeySet,
    bytes_max: usize,
) -> Result<Vec<u8>, TokenError> {
    let jws = Jws::parse(token, bytes_max)?;
    if jws.header.typ.as_deref() != Some(typ) {
        return Err(TokenError::TypeUnexpected);
    }
    jws.verify(keys)?;
    Ok(jws.payload)
}

/// What a header may say.
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    kid: Option<KeyId>,
    pub(crate) typ: Option<String>,
}

/// A compact JWS, read but not believed.
pub(crate) struct Jws<'a> {
    signing_input: &'a str,
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    pub(crate) fn parse(token: &'a str, bytes_max: usize) -> Result<Self, TokenError> {
        let parts = Parts::split(token, bytes_max)?;
        let header = parts.header()?;
        if header.contains_key(JWK) {
            return Err(TokenError::HeaderForbidden { name: JWK });
        }
        Self::read(&parts, &header)
    }

    /// Reads a proof, which brings the key it is signed with.
    pub(crate) fn parse_proof(
        text: &'a str,
        bytes_max: usize,
    ) -> Result<(Self, Value), TokenError> {
        let parts = Parts::split(text, bytes_max)?;
        let mut header = parts.header()?;
        let jwk = header.remove(JWK).ok_or(TokenError::HeaderMissing { name: JWK })?;
        Ok((Self::read(&parts, &header)?, jwk))
    }

    fn read(parts: &Parts<'a>, header: &Map<String, Value>) -> Result<Self, TokenError> {
        Ok(Self {
            signing_input: parts.signing_input,
            header: Header::read(header)?,
            payload: decode(parts.payload, Part::Payload)?,
            signature: decode(parts.signature, Part::Signature)?,
        })
    }

    /// The claims in the payload, not believed.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, TokenError> {
        read_object(&self.payload, Part::Payload)
    }

    /// Checks the signature with a key that somebody else chose.
    pub(crate) fn verify_with(&self, key: &Material) -> Result<(), TokenError> {
        key.verify(self.signing_input.as_bytes(), &self.signature)
    }

    /// Checks the signature and names the key that made it.
    pub(crate) fn verify<'k>(&self, keys: &'k KeySet) -> Result<&'k PublicKey, TokenError> {
        let key = keys.select(self.header.kid.as_ref(), self.header.algorithm)?;
        key.verify(self.signing_input.as_bytes(), &self.signature)?;
        Ok(key)
    }
}

/// The three parts, still encoded. The payload may be empty (RFC 7515 allows it); the others may not.
pub(crate) struct Parts<'a> {
    signing_input: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(token: &'a str, bytes_max: usize) -> Result<Self, TokenError> {
        check_length(token, bytes_max)?;
        let (signing_input, signature) = token.rsplit_once('.').ok_or(TokenError::Shape)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenError::Shape)?;
        if header.is_empty() || signature.is_empty() || payload.contains('.') {
            return Err(TokenError::Shape);
        }
        Ok(Self { signing_input, header, payload, signature })
    }

    pub(crate) fn header(&self) -> Result<Map<String, Value>, TokenError> {
        read_object(&decode(self.header, Part::Header)?, Part::Header)
    }

    pub(crate) fn payload(&self) -> Result<Map<String, Value>, TokenError> {
        read_object(&decode(self.payload, Part::Payload)?, Part::Payload)
    }
}

pub(crate) fn check_length(token: &str, bytes_max: usize) -> Result<(), TokenError> {
    if token.len() > bytes_max { Err(TokenError::TooLong { bytes_max }) } else { Ok(()) }
}

/// Canonical only: no padding, no blanks, and no bits left over in the last character (RFC 4648 §3.5), so a
/// token has one spelling.
fn decode(text: &str, part: Part) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Base64 { part })
}

pub(crate) fn read_object(bytes: &[u8], part: Part) -> Result<Map<String, Value>, TokenError> {
    json::object(bytes).map_err(|source| TokenError::Json { part, source })
}

impl Header {
    /// Nothing that was signed for one purpose may serve another (RFC 8725 §3.11), so a type that is not among
    /// `types` refuses. Many libraries write none; each kind is then told by its key and its claims.
    pub(crate) fn check_type(&self, types: &[&str]) -> Result<(), TokenError> {
        match &self.typ {
            Some(typ) if !types.iter().any(|known| known.eq_ignore_ascii_case(typ)) => {
                Err(TokenError::TypeUnexpected)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn read(members: &Map<String, Value>) -> Result<Self, TokenError> {
        if let Some(name) = FORBIDDEN.into_iter().find(|name| members.contains_key(*name)) {
            return Err(TokenError::HeaderForbidden { name });
        }
        let text = |name: &'static str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(TokenError::HeaderMalformed { name }),
        };
        let algorithm = text("alg")?.ok_or(TokenError::AlgorithmMissing)?;
        let kid = text("kid")?
            .map(KeyId::parse)
            .transpose()
            .map_err(|_| TokenError::HeaderMalformed { name: "kid" })?;
        Ok(Self {
            algorithm: Algorithm::parse(algorithm).ok_or(TokenError::AlgorithmUnsupported)?,
            kid,
            typ: text("typ")?.map(str::to_owned),
        })
    }
}

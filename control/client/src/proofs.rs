//! What an agent signs with its key: a client assertion, a DPoP proof, and the proof that goes with an enrolment.
//!
//! Not here: checking them (`identity`). Invariant: each has a type or an audience of its own, so none serves for another.

use aegis_domain::{Jti, Timestamp};
use aegis_identity::SigningKey;
use aegis_registry::CodeHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const ASSERTION_LIFE_S: u64 = 60;

/// `private_key_jwt` (RFC 7523 §3).
pub fn client_assertion(
    key: &SigningKey,
    client_id: &str,
    issuer: &str,
    jti: &Jti,
    now: Timestamp,
) -> String {
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": issuer,
        "jti": jti.as_str(),
        "iat": now.unix_s(),
        "exp": now.unix_s().saturating_add(ASSERTION_LIFE_S),
    });
    key.sign("JWT", claims.to_string().as_bytes())
}

/// A DPoP proof for the token endpoint (RFC 9449 §4.2), with the nonce the server gave (§8).
pub fn dpop_proof(
    key: &SigningKey,
    endpoint: &str,
    nonce: Option<&str>,
    jti: &Jti,
    now: Timestamp,
) -> String {
    let mut jwk = key.public_jwk();
    // The proof's key is the key itself; what anyone calls it does not matter.
    if let Some(members) = jwk.as_object_mut() {
        members.retain(|name, _| matches!(name.as_str(), "kty" | "crv" | "x"));
    }
    let header = json!({ "alg": "EdDSA", "typ": "dpop+jwt", "jwk": jwk });
    let mut claims =
        json!({ "jti": jti.as_str(), "htm": "POST", "htu": endpoint, "iat": now.unix_s() });
    if let (Some(nonce), Some(members)) = (nonce, claims.as_object_mut()) {
        members.insert("nonce".to_owned(), nonce.into());
    }
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign_message(message.as_bytes()));
    format!("{message}.{signature}")
}

/// That whoever enrols a key holds it, for this server and this code.
pub fn enrolment_proof(key: &SigningKey, issuer: &str, code: &str, now: Timestamp) -> String {
    let claims = json!({
        "aud": issuer,
        "code": CodeHash::of(code.trim()),
        "iat": now.unix_s(),
    });
    key.sign("aegis-enrol+jwt", claims.to_string().as_bytes())
}

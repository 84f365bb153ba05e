//! Sessions of people: what counts as one, and what is never taken for one.
//!
//! Not here: what they permit. Invariant: each test forges one thing in a session that would count.

use aegis_domain::{Jti, TenantId, Timestamp};
use serde_json::{Value, json};

use super::now;
use crate::{KeySet, SESSION_TTL_MAX, Session, SigningKey, TokenError, is_session, verify_session};

const ISSUER: &str = "https://control.example.com";
const TYPE: &str = "aegis-session+jwt";

fn key() -> SigningKey {
    SigningKey::from_seed([9; 32])
}

fn keys() -> KeySet {
    KeySet::default().with(key().public_key().clone()).unwrap()
}

fn claims() -> Value {
    let at = now().unix_s();
    json!({ "iss": ISSUER, "aud": ISSUER, "sub": "alice", "jti": "s-1", "iat": at, "exp": at + 60 })
}

fn verify(claims: &Value, at: Timestamp) -> Result<Jti, TokenError> {
    verify_session(&key().sign(TYPE, claims.to_string().as_bytes()), ISSUER, &keys(), at)
}

#[test]
fn a_session_is_known_by_its_name_until_its_end() {
    let (jti, tenant) = (Jti::parse("s-1").unwrap(), TenantId::parse("acme").unwrap());
    let session = Session {
        issuer: ISSUER,
        subject: "alice",
        jti: &jti,
        issued_at: now(),
        expires_at: now().plus(SESSION_TTL_MAX),
        roles: vec!["operator"],
        tenants: Some(vec![&tenant]),
    };
    let token = session.sign(&key());
    assert!(is_session(&token));
    assert_eq!(token, session.sign(&key()), "one session has one text");
    assert_eq!(verify_session(&token, ISSUER, &keys(), now()), Ok(jti));
    let over = now().plus(SESSION_TTL_MAX).plus(aegis_domain::Ttl::from_s(30));
    let late = verify_session(&token, ISSUER, &keys(), over);
    assert!(matches!(late, Err(TokenError::Expired { .. })), "{late:?}");
}

#[test]
fn every_claim_of_a_session_is_needed_and_held() {
    assert!(verify(&claims(), now()).is_ok());
    for (claim, value) in [
        ("iss", json!("https://other.example.com")),
        ("aud", json!("https://other.example.com")),
        ("aud", json!([ISSUER, "https://other.example.com"])),
        ("exp", json!(now().unix_s() + 12 * 60 * 60 + 31)),
        ("exp", json!(now().unix_s() - 31)),
        ("iat", json!(now().unix_s() + 31)),
        ("nbf", json!(now().unix_s() + 31)),
        ("jti", json!("")),
        ("jti", json!(7)),
    ] {
        let mut forged = claims();
        forged[claim] = value.clone();
        assert!(verify(&forged, now()).is_err(), "{claim} {value}");
    }
    for claim in ["iss", "aud", "exp", "iat", "jti"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(claim);
        assert!(verify(&without, now()).is_err(), "{claim}");
    }
}

#[test]
fn nothing_else_that_the_region_signs_is_a_session() {
    let payload = claims().to_string();
    for typ in ["aegis-feed+jwt", "at+jwt", "JWT", "AEGIS-SESSION+JWT", ""] {
        let token = key().sign(typ, payload.as_bytes());
        assert!(!is_session(&token), "{typ}");
        let refused = verify_session(&token, ISSUER, &keys(), now());
        assert_eq!(refused, Err(TokenError::TypeUnexpected), "{typ}");
    }
    let stranger = SigningKey::from_seed([10; 32]).sign(TYPE, payload.as_bytes());
    assert_eq!(verify_session(&stranger, ISSUER, &keys(), now()), Err(TokenError::KeyUnknown));
    let mut touched = key().sign(TYPE, payload.as_bytes()).into_bytes();
    let last = touched.len() - 2;
    touched[last] = if touched[last] == b'A' { b'B' } else { b'A' };
    let touched = String::from_utf8(touched).unwrap();
    assert_eq!(verify_session(&touched, ISSUER, &keys(), now()), Err(TokenError::Signature));
}

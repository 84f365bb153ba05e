//! What we write, we and others read back.
//!
//! Not here: what is refused. Invariant: minting and verifying agree on every claim.

use std::collections::BTreeSet;

use aegis_domain::{Timestamp, TokenUse};

use super::{GATEWAY, claims, key, keys_of, now, verifier, verifier_with};
use crate::{KeyError, KeySet, SigningKey, TokenError, inspect, mint, verify_jws};

#[test]
fn a_minted_token_is_read_back_claim_by_claim() {
    let token = mint(&key(), &claims()).unwrap();
    let verified = verifier().verify(&token, now()).unwrap();
    assert_eq!(verified.claims(), &claims());
    assert_eq!(verified.key_id(), key().key_id());
}

#[test]
fn a_token_with_only_the_required_claims_is_read_back() {
    let mut least = claims();
    (least.parent_agent, least.not_before, least.issued_at) = (None, None, None);
    (least.scopes, least.token_use) = (BTreeSet::new(), TokenUse::Once);
    least.audience = vec![GATEWAY.to_owned(), "https://other.example".to_owned()];
    let token = mint(&key(), &least).unwrap();
    assert_eq!(verifier().verify(&token, now()).unwrap().claims(), &least);
}

#[test]
fn a_scope_that_would_be_read_as_two_is_not_minted() {
    for bad in ["payments admin", "", "a\"b", "a\\b", "ü", "a\n", &"a".repeat(129)] {
        let mut tricked = claims();
        tricked.scopes.insert(bad.to_owned());
        let refused = Err(TokenError::ClaimMalformed { claim: "scope" });
        assert_eq!(mint(&key(), &tricked), refused, "{bad:?}");
    }
}

#[test]
fn a_token_for_nobody_is_not_minted() {
    let mut for_nobody = claims();
    for_nobody.audience.clear();
    assert_eq!(mint(&key(), &for_nobody), Err(TokenError::ClaimMissing { claim: "aud" }));
}

#[test]
fn a_published_key_set_verifies_what_its_keys_sign() {
    let published = keys_of(&key()).to_jwks_json();
    let keys = KeySet::from_jwks(published.as_bytes()).unwrap();
    let token = mint(&key(), &claims()).unwrap();
    assert!(verifier_with(keys).verify(&token, now()).is_ok());
    assert!(published.contains(r#""use":"sig""#) && !published.contains(r#""d""#));
}

#[test]
fn a_private_key_survives_its_pem_and_never_shows_itself() {
    let pem = key().to_pkcs8_pem();
    let back = SigningKey::from_pkcs8_pem(pem.expose()).unwrap();
    assert_eq!(back.key_id(), key().key_id());
    assert_eq!(SigningKey::from_pkcs8_pem("-----BEGIN").unwrap_err(), KeyError::Pkcs8);
    let shown = format!("{:?}", key());
    assert_eq!(shown, format!("SigningKey {{ key_id: {:?}, .. }}", key().key_id()));
}

#[test]
fn openssl_and_rfc_8410_keys_are_read() {
    // RFC 8410 §10.3: version 1, and version 2 with the public key attached.
    let v1 = "-----BEGIN PRIVATE KEY-----\n\
              MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
              -----END PRIVATE KEY-----\n";
    let v2 = "-----BEGIN PRIVATE KEY-----\n\
              MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
              oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
              Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
              -----END PRIVATE KEY-----\n";
    let public = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";
    for pem in [v1, v2] {
        let key = SigningKey::from_pkcs8_pem(pem).unwrap();
        assert_eq!(key.public_jwk().get("x").unwrap(), public);
        assert_eq!(key.to_pkcs8_pem().expose(), v1);
    }
}

#[test]
fn the_signed_example_of_rfc_8037_verifies() {
    // RFC 8037 appendix A.4; its header has neither kid nor typ.
    let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let jws = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCj\
               P0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let keys = KeySet::from_jwks(jwks.as_bytes()).unwrap();
    let read = crate::jws::Jws::parse(jws, 1_000).unwrap();
    assert_eq!(read.payload, b"Example of Ed25519 signing");
    let key = read.verify(&keys).unwrap();
    assert_eq!(key.id().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn an_attestation_is_read_back_only_as_what_it_is() {
    let signed = key().sign("aegis-attestation+jwt", b"\x00any bytes");
    let keys = keys_of(&key());
    assert_eq!(verify_jws(&signed, "aegis-attestation+jwt", &keys).unwrap(), b"\x00any bytes");
    for other in ["aegis-override+jwt", "AEGIS-attestation+jwt", "at+jwt", ""] {
        assert_eq!(verify_jws(&signed, other, &keys), Err(TokenError::TypeUnexpected), "{other}");
    }
}

#[test]
fn an_inspection_shows_what_nobody_verified() {
    let token = mint(&SigningKey::from_seed([8; 32]), &claims()).unwrap();
    let shown = inspect(&token).unwrap();
    assert_eq!(shown.unverified_header.get("typ").unwrap(), "at+jwt");
    assert_eq!(shown.unverified_payload.get("tenant").unwrap(), "acme-eu");
    assert_eq!(verifier().verify(&token, now()), Err(TokenError::KeyUnknown));
    let long = "a".repeat(16_385);
    assert_eq!(inspect(&long), Err(TokenError::TooLong { bytes_max: 16_384 }));
}

#[test]
fn times_are_cut_to_seconds() {
    let mut precise = claims();
    precise.expires_at = Timestamp::from_unix_ms(1_800_000_300_999);
    let token = mint(&key(), &precise).unwrap();
    let verified = verifier().verify(&token, now()).unwrap();
    assert_eq!(verified.claims().expires_at, Timestamp::from_unix_s(1_800_000_300));
}

//! People's tokens of an OpenID provider: which count, and who their bearer is.
//!
//! Not here: what a group may do. Invariant: each forgery differs in one thing from a token that counts.

use serde_json::{Value, json};

use super::now;
use crate::{ClaimPath, KeySet, Person, PersonError, PersonIssuer, SigningKey, TokenError};

const ISSUER: &str = "https://login.example.com";

fn key() -> SigningKey {
    SigningKey::from_seed([21; 32])
}

fn path(names: &[&str]) -> ClaimPath {
    ClaimPath::new(names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
}

fn issuer() -> PersonIssuer {
    PersonIssuer {
        issuer: ISSUER.to_owned(),
        audiences: vec!["aegis".to_owned()],
        keys: KeySet::default().with(key().public_key().clone()).unwrap(),
        groups: path(&["realm_access", "roles"]),
        tenants: Some(path(&["https://aegis.example/tenants"])),
    }
}

fn claims() -> Value {
    let at = now().unix_s();
    json!({
        "iss": ISSUER, "sub": "248289761001", "aud": "aegis", "iat": at, "exp": at + 300,
        "email": "alice@example.com", "email_verified": true,
        "realm_access": { "roles": ["platform", "oncall"] },
        "https://aegis.example/tenants": "acme",
    })
}

fn with(more: Value) -> Value {
    let mut all = claims();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn verify(claims: &Value) -> Result<Person, PersonError> {
    issuer().verify(&key().sign("JWT", claims.to_string().as_bytes()), now())
}

#[test]
fn a_person_is_known_by_subject_verified_mail_groups_and_tenants() {
    let person = verify(&claims()).unwrap();
    assert_eq!(person.subject, "248289761001");
    assert_eq!(person.email.as_deref(), Some("alice@example.com"));
    assert!(person.groups.iter().eq(["oncall", "platform"]));
    assert!(person.tenants.unwrap().iter().eq(["acme"]));
    for doubted in [json!({ "email_verified": false }), json!({ "email_verified": "true" })] {
        assert_eq!(verify(&with(doubted)).unwrap().email, None);
    }
    let nobody = verify(&with(json!({ "realm_access": {}, "email": "x" }))).unwrap();
    assert!(nobody.groups.is_empty());
}

#[test]
fn every_claim_about_who_when_and_for_whom_is_held() {
    let at = now().unix_s();
    for (more, error) in [
        (json!({ "iss": "https://login.example.com/" }), TokenError::IssuerUntrusted),
        (json!({ "aud": "aegis-other" }), TokenError::Audience),
        (json!({ "aud": [] }), TokenError::Audience),
        (json!({ "sub": "" }), TokenError::ClaimMalformed { claim: "sub" }),
        (json!({ "iat": at + 31 }), TokenError::IssuedInFuture { ahead_s: 31 }),
        (json!({ "nbf": at + 31 }), TokenError::NotYetValid { wait_s: 31 }),
        (json!({ "exp": at - 30 }), TokenError::Expired { ago_s: 30 }),
        (json!({ "exp": at + 86_431 }), TokenError::LivesTooLong { ttl_max_s: 86_400 }),
        (json!({ "realm_access": "platform" }), TokenError::ClaimMalformed { claim: "roles" }),
        (
            json!({ "realm_access": { "roles": [1] } }),
            TokenError::ClaimMalformed { claim: "roles" },
        ),
    ] {
        assert_eq!(verify(&with(more.clone())), Err(error.into()), "{more}");
    }
    for claim in ["iss", "sub", "aud", "iat", "exp"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(claim);
        assert_eq!(verify(&without), Err(TokenError::ClaimMissing { claim }.into()), "{claim}");
    }
    assert_eq!(verify(&with(json!({ "cnf": { "jkt": "x" } }))), Err(PersonError::Bound));
    assert_eq!(verify(&with(json!({ "act": { "sub": "x" } }))), Err(PersonError::Delegated));
}

#[test]
fn a_token_for_others_as_well_counts_only_if_it_was_given_to_us() {
    let both = json!(["aegis", "account"]);
    assert_eq!(verify(&with(json!({ "aud": both }))), Err(PersonError::Party));
    assert_eq!(verify(&with(json!({ "aud": both, "azp": "account" }))), Err(PersonError::Party));
    assert!(verify(&with(json!({ "aud": both, "azp": "aegis" }))).is_ok());
    assert!(verify(&with(json!({ "aud": ["aegis"], "azp": "account" }))).is_ok());
}

#[test]
fn another_key_and_another_kind_of_text_are_refused() {
    let payload = claims().to_string();
    let stranger = SigningKey::from_seed([22; 32]).sign("JWT", payload.as_bytes());
    assert_eq!(issuer().verify(&stranger, now()), Err(TokenError::KeyUnknown.into()));
    for typ in ["aegis-session+jwt", "dpop+jwt", "logout+jwt", "aegis-feed+jwt"] {
        let other = key().sign(typ, payload.as_bytes());
        assert_eq!(issuer().verify(&other, now()), Err(TokenError::TypeUnexpected.into()), "{typ}");
    }
}

#[test]
fn a_path_has_a_name_and_no_end_of_them() {
    for bad in [&[][..], &[""], &["a", ""], &["a"; 5]] {
        let names = bad.iter().map(|name| (*name).to_owned()).collect();
        assert!(ClaimPath::new(names).is_err(), "{bad:?}");
    }
}

//! Client assertions: who may say that it is which client, to whom, and for how long.
//!
//! Not here: forged headers, which `attacks` tries on every kind of text. Invariant: every assertion here is signed
//! with the client's own key.

use aegis_domain::{Timestamp, TokenUse};

use super::{GATEWAY, NOW_S, forge, header_and, key, keys_of, now};
use crate::{
    CertificateThumbprint, ClientAssertion, ClientError, SigningKey, TokenError,
    UnverifiedAssertion, verify_certificate,
};

const ENDPOINT: &str = "https://gw.eu-west-1.example.com/oauth2/token";

fn verify_at(assertion: &str, now: Timestamp) -> Result<ClientAssertion, ClientError> {
    UnverifiedAssertion::read(assertion)?.verify(&keys_of(&key()), &[GATEWAY, ENDPOINT], now)
}

/// An assertion of `acme/bot` with one claim changed, or taken out.
pub(super) fn assertion_but(claim: &str, value: Option<&str>) -> String {
    let mut claims = vec![
        ("iss", r#""acme/bot""#),
        ("sub", r#""acme/bot""#),
        ("aud", r#""https://gw.eu-west-1.example.com/oauth2/token""#),
        ("exp", "1800000060"),
        ("iat", "1800000000"),
        ("jti", r#""a1""#),
    ];
    claims.retain(|(name, _)| *name != claim);
    claims.extend(value.map(|value| (claim, value)));
    let claims: Vec<_> = claims.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    forge(&header_and(r#","typ":"JWT""#), &format!("{{{}}}", claims.join(",")))
}

fn verdict(claim: &str, value: &str) -> Result<(), ClientError> {
    verify_at(&assertion_but(claim, Some(value)), now()).map(|_| ())
}

#[test]
fn an_assertion_names_its_client_and_is_remembered_until_nobody_takes_it() {
    let assertion = assertion_but("", None);
    assert_eq!(UnverifiedAssertion::read(&assertion).unwrap().client_id(), "acme/bot");
    let client = verify_at(&assertion, now()).unwrap();
    assert_eq!(client.client_id(), "acme/bot");
    assert_eq!(client.key(), key().public_key().thumbprint());
    assert_eq!(client.replay().token_use, TokenUse::Once);
    assert_eq!(client.replay().expires_at, Timestamp::from_unix_s(NOW_S + 60 + 30));
    let other = verify_at(&assertion_but("jti", Some(r#""a2""#)), now()).unwrap();
    assert_ne!(client.replay().jti, other.replay().jti);
}

#[test]
fn two_clients_may_use_one_jti() {
    let payload = |client: &str| {
        format!(
            r#"{{"iss":"{client}","sub":"{client}","aud":"{GATEWAY}","exp":1800000060,"jti":"a1"}}"#
        )
    };
    let replay = |client: &str| {
        let assertion = forge(&header_and(""), &payload(client));
        verify_at(&assertion, now()).unwrap().replay().jti.clone()
    };
    assert_ne!(replay("acme/bot"), replay("acme/other"));
    assert_eq!(replay("acme/bot"), replay("acme/bot"));
}

#[test]
fn an_assertion_speaks_for_its_issuer_only() {
    let not_itself = Err(ClientError::IssuerIsNotSubject);
    for other in [r#""acme/other""#, r#""ACME/bot""#, r#""""#] {
        assert_eq!(verdict("iss", other), not_itself, "{other}");
    }
    for claim in ["iss", "sub", "aud", "exp", "jti"] {
        let missing = verify_at(&assertion_but(claim, None), now());
        assert_eq!(missing, Err(TokenError::ClaimMissing { claim }.into()), "{claim}");
        let null = verify_at(&assertion_but(claim, Some("null")), now());
        assert_eq!(null, Err(TokenError::ClaimMalformed { claim }.into()), "{claim}");
    }
    for bad in [r#""""#, r#""a\nb""#, r#""ü""#, &format!("\"{}\"", "a".repeat(2_049))] {
        assert_eq!(verdict("sub", bad), Err(TokenError::ClaimMalformed { claim: "sub" }.into()));
    }
}

#[test]
fn an_assertion_is_signed_with_the_client_s_own_key() {
    let keys = keys_of(&SigningKey::from_seed([8; 32]));
    let read = || UnverifiedAssertion::read(Box::leak(assertion_but("", None).into_boxed_str()));
    let other = read().unwrap().verify(&keys, &[GATEWAY, ENDPOINT], now());
    assert_eq!(other, Err(TokenError::KeyUnknown.into()));
}

#[test]
fn an_assertion_is_for_this_server_and_nobody_else() {
    for good in [
        r#""https://gw.eu-west-1.example.com""#,
        r#"["https://gw.eu-west-1.example.com"]"#,
        r#"["https://gw.eu-west-1.example.com","https://gw.eu-west-1.example.com/oauth2/token"]"#,
    ] {
        assert_eq!(verdict("aud", good), Ok(()), "{good}");
    }
    let shared = r#"["https://gw.eu-west-1.example.com","https://evil.example"]"#;
    assert_eq!(verdict("aud", shared), Err(ClientError::AudienceShared));
    for other in [r#""https://evil.example""#, "[]", r#""https://gw.eu-west-1.example.com/""#] {
        assert_eq!(verdict("aud", other), Err(TokenError::Audience.into()), "{other}");
    }
}

#[test]
fn an_assertion_counts_while_it_is_young_whatever_its_end() {
    let at = |s: u64, assertion: &str| verify_at(assertion, Timestamp::from_unix_s(s));
    let hour = assertion_but("exp", Some("1800003600"));
    let until = at(NOW_S, &hour).unwrap().replay().expires_at;
    assert_eq!(until, Timestamp::from_unix_s(NOW_S + 300 + 30));
    assert!(at(NOW_S + 329, &hour).is_ok());
    assert_eq!(at(NOW_S + 330, &hour), Err(ClientError::TooOld { age_max_s: 300 }));
    let expired = Err(TokenError::Expired { ago_s: 30 }.into());
    assert_eq!(at(NOW_S + 90, &assertion_but("", None)), expired);
    let early = Err(TokenError::IssuedInFuture { ahead_s: 31 }.into());
    assert_eq!(at(NOW_S - 31, &assertion_but("", None)), early);
    let endless = verdict("exp", "1800003631");
    assert_eq!(endless, Err(TokenError::LivesTooLong { ttl_max_s: 3_600 }.into()));
    let undated = |exp: u64| {
        let payload =
            format!(r#"{{"iss":"a","sub":"a","aud":"{GATEWAY}","exp":{exp},"jti":"a1"}}"#);
        verify_at(&forge(&header_and(""), &payload), now()).map(|_| ())
    };
    assert_eq!(undated(NOW_S + 330), Ok(()));
    assert_eq!(undated(NOW_S + 331), Err(ClientError::TooOld { age_max_s: 300 }));
}

#[test]
fn a_certificate_is_one_the_client_registered() {
    let [ours, other] = [1, 2].map(|byte| CertificateThumbprint::from_bytes([byte; 32]));
    assert_eq!(verify_certificate(Some(ours), &[other, ours]), Ok(ours));
    assert_eq!(verify_certificate(Some(ours), &[other]), Err(ClientError::CertificateUnknown));
    assert_eq!(verify_certificate(Some(ours), &[]), Err(ClientError::CertificateUnknown));
    assert_eq!(verify_certificate(None, &[ours]), Err(ClientError::CertificateMissing));
}

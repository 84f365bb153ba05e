//! Attacks on the form of a token: what it is signed with, what its header says, how it is spelt.
//!
//! Not here: attacks on claims (`claim_rules`). Invariant: each forged token would verify if the one thing
//! under attack were not checked.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Verifier as _};
use ring::hmac;
use serde_json::Value;

use super::{
    GATEWAY, ISSUER, SEED, claims, forge, header_and, key, keys_of, malleated, now, payload,
    payload_but, verifier, verifier_with,
};
use crate::{
    JsonError, KeySet, Part, SigningKey, TokenError, TokenLimits, TrustedIssuer, Verifier, mint,
    verify_jws,
};

fn refusal(token: &str) -> TokenError {
    verifier().verify(token, now()).unwrap_err()
}

fn header_refusal(header: &str) -> TokenError {
    refusal(&forge(header, &payload()))
}

#[test]
fn the_plain_forgery_would_verify() {
    for typ in ["", r#","typ":"at+jwt""#, r#","typ":"JWT""#, r#","typ":"Application/AT+JWT""#] {
        let token = forge(&header_and(typ), &payload());
        assert_eq!(verifier().verify(&token, now()).unwrap().claims(), &claims(), "{typ}");
    }
    let rfc_9864 = forge(&header_and("").replace("EdDSA", "Ed25519"), &payload());
    assert!(verifier().verify(&rfc_9864, now()).is_ok());
}

#[test]
fn an_algorithm_is_one_of_six_names_letter_by_letter() {
    let unsupported = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        "eddsa",
        "EDDSA",
        "ed25519",
        "Ed448",
        "rs256",
        "HS256",
        "HS512",
        "RS384",
        "ES512",
        "es384",
        "ES256K",
        "dir",
        "EdDSA ",
        "EdDSA\\u0000",
    ];
    for name in unsupported {
        let header = header_and("").replace("EdDSA", name);
        assert_eq!(header_refusal(&header), TokenError::AlgorithmUnsupported, "{name}");
    }
    assert_eq!(header_refusal("{}"), TokenError::AlgorithmMissing);
    for malformed in [r#"["EdDSA"]"#, "null", "1", r#"{"EdDSA":1}"#] {
        let header = header_and("").replace(r#""EdDSA""#, malformed);
        assert_eq!(header_refusal(&header), TokenError::HeaderMalformed { name: "alg" });
    }
}

#[test]
fn none_with_an_empty_signature_is_not_even_a_token() {
    let signed = forge(r#"{"alg":"none"}"#, &payload());
    let (signing_input, _) = signed.rsplit_once('.').unwrap();
    assert_eq!(refusal(&format!("{signing_input}.")), TokenError::Shape);
    assert_eq!(refusal(signing_input), TokenError::Shape);
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    let x = key().public_jwk()["x"].as_str().unwrap().to_owned();
    let raw = URL_SAFE_NO_PAD.decode(&x).unwrap();
    let der = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", raw.as_slice()].concat();
    let der_text = STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{der_text}\n-----END PUBLIC KEY-----\n");
    let jwk = key().public_jwk().to_string();
    let secrets = [raw.as_slice(), &der, pem.as_bytes(), jwk.as_bytes(), x.as_bytes()];
    for secret in secrets {
        let signed = forge(&header_and("").replace("EdDSA", "HS256"), &payload());
        let (signing_input, _) = signed.rsplit_once('.').unwrap();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, signing_input.as_bytes()));
        assert_eq!(refusal(&format!("{signing_input}.{tag}")), TokenError::AlgorithmUnsupported);
    }
}

#[test]
fn a_key_is_used_with_its_own_algorithm_only() {
    for other in ["RS256", "PS256", "ES256", "ES384"] {
        let header = header_and("").replace("EdDSA", other);
        assert_eq!(header_refusal(&header), TokenError::AlgorithmMismatch, "{other}");
        let without_kid = format!(r#"{{"alg":"{other}"}}"#);
        assert_eq!(header_refusal(&without_kid), TokenError::KeyAmbiguous, "{other}");
    }
}

#[test]
fn a_header_brings_no_key_and_causes_no_fetch() {
    let jwk = SigningKey::from_seed([9; 32]).public_jwk().to_string();
    for (name, value) in [
        ("jwk", jwk.as_str()),
        ("jku", r#""https://evil.example/jwks.json""#),
        ("x5u", r#""https://evil.example/cert.pem""#),
        ("x5c", r#"["MIIB"]"#),
        ("crit", r#"["exp"]"#),
        ("crit", "[]"),
        ("b64", "false"),
        ("b64", "true"),
        ("zip", r#""DEF""#),
    ] {
        let header = header_and(&format!(",\"{name}\":{value}"));
        assert_eq!(header_refusal(&header), TokenError::HeaderForbidden { name }, "{name}");
    }
    let unknown = header_and(r#","x5t#S256":"AAAA","foo":{"bar":[1]}"#);
    assert!(verifier().verify(&forge(&unknown, &payload()), now()).is_ok());
}

#[test]
fn a_key_id_is_a_name_and_nothing_more() {
    let with_kid = |kid: &str| format!(r#"{{"alg":"EdDSA","kid":{kid}}}"#);
    for unknown in ["../../dev/null", "' OR 1=1 --x".split(' ').next().unwrap(), "http://evil/"] {
        let header = with_kid(&format!("\"{unknown}\""));
        assert_eq!(header_refusal(&header), TokenError::KeyUnknown, "{unknown}");
    }
    let long = format!("\"{}\"", "a".repeat(129));
    let malformed = [r#""""#, r#""a b""#, r#""a\u0000""#, r#""ü""#, "[]", "7", "null", &long];
    for kid in malformed {
        let refused = TokenError::HeaderMalformed { name: "kid" };
        assert_eq!(header_refusal(&with_kid(kid)), refused, "{kid}");
    }
    let huge = with_kid(&format!("\"{}\"", "a".repeat(65_536)));
    assert_eq!(header_refusal(&huge), TokenError::TooLong { bytes_max: 8_192 });
}

#[test]
fn without_a_key_id_there_must_be_exactly_one_key_that_fits() {
    let token = forge(r#"{"alg":"EdDSA"}"#, &payload());
    assert!(verifier().verify(&token, now()).is_ok());
    let second = SigningKey::from_seed([8; 32]).public_key().clone();
    let two = verifier_with(keys_of(&key()).with(second).unwrap());
    assert_eq!(two.verify(&token, now()), Err(TokenError::KeyAmbiguous));
    let none = verifier_with(KeySet::default());
    assert_eq!(none.verify(&token, now()), Err(TokenError::KeyAmbiguous));
}

#[test]
fn an_issuer_signs_with_its_own_keys_only() {
    let trusted = |issuer: &str, seed| TrustedIssuer {
        issuer: issuer.to_owned(),
        audiences: vec![GATEWAY.to_owned()],
        keys: keys_of(&SigningKey::from_seed(seed)),
    };
    let both = vec![trusted("https://other.example", [7; 32]), trusted(ISSUER, [8; 32])];
    let verifier = Verifier::new(both, TokenLimits::default());
    // Signed by the other issuer's key, with claims of this one.
    let token = mint(&key(), &claims()).unwrap();
    assert_eq!(verifier.verify(&token, now()), Err(TokenError::KeyUnknown));
    let without_kid = forge(r#"{"alg":"EdDSA"}"#, &payload());
    assert_eq!(verifier.verify(&without_kid, now()), Err(TokenError::Signature));
}

#[test]
fn issuers_are_compared_byte_by_byte() {
    for other in ["https://issuer.example/", "HTTPS://issuer.example", "https://evil.example", ""] {
        let payload = payload_but(&[("iss", Some(&format!("\"{other}\"")))]);
        let token = forge(&header_and(""), &payload);
        assert_eq!(refusal(&token), TokenError::IssuerUntrusted, "{other}");
    }
}

#[test]
fn what_was_signed_for_another_purpose_is_no_access_token() {
    for typ in ["aegis-attestation+jwt", "dpop+jwt", "aegis-override+jwt", "at+jwt ", "", "jw"] {
        let token = key().sign(typ, payload().as_bytes());
        assert_eq!(refusal(&token), TokenError::TypeUnexpected, "{typ}");
    }
    let header = header_and(r#","typ":["at+jwt"]"#);
    assert_eq!(header_refusal(&header), TokenError::HeaderMalformed { name: "typ" });
    let token = mint(&key(), &claims()).unwrap();
    let as_attestation = verify_jws(&token, "aegis-attestation+jwt", &keys_of(&key()));
    assert_eq!(as_attestation, Err(TokenError::TypeUnexpected));
    let untyped = forge(&header_and(""), &payload());
    assert_eq!(verify_jws(&untyped, "", &keys_of(&key())), Err(TokenError::TypeUnexpected));
}

#[test]
fn attestations_are_checked_as_strictly_as_tokens() {
    let typed = |more: &str| forge(&header_and(&format!(",\"typ\":\"a\"{more}")), "x");
    let check = |token: &str| verify_jws(token, "a", &keys_of(&key()));
    assert_eq!(check(&typed("")), Ok(b"x".to_vec()));
    let forbidden = Err(TokenError::HeaderForbidden { name: "crit" });
    assert_eq!(check(&typed(r#","crit":["b64"],"b64":false"#)), forbidden);
    let other_key = SigningKey::from_seed([8; 32]);
    assert_eq!(check(&other_key.sign("a", b"x")), Err(TokenError::KeyUnknown));
    let swapped = typed("").replace(&URL_SAFE_NO_PAD.encode("x"), &URL_SAFE_NO_PAD.encode("y"));
    assert_eq!(check(&swapped), Err(TokenError::Signature));
    let long = key().sign("a", &[0; 16_384]);
    assert_eq!(check(&long), Err(TokenError::TooLong { bytes_max: 16_384 }));
}

#[test]
fn a_member_stands_once_in_header_and_payload() {
    let duplicate = |part| TokenError::Json { part, source: JsonError::DuplicateMember };
    for more in [r#","alg":"none""#, r#","alg":"EdDSA""#, r#","\u0061lg":"EdDSA""#, r#","kid":"x""#]
    {
        assert_eq!(header_refusal(&header_and(more)), duplicate(Part::Header), "{more}");
    }
    for more in [r#""org":"evil""#, r#""tenant":"acme-eu""#, r#""x":{"y":1,"y":2}"#] {
        let twice = payload().replacen('{', &format!("{{{more},"), 1);
        let token = forge(&header_and(""), &twice);
        assert_eq!(refusal(&token), duplicate(Part::Payload), "{more}");
    }
}

#[test]
fn header_and_payload_are_json_objects_and_nothing_else() {
    let refused = |part, source| TokenError::Json { part, source };
    for (text, flaw) in [
        ("[]", JsonError::NotAnObject),
        ("\"EdDSA\"", JsonError::NotAnObject),
        ("{} {}", JsonError::Syntax),
        ("", JsonError::Syntax),
        ("{\"a\":NaN}", JsonError::Syntax),
        ("{\"a\":1e999}", JsonError::Syntax),
    ] {
        let expected =
            if text.is_empty() { TokenError::Shape } else { refused(Part::Header, flaw) };
        assert_eq!(header_refusal(text), expected, "{text}");
        let token = forge(&header_and(""), text);
        assert_eq!(refusal(&token), refused(Part::Payload, flaw), "{text}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(16), "]".repeat(16));
    assert_eq!(header_refusal(&deep), refused(Part::Header, JsonError::TooDeep));
}

#[test]
fn a_nested_token_is_not_unwrapped() {
    let inner = mint(&key(), &claims()).unwrap();
    let syntax = TokenError::Json { part: Part::Payload, source: JsonError::Syntax };
    assert_eq!(refusal(&forge(&header_and(r#","cty":"JWT""#), &inner)), syntax);
    let quoted = Value::String(inner).to_string();
    let no_object = TokenError::Json { part: Part::Payload, source: JsonError::NotAnObject };
    assert_eq!(refusal(&forge(&header_and(r#","cty":"JWT""#), &quoted)), no_object);
}

#[test]
fn a_token_has_three_parts_and_one_spelling() {
    let token = mint(&key(), &claims()).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    for (spelling, expected) in [
        (format!("{header}.{payload}"), TokenError::Shape),
        (format!("{token}.{signature}"), TokenError::Shape),
        (format!("{token}."), TokenError::Shape),
        (format!(".{token}"), TokenError::Shape),
        (format!("{header}.{payload}..{signature}"), TokenError::Shape),
        (format!("{header}.a.b.c.{signature}"), TokenError::Shape), // a JWE
        (format!("{header}.{payload}."), TokenError::Shape),
        (format!(".{payload}.{signature}"), TokenError::Shape),
        (header.to_owned(), TokenError::Shape),
        (String::new(), TokenError::Shape),
        ("..".to_owned(), TokenError::Shape),
        (format!(" {token}"), TokenError::Base64 { part: Part::Header }),
        (format!("{token} "), TokenError::Base64 { part: Part::Signature }),
        (format!("{token}\n"), TokenError::Base64 { part: Part::Signature }),
        (format!("{token}=="), TokenError::Base64 { part: Part::Signature }),
        (format!("{header}=.{payload}.{signature}"), TokenError::Base64 { part: Part::Header }),
        (format!("{header}.{payload}\t.{signature}"), TokenError::Base64 { part: Part::Payload }),
        (
            format!("{header}.{payload}\u{0}.{signature}"),
            TokenError::Base64 { part: Part::Payload },
        ),
        (format!("{header}+.{payload}.{signature}"), TokenError::Base64 { part: Part::Header }),
        (format!("{header}.{payload}/.{signature}"), TokenError::Base64 { part: Part::Payload }),
        (format!("Bearer {token}"), TokenError::Base64 { part: Part::Header }),
        (format!("{header}.{payload}.{header}"), TokenError::Signature),
    ] {
        assert_eq!(refusal(&spelling), expected, "{spelling}");
    }
}

#[test]
fn the_last_character_of_a_part_has_no_bits_to_spare() {
    let token = mint(&key(), &claims()).unwrap();
    // 64 bytes leave four bits over in the last of 86 characters, which must be zero.
    let last = token.chars().last().unwrap();
    assert!("AQgw".contains(last));
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in alphabet.chars().filter(|other| *other != last) {
        let respelt = format!("{}{other}", token.strip_suffix(last).unwrap());
        let refused = refusal(&respelt);
        let expected = if "AQgw".contains(other) {
            TokenError::Signature
        } else {
            TokenError::Base64 { part: Part::Signature }
        };
        assert_eq!(refused, expected, "{other}");
    }
}

#[test]
fn a_signature_has_no_second_form() {
    let token = mint(&key(), &claims()).unwrap();
    assert_eq!(refusal(&malleated(&token)), TokenError::Signature);
    let (signing_input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for length in [0, 1, 32, 63, 65, 128] {
        signature.resize(length, 0);
        let token = format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(&signature));
        let expected = if length == 0 { TokenError::Shape } else { TokenError::Signature };
        assert_eq!(refusal(&token), expected, "{length}");
    }
}

/// A JWS of `key` without its signature, and one whose R is the neutral element and S = k * a: the equation holds, so
/// only a strict check refuses it.
pub(super) fn small_order_r() -> (String, &'static str) {
    let text = forge(r#"{"alg":"EdDSA","typ":"a"}"#, "x");
    let (signing_input, _) = text.rsplit_once('.').unwrap();
    let signature =
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADzC4XYoNgJ688IdtpkjmAlV-g4Ke7-Xfib1MM3ZZcSBQ";
    (signing_input.to_owned(), signature)
}

#[test]
fn a_signature_with_a_point_of_small_order_is_refused() {
    let (signing_input, signature) = small_order_r();
    let raw = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let public = ed25519_dalek::SigningKey::from_bytes(&SEED).verifying_key();
    assert!(public.verify(signing_input.as_bytes(), &raw).is_ok());
    let signed = format!("{signing_input}.{signature}");
    assert_eq!(verify_jws(&signed, "a", &keys_of(&key())), Err(TokenError::Signature));
}

#[test]
fn a_token_of_the_limit_is_read_and_one_byte_more_is_not() {
    let token = mint(&key(), &claims()).unwrap();
    let trusted = || {
        vec![TrustedIssuer {
            issuer: ISSUER.to_owned(),
            audiences: vec![GATEWAY.to_owned()],
            keys: keys_of(&key()),
        }]
    };
    let limits = |bytes| TokenLimits { token_bytes_max: bytes, ..TokenLimits::default() };
    assert!(Verifier::new(trusted(), limits(token.len())).verify(&token, now()).is_ok());
    let bytes_max = token.len() - 1;
    let refused = Verifier::new(trusted(), limits(bytes_max)).verify(&token, now());
    assert_eq!(refused, Err(TokenError::TooLong { bytes_max }));
    assert_eq!(refusal(&"a.".repeat(500_000)), TokenError::TooLong { bytes_max: 8_192 });
}

#[test]
fn no_refusal_quotes_the_token() {
    let marker = "zqzqzq";
    let payload = payload_but(&[("org", Some(r#""zqzqzq!""#))]);
    for token in [
        forge(&header_and(&format!(",\"typ\":\"{marker}\"")), &payload),
        forge(&header_and("").replace("EdDSA", marker), &payload),
        forge(&header_and(""), &payload),
        forge(&header_and(""), marker),
        marker.to_owned(),
    ] {
        let refused = refusal(&token);
        assert!(!format!("{refused} {refused:?}").contains(marker), "{refused}");
    }
}

//! Which keys are read, and which are refused.
//!
//! Not here: what they sign. Invariant: a refused key refuses its set; a skipped one does not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::{claims, key, keys_of, now, payload, verifier_with};
use crate::{JsonError, KeyError, KeySet, KeySetError, SigningKey, TokenError};

// A key made for this test and thrown away, and what it signed: header {"alg":..,"kid":"rsa-1","typ":"JWT"}.
const RSA_N: &str = "rsvmfVylrk95yoji4WXZ3lcHxqsnR1OsPdvTztHS6NZhaCuRNv9DoWr8cJx8BYBVqqT9jFQgfSg4yfRR9NOQGwoB\
     07oLV_2CXYp6Drkd3eAbAPUG3KYroXKm6CRcyVXJsnu8oTaYPLRrxl0074HlEKzMu9Ee8GcmOMyC0PrwXJtJwbpb\
     BtLjI5CXcTO1pw-NKRgefI6OSkLYp-4fLkeJAvTuDqUGJxBda-TBWxRwN1eV3Kbxtvd1UKLD_D5sjJ4r9YfZwD-b\
     lNIzH-kbktmYthzrN4JNYF3AQRzQqHlCCedOyIqmCxVoOhc_WbRBwIQOLdmE5IcYqWmfcfGDXavY4Q";
const RS256_SIGNATURE: &str = "mFzxFRvdoBVyiouwAd-PqEg-BpJI__6Lei4kRsIEAdD08Bk7HH9aN4MhxzT378TKk_EZ54u_UP5gxzsn3-HvPcTP\
     sv3T3GPYE6WOIANgcKXhfueeWV7YWrwFiZJt175SN8PmJxPF6YxN9PxCCwvmQELkRmBMO8kW7IkOmYcavGaX0HH-\
     ZDZROvkBmILw-MVbYkab6dR5qHe3BqXptCfkwnpB233OGehzw2JcuqFzFhyQeTQQ4gcQKLeKGFUc_Y5y7oh42k3l\
     dBgHsD1t6vRowhBfwdBg4BSABmx7rK-8ORhfaFM1XsxRbRekby8_ef9mIKDau-BwYd9f6t935v5XtA";
const PS256_SIGNATURE: &str = "I3zFpqn0uq6yR7J5x7aVhrBlDoW2VyaLMUc6c-rCf4xSnywG3VqFtqxgMZGJUKqDKNtnlICrW3Ct7RbcjOk6Nko5\
     _pxhuyr2GKSkppnGfH_4XQjw65wFxg6eq0ZFWf5vK4Se7pop8pZFNUs_GDL--X7UObriS5fa0-1rt03S_h0rxy5H\
     OlqHZgacDx6fO2pE0HWZnfov5LTHOpsSWA1DSlg0DIZpxUlWmm6W5Vp-1n6Tf3aVvRwBcI2bUH0bAxYgPD8lXZVu\
     OMrm2x_h1-MrDR_5SVRCUGMpvrS2QA5Uk_3XCmtAlqMFAlcOFvsIZgJdqI3G2ZPlrrxtF8sT3d67jQ";
const RSA_PAYLOAD: &str = r#"{"iss":"https://issuer.example","sub":"finance-bot","org":"acme","tenant":"acme-eu","aud":"https://gw.eu-west-1.example.com","exp":1800000300,"iat":1800000000,"jti":"01J9ZK3V5Q"}"#;

fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes())
}

fn refusal(jwk: Value) -> KeyError {
    match set(&[key().public_jwk(), jwk]) {
        Err(KeySetError::Key { index: 1, source }) => source,
        other => panic!("{other:?}"),
    }
}

pub(super) fn rsa_jwk(alg: &str) -> Value {
    json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": alg, "kid": "rsa-1" })
}

fn rsa_token(alg: &str, signature: &str) -> String {
    let header = format!(r#"{{"alg":"{alg}","kid":"rsa-1","typ":"JWT"}}"#);
    let (header, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(RSA_PAYLOAD));
    format!("{header}.{payload}.{signature}")
}

/// The key with one member changed, or taken out.
fn but(mut jwk: Value, name: &str, value: Option<Value>) -> Value {
    let members = jwk.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    jwk
}

#[test]
fn rsa_tokens_verify_under_the_algorithm_of_the_key_and_no_other() {
    let signatures = [("RS256", RS256_SIGNATURE), ("PS256", PS256_SIGNATURE)];
    for key_alg in ["RS256", "PS256"] {
        let verifier = verifier_with(set(&[rsa_jwk(key_alg)]).unwrap());
        for (token_alg, signature) in signatures {
            let verdict = verifier.verify(&rsa_token(token_alg, signature), now()).map(|_| ());
            let expected =
                if key_alg == token_alg { Ok(()) } else { Err(TokenError::AlgorithmMismatch) };
            assert_eq!(verdict, expected, "{key_alg} {token_alg}");
        }
        let other = if key_alg == "RS256" { PS256_SIGNATURE } else { RS256_SIGNATURE };
        let renamed = verifier.verify(&rsa_token(key_alg, other), now());
        assert_eq!(renamed, Err(TokenError::Signature));
    }
}

#[test]
fn an_rsa_key_without_algorithm_is_for_rs256_alone() {
    let keys = set(&[but(rsa_jwk(""), "alg", None)]).unwrap();
    let verifier = verifier_with(keys);
    assert!(verifier.verify(&rsa_token("RS256", RS256_SIGNATURE), now()).is_ok());
    let ps256 = verifier.verify(&rsa_token("PS256", PS256_SIGNATURE), now());
    assert_eq!(ps256, Err(TokenError::AlgorithmMismatch));
}

#[test]
fn es256_tokens_verify_and_their_der_form_does_not() {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let keys = set(&[json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })]).unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
    let signing_input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload()));
    let signature = pair.sign(&random, signing_input.as_bytes()).unwrap();
    let verify = |signature: &[u8]| {
        let token = format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature));
        verifier_with(keys.clone()).verify(&token, now()).map(|token| token.claims().clone())
    };
    assert_eq!(verify(signature.as_ref()), Ok(claims()));
    // CVE-2022-21449: r = s = 0.
    assert_eq!(verify(&[0; 64]), Err(TokenError::Signature));
    assert_eq!(verify(&signature.as_ref()[..63]), Err(TokenError::Signature));
    let (r, s) = signature.as_ref().split_at(32);
    let der = [&[0x30, 70, 2, 33, 0], r, &[2, 33, 0], s].concat();
    assert_eq!(verify(&der), Err(TokenError::Signature));
    let off_curve = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": x });
    let off_curve = verifier_with(set(&[off_curve]).unwrap());
    let token = format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
    assert_eq!(off_curve.verify(&token, now()), Err(TokenError::Signature));
}

#[test]
fn a_key_without_key_id_is_named_by_its_thumbprint() {
    let jwk = but(key().public_jwk(), "kid", None);
    assert_eq!(set(&[jwk]).unwrap().to_jwks_json(), keys_of(&key()).to_jwks_json());
    // RFC 7638 §3.1.
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "alg": "RS256", "n":
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw" });
    let published = set(&[rsa]).unwrap().to_jwks_json();
    assert!(published.contains("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"), "{published}");
}

#[test]
fn a_published_set_is_read_back_unchanged() {
    let ec = json!({ "kty": "EC", "crv": "P-256", "kid": "ec-1",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let keys = set(&[key().public_jwk(), rsa_jwk("PS256"), ec]).unwrap();
    let back = KeySet::from_jwks(keys.to_jwks_json().as_bytes()).unwrap();
    assert_eq!(back.to_jwks_json(), keys.to_jwks_json());
}

#[test]
fn keys_for_something_else_are_skipped() {
    for other in [
        but(key().public_jwk(), "use", Some("enc".into())),
        but(key().public_jwk(), "key_ops", Some(json!(["sign"]))),
        but(key().public_jwk(), "key_ops", Some(json!([]))),
        but(key().public_jwk(), "alg", Some("RS256".into())),
        but(key().public_jwk(), "crv", Some("X25519".into())),
        but(key().public_jwk(), "kty", Some("AKP".into())),
        rsa_jwk("RS512"),
        rsa_jwk("RSA-OAEP"),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
        json!({ "kty": "EC", "crv": "P-384", "alg": "ES256", "x": "AA", "y": "AA" }),
    ] {
        assert!(set(std::slice::from_ref(&other)).unwrap().is_empty(), "{other}");
    }
    let verifying = but(key().public_jwk(), "key_ops", Some(json!(["verify"])));
    assert!(!set(&[verifying]).unwrap().is_empty());
}

#[test]
fn private_keys_and_secrets_refuse_the_set() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert_eq!(refusal(but(rsa_jwk("RS256"), name, Some("AA".into()))), KeyError::Private);
    }
    assert_eq!(refusal(json!({ "kty": "oct", "k": "c2VjcmV0" })), KeyError::Private);
}

#[test]
fn broken_keys_refuse_the_set() {
    let ed = || key().public_jwk();
    let ed_malformed = |name: &'static str, value: Value| {
        let refused =
            refusal(but(but(ed(), "kid", Some("other".into())), name, Some(value.clone())));
        assert_eq!(refused, KeyError::MemberMalformed { name }, "{name} {value}");
    };
    for (name, value) in [
        ("kty", json!(7)),
        ("alg", json!(["EdDSA"])),
        ("use", json!(null)),
        ("key_ops", json!("verify")),
        ("kid", json!(7)),
        ("kid", json!("a b")),
        ("x", json!("AAAA")),
        ("x", json!(format!("{}=", ed()["x"].as_str().unwrap()))),
        ("x", json!("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo")),
        ("x", json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp")),
    ] {
        ed_malformed(name, value);
    }
    for name in ["kty", "crv", "x"] {
        assert_eq!(refusal(but(ed(), name, None)), KeyError::MemberMissing { name });
    }
    for name in ["n", "e"] {
        assert_eq!(refusal(but(rsa_jwk("RS256"), name, None)), KeyError::MemberMissing { name });
    }
    assert_eq!(refusal(json!("key")), KeyError::NotAnObject);
}

#[test]
fn rsa_keys_are_large_enough_and_odd() {
    let with_n = |n: &[u8]| {
        let n = URL_SAFE_NO_PAD.encode(n);
        refusal(but(rsa_jwk("RS256"), "n", Some(n.into())))
    };
    let modulus = URL_SAFE_NO_PAD.decode(RSA_N).unwrap();
    assert_eq!(with_n(&[0xff; 128]), KeyError::RsaSize { bits: 1_024 });
    assert_eq!(
        with_n(&[[0x7f].as_slice(), &[0xff; 255]].concat()),
        KeyError::RsaSize { bits: 2_047 }
    );
    assert_eq!(with_n(&[0xff; 1_025]), KeyError::RsaSize { bits: 8_200 });
    let malformed = KeyError::MemberMalformed { name: "n" };
    assert_eq!(with_n(&[[0].as_slice(), &modulus].concat()), malformed);
    assert_eq!(with_n(&[0xfe; 256]), malformed);
    assert_eq!(with_n(&[]), malformed);
    let exponents: [&[u8]; 6] = [&[], &[0], &[1], &[2], &[0, 3], &[1, 0, 0, 0, 0, 1]];
    for e in exponents {
        let jwk = but(rsa_jwk("RS256"), "e", Some(URL_SAFE_NO_PAD.encode(e).into()));
        assert_eq!(refusal(jwk), KeyError::MemberMalformed { name: "e" }, "{e:?}");
    }
}

#[test]
fn ed25519_points_of_small_order_or_with_a_second_encoding_are_refused() {
    let hex = |text: &str| -> Vec<u8> {
        let digits = (0..text.len()).step_by(2);
        digits.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let tail = "ff".repeat(30);
    let mut refused = vec![
        hex(&"00".repeat(32)),
        hex(&format!("01{}", "00".repeat(31))),
        hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        hex(&format!("ec{tail}7f")),
    ];
    // y = p to y = 2^255 - 1: numbers that have a second, smaller encoding.
    refused.extend((0xed..=0xff).map(|low| hex(&format!("{low:02x}{tail}7f"))));
    for mut point in refused {
        for sign in [0, 0x80] {
            point[31] = (point[31] & 0x7f) | sign;
            let x = URL_SAFE_NO_PAD.encode(&point);
            let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
            assert_eq!(refusal(jwk), KeyError::Ed25519Point, "{point:02x?}");
        }
    }
}

#[test]
fn a_key_id_names_one_key() {
    let other = but(SigningKey::from_seed([8; 32]).public_jwk(), "kid", Some("one".into()));
    let one = but(key().public_jwk(), "kid", Some("one".into()));
    assert_eq!(set(&[one.clone(), other]).unwrap_err(), KeySetError::DuplicateKeyId);
    assert_eq!(set(&[one.clone(), one.clone()]).unwrap_err(), KeySetError::DuplicateKeyId);
    let again = keys_of(&key()).with(key().public_key().clone());
    assert_eq!(again.unwrap_err(), KeySetError::DuplicateKeyId);
    // A key for another use may share the name: no token is checked with it.
    let encrypting = but(one.clone(), "use", Some("enc".into()));
    assert!(set(&[one, encrypting]).is_ok());
}

#[test]
fn key_sets_are_bounded_and_strict() {
    let numbered = |count: u16| -> Vec<Value> {
        let jwk = |number| but(key().public_jwk(), "kid", Some(format!("k{number}").into()));
        (0..count).map(jwk).collect()
    };
    assert!(set(&numbered(256)).is_ok());
    assert_eq!(set(&numbered(257)).unwrap_err(), KeySetError::TooManyKeys);
    let one_more = set(&numbered(256)).unwrap().with(key().public_key().clone());
    assert_eq!(one_more.unwrap_err(), KeySetError::TooManyKeys);
    let padded = |length: usize| {
        let text = r#"{"keys":[]}"#;
        KeySet::from_jwks([text, &" ".repeat(length - text.len())].concat().as_bytes())
    };
    assert!(padded(65_536).is_ok());
    assert_eq!(padded(65_537).unwrap_err(), KeySetError::TooLong);
    for (text, refused) in [
        ("{}", KeySetError::NoKeysArray),
        (r#"{"keys":{}}"#, KeySetError::NoKeysArray),
        ("[]", KeySetError::Json(JsonError::NotAnObject)),
        ("", KeySetError::Json(JsonError::Syntax)),
        (r#"{"keys":[],"keys":[]}"#, KeySetError::Json(JsonError::DuplicateMember)),
        (r#"{"keys":[{"kid":"a","kid":"b"}]}"#, KeySetError::Json(JsonError::DuplicateMember)),
    ] {
        assert_eq!(KeySet::from_jwks(text.as_bytes()).unwrap_err(), refused, "{text}");
    }
}

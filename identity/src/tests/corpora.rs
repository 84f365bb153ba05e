//! Other people's test vectors, read where they lie beside the repository.
//!
//! Not here: copies of them. Invariant: every vector goes through the same reader and the same check as a
//! token does, and the counts show that none was left out.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{key, keys_of, malleated};
use crate::jws::Jws;
use crate::public_key::Algorithm;
use crate::{KeyError, KeySet, KeySetError, verify_jws};

const JWS_BYTES_MAX: usize = 1 << 20;

/// What a corpus run saw; the bars are that nothing is accepted that must not be, nor refused that must not be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    refused: usize,
}

impl Tally {
    fn count(&mut self, accepted: bool) {
        if accepted { self.accepted += 1 } else { self.refused += 1 }
    }

    #[expect(clippy::print_stderr, reason = "the counts are what a reader of the run wants to see")]
    fn print(&self, corpus: &str) {
        eprintln!(
            "{corpus}: {} accepted, {} refused, as they should be",
            self.accepted, self.refused
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "the corpora are files, and this is a test")]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn corpus(path: &str) -> Option<String> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora"));
    let corpora = std::env::var_os("AEGIS_CORPORA").map_or_else(beside, PathBuf::from);
    let text = std::fs::read_to_string(corpora.join(path)).ok();
    if text.is_none() {
        eprintln!("skipped: corpora absent ({path})");
    }
    text
}

fn groups(path: &str) -> Option<Vec<Value>> {
    let file: Value = serde_json::from_str(&corpus(path)?).unwrap();
    Some(file["testGroups"].as_array().unwrap().clone())
}

fn tests(group: &Value) -> &[Value] {
    group["tests"].as_array().unwrap()
}

fn key_set(jwk: &Value) -> Option<KeySet> {
    KeySet::from_jwks(json!({ "keys": [jwk] }).to_string().as_bytes()).ok()
}

fn verify(jws: &Value, keys: Option<&KeySet>) -> bool {
    // Some vectors are JWS in JSON form, which no token is.
    let text = jws.as_str().map_or_else(|| jws.to_string(), str::to_owned);
    let jws = Jws::parse(&text, JWS_BYTES_MAX);
    matches!((jws, keys), (Ok(jws), Some(keys)) if jws.verify(keys).is_ok())
}

/// Whether Aegis claims the algorithm in the header of a JWS.
fn is_claimed(jws: &Value) -> bool {
    let header = || {
        let header = URL_SAFE_NO_PAD.decode(jws.as_str()?.split('.').next()?).ok()?;
        serde_json::from_slice::<Value>(&header).ok()
    };
    header().is_some_and(|header| header["alg"].as_str().and_then(Algorithm::parse).is_some())
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let digits = (0..text.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Checks a bare signature the way a token's is checked, under the given algorithm.
fn verify_bare(jwk: &Value, algorithm: Algorithm, test: [&Value; 2]) -> bool {
    let [message, signature] = test.map(unhex);
    let Some(keys) = key_set(jwk) else { return false };
    keys.select(None, algorithm).is_ok_and(|key| key.verify(&message, &signature).is_ok())
}

#[test]
fn wycheproof_jws_accepts_what_is_valid_and_claimed_and_nothing_else() {
    let Some(groups) = groups("wycheproof/json_web_signature_test.json") else { return };
    let mut tally = Tally::default();
    for group in &groups {
        let keys = key_set(group.get("public").unwrap_or(&group["private"]));
        for test in tests(group) {
            let jws = &test["jws"];
            let expected = test["result"] == "valid" && is_claimed(jws);
            assert_eq!(verify(jws, keys.as_ref()), expected, "{test}");
            tally.count(expected);
        }
    }
    tally.print("wycheproof JWS");
    // RS256 8, PS256 6, ES256 2.
    assert_eq!(tally, Tally { accepted: 16, refused: 385 });
}

#[test]
fn wycheproof_jwk_sets_are_refused_or_verify_as_they_should() {
    let Some(groups) = groups("wycheproof/json_web_key_test.json") else { return };
    let mut tally = Tally::default();
    for group in &groups {
        let jwks = group.get("public").unwrap_or(&group["private"]);
        let keys = KeySet::from_jwks(jwks.to_string().as_bytes()).ok();
        for test in tests(group) {
            let expected = test["result"] == "valid" && is_claimed(&test["jws"]);
            assert_eq!(verify(&test["jws"], keys.as_ref()), expected, "{test}");
            tally.count(expected);
        }
        let private = KeySet::from_jwks(group["private"].to_string().as_bytes());
        assert!(private.is_err(), "{}", group["comment"]);
    }
    tally.print("wycheproof JWK");
    assert_eq!(tally, Tally { accepted: 1, refused: 25 });
}

#[test]
fn wycheproof_ed25519_vectors_verify_as_they_should() {
    let Some(groups) = groups("wycheproof/ed25519_test.json") else { return };
    let mut tally = Tally::default();
    for group in &groups {
        let jwk = &group["publicKeyJwk"];
        for test in tests(group) {
            let accepted = verify_bare(jwk, Algorithm::Ed25519, [&test["msg"], &test["sig"]]);
            assert_eq!(accepted, test["result"] == "valid", "{test}");
            tally.count(accepted);
        }
    }
    tally.print("wycheproof ed25519");
    assert_eq!(tally, Tally { accepted: 88, refused: 63 });
}

/// Their private keys are not published, so each is wrapped twice: its message signed by us with its flaw put on our
/// signature, and its own signature under its own key on a JWS it was not made for.
#[test]
fn wycheproof_ed25519_vectors_wrapped_as_jws_verify_as_they_should() {
    let Some(groups) = groups("wycheproof/ed25519_test.json") else { return };
    let (mut ours, mut theirs) = (Tally::default(), Tally::default());
    for group in &groups {
        let jwk = &group["publicKeyJwk"];
        for test in tests(group) {
            let accepted = verify_jws(&wrapped(test), "t", &keys_of(&key())).is_ok();
            assert_eq!(accepted, test["result"] == "valid", "{test}");
            ours.count(accepted);
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA"}"#);
            let signature = URL_SAFE_NO_PAD.encode(unhex(&test["sig"]));
            let payload = URL_SAFE_NO_PAD.encode(unhex(&test["msg"]));
            let jws = format!("{header}.{payload}.{signature}").into();
            assert!(!verify(&jws, key_set(jwk).as_ref()), "{test}");
            theirs.count(false);
        }
    }
    ours.print("wycheproof ed25519, wrapped as JWS");
    assert_eq!(ours, Tally { accepted: 88, refused: 63 });
    assert_eq!(theirs, Tally { accepted: 0, refused: 151 });
}

/// Our JWS over a vector's message, with the flaw of the vector in its signature: S + L, the vector's own R and S, or
/// our signature cut or lengthened to the vector's length.
fn wrapped(test: &Value) -> String {
    let signed = key().sign("t", &unhex(&test["msg"]));
    let (signing_input, signature) = signed.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let flawed = unhex(&test["sig"]);
    match test["flags"][0].as_str().unwrap() {
        "Valid" | "Ktv" | "TinkOverflow" => return signed,
        "SignatureMalleability" => return malleated(&signed),
        "TruncatedSignature" | "SignatureWithGarbage" => signature.resize(flawed.len(), 0),
        "CompressedSignature" | "InvalidSignature" | "InvalidEncoding" | "InvalidKtv" => {
            signature = flawed;
        }
        other => panic!("a flag nobody knew of: {other}"),
    }
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn wycheproof_rsa_signatures_verify_under_their_own_algorithm_only() {
    let files = [
        "rsa_signature_2048_sha256",
        "rsa_signature_2048_sha384",
        "rsa_signature_2048_sha512",
        "rsa_signature_3072_sha256",
        "rsa_signature_4096_sha256",
        "rsa_pss_2048_sha256_mgf1_32",
        "rsa_pss_misc",
    ];
    let mut tally = Tally::default();
    for file in files {
        let Some(groups) = groups(&format!("wycheproof/{file}_test.json")) else { return };
        for group in &groups {
            check_rsa(group, &mut tally);
        }
    }
    tally.print("wycheproof RSA");
    // PKCS#1 24 and PSS 64 valid ones, and 2 that are sound with SHA-256 though meant for a longer hash.
    assert_eq!(tally, Tally { accepted: 90, refused: 1_461 });
}

fn check_rsa(group: &Value, tally: &mut Tally) {
    let number = |name: &str| {
        let bytes = unhex(&group["publicKey"][name]);
        let start = bytes.iter().position(|byte| *byte != 0).unwrap();
        URL_SAFE_NO_PAD.encode(&bytes[start..])
    };
    let key = |alg: &str| json!({ "kty": "RSA", "n": number("modulus"), "e": number("publicExponent"), "alg": alg });
    let (rs256, ps256) = (key("RS256"), key("PS256"));
    let is_pss = group["type"] == "RsassaPssVerify";
    let claimed = group["sha"] == "SHA-256"
        && (!is_pss || (group["mgfSha"] == "SHA-256" && group["sLen"] == 32));
    for test in tests(group) {
        let bare = [&test["msg"], &test["sig"]];
        let as_rs256 = verify_bare(&rs256, Algorithm::Rs256, bare);
        let as_ps256 = verify_bare(&ps256, Algorithm::Ps256, bare);
        let (accepted, crossed) = if is_pss { (as_ps256, as_rs256) } else { (as_rs256, as_ps256) };
        // Sound signatures of another scheme or hash: only the key's own algorithm keeps them out.
        let is_sound_elsewhere = test["flags"]
            .as_array()
            .unwrap()
            .iter()
            .any(|flag| flag == "WrongPrimitive" || flag == "WrongHash");
        assert!(!crossed || is_sound_elsewhere, "{test}");
        if !claimed {
            assert!(!accepted || is_sound_elsewhere, "{test}");
        } else if test["result"] != "acceptable" {
            assert_eq!(accepted, test["result"] == "valid", "{test}");
        }
        tally.count(accepted);
    }
}

#[test]
fn ed25519_speccheck_is_answered_like_dalek_strict() {
    let (Some(cases), Some(results)) =
        (corpus("ed25519-speccheck/cases.json"), corpus("ed25519-speccheck/results.md"))
    else {
        return;
    };
    let row = results.lines().find(|line| line.contains("Dalek strict")).unwrap();
    let expected: Vec<bool> = row.split('|').skip(2).map(|cell| cell.trim() == "V").collect();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    assert_eq!(cases.len(), 12);
    let mut tally = Tally::default();
    for (case, expected) in cases.iter().zip(expected) {
        let x = URL_SAFE_NO_PAD.encode(unhex(&case["pub_key"]));
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        let bare = [&case["message"], &case["signature"]];
        assert_eq!(verify_bare(&jwk, Algorithm::Ed25519, bare), expected, "{case}");
        tally.count(expected);
    }
    tally.print("ed25519-speccheck");
    assert_eq!(tally, Tally { accepted: 1, refused: 11 });
}

#[test]
fn the_roca_key_is_refused_for_what_it_is() {
    let Some(groups) = groups("wycheproof/json_web_key_test.json") else { return };
    let roca = groups.iter().find(|group| group["comment"] == "jws_rsa_roca_key").unwrap();
    let refused = KeySet::from_jwks(roca["public"].to_string().as_bytes()).unwrap_err();
    let source = KeyError::RsaRoca;
    assert_eq!(refused, KeySetError::Key { index: 0, source });
}

//! One strictness in the tree: what this crate refuses of keys and signatures, the audit chain refuses too.
//!
//! The two crates stand side by side and may not import each other, so each checks in one place of its own; here and
//! in the speccheck test of each they are held to one answer. Invariant: whoever loosens one of them fails here.

use aegis_audit_chain::note;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, VerifyingKey};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::attacks::small_order_r;
use super::{SEED, malleated};
use crate::KeySet;
use crate::public_key::Algorithm;

/// Whether the audit chain takes the key, and if it does, the signature.
fn by_audit(public: &[u8; 32], signed: Option<(&str, &[u8])>) -> bool {
    let blob = [&[1], public.as_slice()].concat();
    let hash = Sha256::digest([b"log\n", blob.as_slice()].concat());
    let id = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let verifier = note::Verifier::parse(&format!("log+{id}+{}", STANDARD.encode(&blob)));
    match (verifier, signed) {
        (Err(_), _) => false,
        (Ok(_), None) => true,
        (Ok(verifier), Some((text, signature))) => {
            let blob = STANDARD.encode([&hash[..4], signature].concat());
            verifier.check(text, &blob).is_ok()
        }
    }
}

/// The same for tokens and attestations.
fn by_identity(public: &[u8; 32], signed: Option<(&str, &[u8])>) -> bool {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public) });
    let Ok(keys) = KeySet::from_jwks(json!({ "keys": [jwk] }).to_string().as_bytes()) else {
        return false;
    };
    let key = keys.select(None, Algorithm::Ed25519).unwrap();
    signed.is_none_or(|(text, signature)| key.verify(text.as_bytes(), signature).is_ok())
}

#[test]
fn both_take_and_refuse_the_same_keys() {
    let mut encodings: Vec<[u8; 32]> = Vec::new();
    for low in 0..=u8::MAX {
        // The smallest y, and the largest, of which 19 are second encodings of the smallest.
        let (mut small, mut large) = ([0; 32], [0xff; 32]);
        (small[0], large[0]) = (low, low);
        for sign in [0, 0x80] {
            small[31] = sign;
            large[31] = 0x7f | sign;
            encodings.extend([small, large]);
        }
    }
    let (mut taken, mut only_strict) = (0, 0);
    for public in &encodings {
        let verdict = by_identity(public, None);
        assert_eq!(verdict, by_audit(public, None), "{public:02x?}");
        taken += usize::from(verdict);
        only_strict += usize::from(!verdict && VerifyingKey::from_bytes(public).is_ok());
    }
    // Points that a careless reader takes: small order, or a second encoding.
    assert!(taken > 400 && only_strict > 20, "{taken} {only_strict}");
}

#[test]
fn both_take_and_refuse_the_same_signatures() {
    let private = ed25519_dalek::SigningKey::from_bytes(&SEED);
    let public = private.verifying_key().to_bytes();
    // A JWS is a text like any other to the audit chain.
    let (text, small_order) = small_order_r();
    let small_order = URL_SAFE_NO_PAD.decode(small_order).unwrap();
    let good = private.sign(text.as_bytes()).to_bytes();
    let jws = format!("{text}.{}", URL_SAFE_NO_PAD.encode(good));
    let malleated = URL_SAFE_NO_PAD.decode(malleated(&jws).rsplit_once('.').unwrap().1).unwrap();
    let mut cut = good.to_vec();
    cut.pop();
    let cases = [
        ("as it should be", good.to_vec(), true),
        ("S + L", malleated, false),
        ("cut", cut, false),
        ("lengthened", [good.as_slice(), &[0]].concat(), false),
        ("all zero", vec![0; 64], false),
        ("R of small order", small_order, false),
    ];
    for (what, signature, expected) in cases {
        let signed = Some((text.as_str(), signature.as_slice()));
        assert_eq!(by_identity(&public, signed), expected, "{what}");
        assert_eq!(by_audit(&public, signed), expected, "{what}");
    }
}

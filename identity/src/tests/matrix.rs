//! One table of attacks, tried on every kind of text this crate believes: access tokens, client assertions, proofs,
//! foreign tokens and attestations.
//!
//! Not here: the kinds themselves (`kinds`), which error each meets (`attacks`, `claim_rules`). Invariant: every forgery is made
//! from a text that verifies, by changing the one thing its case is about; the counts are printed and none may be accepted.

mod kinds;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::keys::rsa_jwk;
use super::proofs::{demand, proof_payload};
use super::{forge, forge_with, header_and, key, keys_of, malleated, now};
use crate::{KeySet, SigningKey, UnverifiedAssertion, mint, verify_proof};

use kinds::{Kind, kinds};

/// A forgery: the number of its case in the table, what it is, and the text with the keys it is checked with.
struct Forgery {
    case: u32,
    what: String,
    text: String,
    keys: KeySet,
}

/// Collects the forgeries of one kind.
struct Forge<'k> {
    kind: &'k Kind,
    made: Vec<Forgery>,
}

impl Forge<'_> {
    fn add(&mut self, case: u32, what: &str, text: String) {
        self.add_with(case, what, text, keys_of(&key()));
    }

    fn add_with(&mut self, case: u32, what: &str, text: String, keys: KeySet) {
        self.made.push(Forgery { case, what: what.to_owned(), text, keys });
    }

    fn header(&mut self, case: u32, what: &str, header: &str) {
        self.add(case, what, forge(header, &self.kind.payload()));
    }

    fn claim(&mut self, case: u32, claim: &'static str, value: Option<&str>) {
        if self.kind.has(claim) || value.is_some() {
            let payload = self.kind.with_claim(claim, value);
            let what = format!("{claim} {value:?}");
            self.add(case, &what, forge(&self.kind.header, &payload));
        }
    }

    /// 1 to 11: the algorithm.
    fn algorithms(&mut self) {
        for (case, name) in (1..).zip(["none", "None", "NONE", "nOnE"]) {
            let header = self.kind.with_alg(&format!(r#""alg":"{name}""#));
            let signed = forge(&header, &self.kind.payload());
            let (signing_input, _) = signed.rsplit_once('.').unwrap();
            self.add(case, "none, unsigned", format!("{signing_input}."));
            self.add(case, "none, two parts", signing_input.to_owned());
            self.add(case, "none, signed", signed);
        }
        let x = key().public_jwk()["x"].as_str().unwrap().to_owned();
        let raw = URL_SAFE_NO_PAD.decode(&x).unwrap();
        let der = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", raw.as_slice()].concat();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(&der)
        );
        let jwk = key().public_jwk().to_string().into_bytes();
        for (case, secret) in (5..).zip([pem.into_bytes(), der, jwk, raw]) {
            let header = self.kind.with_alg(r#""alg":"HS256""#);
            let signed = forge(&header, &self.kind.payload());
            let (signing_input, _) = signed.rsplit_once('.').unwrap();
            let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, signing_input.as_bytes()));
            self.add(case, "public key as HMAC secret", format!("{signing_input}.{tag}"));
        }
        for name in ["eddsa", "EDDSA", "ed25519", "RS256", "ES256", "Ed448", "dir", ""] {
            self.header(9, name, &self.kind.with_alg(&format!(r#""alg":"{name}""#)));
        }
        for value in [r#"["EdDSA"]"#, "null", "7", r#"{"EdDSA":1}"#] {
            self.header(10, value, &self.kind.with_alg(&format!(r#""alg":{value}"#)));
        }
        self.header(11, "alg missing", &self.kind.with_alg(r#""x":0"#));
    }

    /// 12 to 17: members that would change how the text is read, or bring a key.
    fn header_members(&mut self) {
        for (case, more) in [
            (12, r#""crit":["exp"]"#),
            (12, r#""crit":[]"#),
            (13, r#""b64":false"#),
            (13, r#""crit":["b64"],"b64":false"#),
            (15, r#""jku":"https://evil.example/jwks.json""#),
            (16, r#""x5u":"https://evil.example/cert.pem""#),
            (17, r#""x5c":["MIIB"]"#),
            (31, r#""zip":"DEF""#),
        ] {
            self.header(case, more, &self.kind.with_header(more));
        }
        let evil = SigningKey::from_seed([9; 32]).public_jwk();
        let header = if self.kind.is_proof() {
            self.kind
                .header
                .replace(key().public_jwk()["x"].as_str().unwrap(), evil["x"].as_str().unwrap())
        } else {
            self.kind.with_header(&format!("\"jwk\":{evil}"))
        };
        let payload = self.kind.payload();
        self.add(14, "jwk of the attacker", forge_with([9; 32], &header, &payload));
        self.header(14, "jwk twice", &self.kind.with_header(r#""jwk":{},"jwk":{}"#));
        self.header(14, "jwk null", &self.kind.with_header(r#""jwk":null"#));
    }

    /// 18 to 27: key ids and keys.
    fn keys(&mut self) {
        let kind = self.kind;
        let long = format!("\"{}\"", "a".repeat(65_536));
        for (case, kid) in
            [(23, r#""a\u0000""#), (24, long.as_str()), (25, "[]"), (25, "null"), (25, "7")]
        {
            let text = forge(&kind.with_kid(kid), &kind.payload());
            self.add(case, "kid malformed", text);
        }
        self.add(27, "signed by another", forge_with([8; 32], &kind.header, &kind.payload()));
        if kind.is_proof() {
            return; // Its kid is never looked up.
        }
        let second = SigningKey::from_seed([8; 32]);
        let two = keys_of(&key()).with(second.public_key().clone()).unwrap();
        let no_kid = kind.header.replace(&format!(r#""kid":"{}","#, key().key_id()), "");
        self.add_with(18, "no kid, two keys", forge(&no_kid, &kind.payload()), two);
        for (case, kid) in [(19, "unknown"), (21, "../../dev/null"), (22, "'OR'1'='1")] {
            self.header(case, kid, &kind.with_kid(&format!("\"{kid}\"")));
        }
        let mut rsa = rsa_jwk("RS256");
        rsa["kid"] = key().key_id().as_str().into();
        let rsa = KeySet::from_jwks(json!({ "keys": [rsa] }).to_string().as_bytes()).unwrap();
        self.add_with(26, "RSA key under the kid", kind.good(), rsa);
        self.add_with(27, "keys of another issuer", kind.good(), keys_of(&second));
    }

    /// 28 to 35 and 41: the form.
    fn spellings(&mut self) {
        let kind = self.kind;
        let good = kind.good();
        let parts: Vec<_> = good.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        let last = signature.chars().last().unwrap();
        let respelt = match last {
            'A' => 'B',
            'Q' => 'R',
            'g' => 'h',
            _ => 'x',
        };
        for (case, text) in [
            (28, format!("{header}.a.b.c.{signature}")),
            (29, format!("{header}.{payload}")),
            (30, format!("{good}.{signature}")),
            (30, format!("{good}.")),
            (31, forge(&kind.with_header(r#""cty":"JWT""#), &good)),
            (31, forge(&kind.header, &format!("\"{good}\""))),
            (32, format!("{good}==")),
            (32, format!("{header}=.{payload}.{signature}")),
            (33, format!("{header}+.{payload}.{signature}")),
            (33, format!("{header}.{payload}/.{signature}")),
            (34, format!(" {good}")),
            (34, format!("{good}\n")),
            (34, format!("{header}.{payload}\t.{signature}")),
            (35, format!("{}{respelt}", good.strip_suffix(last).unwrap())),
            (41, format!("{header}.{}.{signature}", "A".repeat(16_384))),
            (41, "a.".repeat(524_288)),
            (44, malleated(&good)),
        ] {
            if !(kind.name == "attestation" && case == 31) {
                self.add(case, "form", text);
            }
        }
    }

    /// 36 to 43: what it says.
    fn claims(&mut self) {
        let kind = self.kind;
        if kind.name == "attestation" {
            return;
        }
        for (claim, value) in kind.claims.clone() {
            let twice = kind.payload().replacen('{', &format!("{{\"{claim}\":{value},"), 1);
            self.add(36, claim, forge(&kind.header, &twice));
        }
        for date in kind.dates {
            for value in [
                r#""1800000000""#,
                "1800000000.5",
                "-1",
                "1e308",
                r#""NaN""#,
                "null",
                "true",
                "9007199254740993",
                "18446744073709551616",
            ] {
                self.claim(37, date, Some(value));
            }
            let edge = match *date {
                "exp" => "1799999970",
                _ => "1800000031",
            };
            self.claim(37, date, Some(edge));
        }
        for value in [r#"["https://evil.example"]"#, "[]", r#"["x",7]"#, r#""""#, "null", "{}"] {
            if kind.has("aud") {
                self.claim(38, "aud", Some(value));
            }
        }
        self.claim(38, "aud", None);
        for value in [r#""https://evil.example""#, r#""HTTPS://issuer.example""#, "[]", r#""""#] {
            if kind.has("iss") {
                self.claim(39, "iss", Some(value));
            }
        }
        self.claim(39, "iss", None);
        if kind.has("jti") {
            for value in [r#""""#, r#""a b""#, "7", "null"] {
                self.claim(42, "jti", Some(value));
            }
        }
        for claim in ["htm", "htu", "ath", "sub", "exp"] {
            self.claim(38, claim, None);
        }
    }

    /// 40: every type but the kind's own; a missing one is told by claims and keys alone.
    fn types(&mut self) {
        let own = match self.kind.name {
            "access token" => ["at+jwt", "JWT"],
            "client assertion" => ["JWT", "client-authentication+jwt"],
            "proof" => ["dpop+jwt"; 2],
            "foreign token" => ["JWT", "at+jwt"],
            _ => ["aegis-att+jwt"; 2],
        };
        for typ in [
            "at+jwt",
            "JWT",
            "dpop+jwt",
            "client-authentication+jwt",
            "aegis-att+jwt",
            "aegis-override+jwt",
            "wpt+jwt",
            "txntoken+jwt",
            "secevent+jwt",
            "logout+jwt",
            "",
        ] {
            if !own.contains(&typ) {
                let header = retyped(&self.kind.header, &format!("\"{typ}\""));
                self.header(40, typ, &header);
            }
        }
        for value in ["null", "[]", "7"] {
            self.header(40, value, &retyped(&self.kind.header, value));
        }
    }
}

fn retyped(header: &str, typ: &str) -> String {
    let start = header.find(r#""typ":""#).unwrap() + 6;
    let end = start + 1 + header[start + 1..].find('"').unwrap() + 1;
    format!("{}{typ}{}", &header[..start], &header[end..])
}

fn forgeries(kind: &Kind) -> Vec<Forgery> {
    let mut forge = Forge { kind, made: Vec::new() };
    forge.algorithms();
    forge.header_members();
    forge.keys();
    forge.spellings();
    forge.claims();
    forge.types();
    forge.made
}

#[test]
#[expect(clippy::print_stderr, reason = "the counts are what a reader of the run wants to see")]
fn no_attack_on_any_kind_of_text_is_accepted() {
    for kind in kinds() {
        assert!((kind.take)(&kind.good(), &keys_of(&key())), "{}", kind.name);
        let forgeries = forgeries(&kind);
        let mut by_case: BTreeMap<u32, u32> = BTreeMap::new();
        for forgery in &forgeries {
            let accepted = (kind.take)(&forgery.text, &forgery.keys);
            assert!(!accepted, "{}: {} {}", kind.name, forgery.case, forgery.what);
            *by_case.entry(forgery.case).or_default() += 1;
        }
        eprintln!(
            "{}: {} forgeries in {} cases, 0 accepted",
            kind.name,
            forgeries.len(),
            by_case.len()
        );
        let cases: BTreeSet<u32> = by_case.into_keys().collect();
        // 20 is a key set, 43 the hot state; both have tests of their own.
        let all = (1..=44).filter(|case| ![20, 43].contains(case)).collect::<BTreeSet<u32>>();
        match kind.name {
            "access token" | "client assertion" => assert_eq!(cases, all, "{}", kind.name),
            "foreign token" => assert_eq!(all.difference(&cases).count(), 1, "no jti is needed"),
            "proof" => assert!(cases.len() >= 34, "{}", cases.len()),
            _ => assert!(cases.len() >= 30, "{}", cases.len()),
        }
    }
}

#[test]
fn no_kind_of_text_serves_as_another() {
    let kinds = kinds();
    let keys = keys_of(&key());
    let mut tried = 0;
    for own in &kinds {
        for other in kinds.iter().filter(|other| other.name != own.name) {
            assert!(!(other.take)(&own.good(), &keys), "{} as {}", own.name, other.name);
            // Nor with the other's type on it, or none: claims and keys still tell them apart.
            let typ = other.header.split(r#""typ":"#).nth(1).unwrap();
            let typ = &typ[..=typ[1..].find('"').unwrap() + 1];
            let disguised = forge(&retyped(&own.header, typ), &own.payload());
            let is_attestation = other.name == "attestation" || own.name == "attestation";
            assert!(
                is_attestation || !(other.take)(&disguised, &keys),
                "{} as {}",
                own.name,
                other.name
            );
            tried += 2;
        }
    }
    assert_eq!(tried, 40);
}

#[test]
fn a_key_set_with_one_key_id_twice_is_refused() {
    // Case 20: no token is ever checked against it.
    let mut other = SigningKey::from_seed([8; 32]).public_jwk();
    other["kid"] = key().key_id().as_str().into();
    let jwks = json!({ "keys": [key().public_jwk(), other] }).to_string();
    assert!(KeySet::from_jwks(jwks.as_bytes()).is_err());
}

#[test]
fn a_second_spelling_of_a_signature_is_the_same_use_to_the_hot_state() {
    // Cases 43 and 44: ECDSA has two signatures for one message, (r, s) and (r, n - s); both name one jti.
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let header = format!(
        r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}}}"#
    );
    let payload = proof_payload(None, &[]);
    let signing_input =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = pair.sign(&random, signing_input.as_bytes()).unwrap();
    let mut other = signature.as_ref().to_vec();
    let mut borrow = 0;
    for (byte, n) in other[32..].iter_mut().zip(N).rev() {
        let difference = i16::from(n) - i16::from(*byte) - borrow;
        (*byte, borrow) = (difference.to_le_bytes()[0], i16::from(difference < 0));
    }
    assert_ne!(signature.as_ref(), other);
    let replay = |signature: &[u8]| {
        let proof = format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature));
        verify_proof(&proof, &demand(None), now()).unwrap().replay().clone()
    };
    assert_eq!(replay(signature.as_ref()), replay(&other));
}

#[test]
fn an_access_token_of_ours_is_no_assertion_of_its_agent() {
    // The agent's own key signs both here, the worst case.
    let token = mint(&key(), &super::claims()).unwrap();
    assert!(UnverifiedAssertion::read(&token).is_err());
    let untyped = forge(&header_and(""), &super::payload());
    assert!(UnverifiedAssertion::read(&untyped).is_err());
}

//! What this crate refuses: attacks, other people's vectors, and properties.
//!
//! Not here: the rules of one module, which stand beside it. Invariant: every refusal is compared with
//! its exact error, so that a token is never refused for the wrong reason.

mod assertions;
mod attacks;
mod claim_rules;
mod corpora;
mod keys;
mod matrix;
mod modes;
mod people;
mod proofs;
mod properties;
mod revocations;
mod round_trip;
mod sessions;
mod strictness;
mod subjects;

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{AgentId, Jti, OrgId, TenantId, Timestamp, TokenUse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;

use crate::{Claims, KeySet, SigningKey, TokenError, TokenLimits, TrustedIssuer, Verifier};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const GATEWAY: &str = "https://gw.eu-west-1.example.com";
pub(crate) const NOW_S: u64 = 1_800_000_000;
pub(crate) const SEED: [u8; 32] = [7; 32];

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_s(NOW_S)
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(SEED)
}

pub(crate) fn claims() -> Claims {
    Claims {
        issuer: ISSUER.to_owned(),
        org: OrgId::parse("acme").unwrap(),
        tenant: TenantId::parse("acme-eu").unwrap(),
        agent: AgentId::parse("finance-bot").unwrap(),
        parent_agent: Some(AgentId::parse("planner").unwrap()),
        acts_for: Vec::new(),
        confirmation: None,
        scopes: BTreeSet::from(["payments.create".to_owned(), "payments.read".to_owned()]),
        audience: vec![GATEWAY.to_owned()],
        expires_at: Timestamp::from_unix_s(NOW_S + 300),
        not_before: Some(Timestamp::from_unix_s(NOW_S)),
        issued_at: Some(Timestamp::from_unix_s(NOW_S)),
        jti: Jti::parse("01J9ZK3V5Q").unwrap(),
        token_use: TokenUse::Bound,
    }
}

pub(crate) fn keys_of(key: &SigningKey) -> KeySet {
    KeySet::default().with(key.public_key().clone()).unwrap()
}

pub(crate) fn verifier_with(keys: KeySet) -> Verifier {
    let audiences = vec!["https://gw.example.com".to_owned(), GATEWAY.to_owned()];
    let issuer = TrustedIssuer { issuer: ISSUER.to_owned(), audiences, keys };
    Verifier::new(vec![issuer], TokenLimits::default())
}

pub(crate) fn verifier() -> Verifier {
    verifier_with(keys_of(&key()))
}

/// Signs any header and payload with `key`, as an attacker who has it would.
pub(crate) fn forge(header: &str, payload: &str) -> String {
    forge_with(SEED, header, payload)
}

pub(crate) fn forge_with(seed: [u8; 32], header: &str, payload: &str) -> String {
    let signing_input =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = ed25519_dalek::SigningKey::from_bytes(&seed).sign(signing_input.as_bytes());
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// The same signature with S + L for S: the same scalar to a careless verifier (RFC 8032 §8.4).
pub(crate) fn malleated(token: &str) -> String {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (signing_input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut carry = 0;
    for (byte, added) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(added) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(&signature))
}

/// A plain header for `key` with more members appended, such as `,"crit":["b64"]`.
pub(crate) fn header_and(more: &str) -> String {
    format!(r#"{{"alg":"EdDSA","kid":"{}"{more}}}"#, key().key_id())
}

/// The payload of `claims`, each claim as raw JSON text; `None` takes a claim out, `Some` puts it in.
pub(crate) fn payload_but(changes: &[(&str, Option<&str>)]) -> String {
    let mut members: BTreeMap<&str, &str> = BTreeMap::from([
        ("iss", r#""https://issuer.example""#),
        ("aud", r#""https://gw.eu-west-1.example.com""#),
        ("exp", "1800000300"),
        ("nbf", "1800000000"),
        ("iat", "1800000000"),
        ("jti", r#""01J9ZK3V5Q""#),
        ("org", r#""acme""#),
        ("tenant", r#""acme-eu""#),
        ("agent_id", r#""finance-bot""#),
        ("parent_agent_id", r#""planner""#),
        ("scope", r#""payments.create payments.read""#),
    ]);
    for (claim, value) in changes {
        match value {
            Some(value) => members.insert(claim, value),
            None => members.remove(claim),
        };
    }
    let members: Vec<_> =
        members.iter().map(|(claim, value)| format!("\"{claim}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

pub(crate) fn payload() -> String {
    payload_but(&[])
}

/// Verifies a token of `key` with the given payload.
pub(crate) fn read(payload: &str) -> Result<Claims, TokenError> {
    let token = forge(&header_and(""), payload);
    verifier().verify(&token, now()).map(|verified| verified.claims().clone())
}

//! What this crate refuses: attacks, other people's vectors, and properties.
//!
//! Not here: the rules of one module, which stand beside it. Invariant: every refusal is compared with
//! its exact error, so that a token is never refused for the wrong reason.

mod round_trip;

use std::collections::BTreeSet;

use aegis_domain::{AgentId, Jti, OrgId, TenantId, Timestamp, TokenUse};

use crate::{Claims, KeySet, SigningKey, TokenLimits, TrustedIssuer, Verifier};

const ISSUER: &str = "https://issuer.example";
const GATEWAY: &str = "https://gw.eu-west-1.example.com";
const NOW_S: u64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_unix_s(NOW_S)
}

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn claims() -> Claims {
    Claims {
        issuer: ISSUER.to_owned(),
        org: OrgId::parse("acme").unwrap(),
        tenant: TenantId::parse("acme-eu").unwrap(),
        agent: AgentId::parse("finance-bot").unwrap(),
        parent_agent: Some(AgentId::parse("planner").unwrap()),
        scopes: BTreeSet::from(["payments.create".to_owned(), "payments.read".to_owned()]),
        audience: vec![GATEWAY.to_owned()],
        expires_at: Timestamp::from_unix_s(NOW_S + 300),
        not_before: Some(Timestamp::from_unix_s(NOW_S)),
        issued_at: Some(Timestamp::from_unix_s(NOW_S)),
        jti: Jti::parse("01J9ZK3V5Q").unwrap(),
        token_use: TokenUse::Bound,
    }
}

fn keys_of(key: &SigningKey) -> KeySet {
    KeySet::default().with(key.public_key().clone()).unwrap()
}

fn verifier_with(keys: KeySet) -> Verifier {
    let audiences = vec!["https://gw.example.com".to_owned(), GATEWAY.to_owned()];
    let issuer = TrustedIssuer { issuer: ISSUER.to_owned(), audiences, keys };
    Verifier::new(vec![issuer], TokenLimits::default())
}

fn verifier() -> Verifier {
    verifier_with(keys_of(&key()))
}

//! What holds for every text, not only for those we thought of.
//!
//! Not here: named attacks. Invariant: nothing here panics, and nothing that was touched verifies.

use aegis_domain::{AgentId, Jti, OrgId, TenantId, Timestamp, TokenUse};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::proofs::{demand, proof_header, proof_payload};
use super::subjects;
use super::{
    GATEWAY, ISSUER, NOW_S, claims, forge, header_and, key, keys_of, now, payload, verifier,
};
use crate::{
    CertificateThumbprint, Claims, Confirmation, JwkThumbprint, KeySet, SigningKey,
    UnverifiedAssertion, inspect, mint, verify_jws, verify_proof,
};

fn some_claims() -> impl Strategy<Value = Claims> {
    let names = ("[a-z0-9-]{1,63}", "[a-z0-9-]{1,63}", "[A-Za-z0-9._:/@-]{1,128}", "[!-~]{1,128}");
    let parents =
        (any::<bool>(), vec("[A-Za-z0-9._:/@-]{1,20}", 0..=8), vec(any::<[u8; 32]>(), 2), 0..4);
    let scopes = btree_set("[!#-\\[\\]-~]{1,128}", 0..8);
    let times = (1..=900_u64, proptest::option::of(0..=30_u64), proptest::option::of(0..=30_u64));
    let audience = vec("\\PC{0,40}", 0..4);
    (names, parents, scopes, times, audience, any::<bool>()).prop_map(
        |((org, tenant, agent, jti), parents, scopes, (ttl, nbf, iat), mut audience, once)| {
            audience.push(GATEWAY.to_owned());
            let (delegated, parents, keys, bound) = parents;
            let ids: Vec<_> = parents.iter().map(|id| AgentId::parse(id).unwrap()).collect();
            let key = JwkThumbprint::from_bytes(keys[0]);
            let certificate = CertificateThumbprint::from_bytes(keys[1]);
            Claims {
                issuer: ISSUER.to_owned(),
                org: OrgId::parse(&org).unwrap(),
                tenant: TenantId::parse(&tenant).unwrap(),
                agent: AgentId::parse(&agent).unwrap(),
                parent_agent: ids.first().cloned(),
                acts_for: if delegated { ids } else { Vec::new() },
                confirmation: match bound {
                    0 => None,
                    1 => Some(Confirmation::Key(key)),
                    2 => Some(Confirmation::Certificate(certificate)),
                    _ => Some(Confirmation::Both(key, certificate)),
                },
                scopes,
                audience,
                expires_at: Timestamp::from_unix_s(NOW_S + ttl),
                not_before: nbf.map(|ahead| Timestamp::from_unix_s(NOW_S + ahead)),
                issued_at: iat.map(|ahead| Timestamp::from_unix_s(NOW_S + ahead)),
                jti: Jti::parse(&jti).unwrap(),
                token_use: if once { TokenUse::Once } else { TokenUse::Bound },
            }
        },
    )
}

#[test]
fn a_flipped_bit_in_any_byte_never_verifies() {
    let token = mint(&key(), &claims()).unwrap();
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] ^= 1 << (at % 7);
        let flipped = String::from_utf8(bytes).unwrap();
        assert!(verifier().verify(&flipped, now()).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_or_verifies(text in "\\PC*") {
        prop_assert!(verifier().verify(&text, now()).is_err());
        prop_assert!(verify_jws(&text, "a", &keys_of(&key())).is_err());
        prop_assert!(inspect(&text).is_err());
        prop_assert!(verify_proof(&text, &demand(None), now()).is_err());
        prop_assert!(UnverifiedAssertion::read(&text).is_err());
        prop_assert!(subjects::verifier().verify(&text, now()).is_err());
        prop_assert!(SigningKey::from_pkcs8_pem(&text).is_err());
    }

    #[test]
    fn no_signed_bytes_panic(header in vec(any::<u8>(), 0..80), body in vec(any::<u8>(), 0..80)) {
        let (header, body) = (String::from_utf8_lossy(&header), String::from_utf8_lossy(&body));
        prop_assert!(verifier().verify(&forge(&header, &payload()), now()).is_err());
        prop_assert!(verifier().verify(&forge(&header_and(""), &body), now()).is_err());
        prop_assert!(verify_proof(&forge(&proof_header(""), &body), &demand(None), now()).is_err());
        prop_assert!(UnverifiedAssertion::read(&forge(&header_and(""), &body)).is_err());
        let foreign = forge(&header_and(""), &body);
        prop_assert!(subjects::verifier().verify(&foreign, now()).is_err());
    }

    #[test]
    fn a_proof_cut_swapped_or_stuffed_never_verifies(
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        stuffing in "[ -~]{0,6}",
    ) {
        let proof = forge(&proof_header(""), &proof_payload(None, &[]));
        let (from, to) = (from.index(proof.len()), to.index(proof.len()));
        let mut touched = proof.clone();
        touched.replace_range(from.min(to)..from.max(to), &stuffing);
        prop_assume!(touched != proof);
        prop_assert!(verify_proof(&touched, &demand(None), now()).is_err());
    }

    #[test]
    fn no_bytes_panic_as_a_key_set(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(KeySet::from_jwks(&bytes).is_err());
    }

    #[test]
    fn a_key_set_that_is_read_can_be_published(member in "\\PC*") {
        for name in ["kty", "crv", "x", "alg", "kid", "use", "key_ops"] {
            let mut jwk = key().public_jwk();
            jwk[name] = member.as_str().into();
            let jwks = serde_json::json!({ "keys": [jwk] }).to_string();
            if let Ok(keys) = KeySet::from_jwks(jwks.as_bytes()) {
                let published = keys.to_jwks_json();
                let back = KeySet::from_jwks(published.as_bytes()).unwrap();
                prop_assert_eq!(back.to_jwks_json(), published);
            }
        }
    }

    #[test]
    fn a_token_cut_swapped_or_stuffed_never_verifies(
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        stuffing in "[ -~]{0,6}",
    ) {
        let token = mint(&key(), &claims()).unwrap();
        let (from, to) = (from.index(token.len()), to.index(token.len()));
        let mut touched = token.clone();
        touched.replace_range(from.min(to)..from.max(to), &stuffing);
        prop_assume!(touched != token);
        prop_assert!(verifier().verify(&touched, now()).is_err());
    }

    #[test]
    fn whatever_is_minted_is_read_back(claims in some_claims()) {
        let token = mint(&key(), &claims).unwrap();
        let verified = verifier().verify(&token, now());
        prop_assert_eq!(verified.as_ref().map(|token| token.claims()), Ok(&claims));
    }

    #[test]
    fn whatever_is_signed_is_read_back(typ in "\\PC{0,40}", payload in vec(any::<u8>(), 0..500)) {
        let signed = key().sign(&typ, &payload);
        prop_assert_eq!(verify_jws(&signed, &typ, &keys_of(&key())), Ok(payload));
    }
}

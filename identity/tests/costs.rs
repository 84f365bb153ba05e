//! What a token costs: allocations, which wobble on no machine and are gated here, and time, which does and is only
//! printed.
//!
//! `cargo test --release -p aegis-identity --test costs -- --ignored --nocapture` prints the medians. Invariant: what
//! an attacker can send without a key costs less than what a known agent sends for the first time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "fixtures stand outside test functions"
)]

use std::collections::BTreeSet;
use std::hint::black_box;

use aegis_domain::{AgentId, Jti, OrgId, TenantId, Timestamp, TokenUse};
use aegis_identity::{
    Claims, Confirmation, KeySet, ProofDemand, Revocation, Revocations, SigningKey, TokenCache,
    TokenLimits, TrustedIssuer, VerifiedToken, Verifier, mint, verify_proof,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const GATEWAY: &str = "https://gw.eu-west-1.example.com";
const URI: &str = "https://gw.eu-west-1.example.com/payments/v1/charges";
const NOW_S: u64 = 1_800_000_000;
/// Measured 54 and 68: most are the names and values of the JSON members.
const NEW_TOKEN_MAX: u64 = 58;
const PROOF_MAX: u64 = 72;
/// Measured 31 for each key of a set: the members again, and the key.
const KEY_MAX: u64 = 33;

fn now() -> Timestamp {
    Timestamp::from_unix_s(NOW_S)
}

fn issuer() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn token(number: u64) -> String {
    mint(&issuer(), &claims(number)).unwrap()
}

fn claims(number: u64) -> Claims {
    Claims {
        issuer: GATEWAY.to_owned(),
        org: OrgId::parse("acme").unwrap(),
        tenant: TenantId::parse("acme-eu").unwrap(),
        agent: AgentId::parse("finance-bot").unwrap(),
        parent_agent: None,
        acts_for: Vec::new(),
        confirmation: Some(Confirmation::Key(agent().public_key().thumbprint())),
        scopes: BTreeSet::from(["payments.create".to_owned(), "payments.read".to_owned()]),
        audience: vec![GATEWAY.to_owned()],
        expires_at: Timestamp::from_unix_s(NOW_S + 300),
        not_before: None,
        issued_at: Some(now()),
        jti: Jti::parse(&format!("01J9ZK3V5Q-{number}")).unwrap(),
        token_use: TokenUse::Bound,
    }
}

fn agent() -> SigningKey {
    SigningKey::from_seed([8; 32])
}

fn cache() -> TokenCache {
    let issuer = TrustedIssuer {
        issuer: GATEWAY.to_owned(),
        audiences: vec![GATEWAY.to_owned()],
        keys: KeySet::default().with(issuer().public_key().clone()).unwrap(),
    };
    TokenCache::new(Verifier::new(vec![issuer], TokenLimits::default()), 65_536)
}

/// Revocations of other tenants, and of this tenant's other agents and tokens.
fn revocations() -> Revocations {
    let mut revocations = Revocations::default();
    for number in 0..10_000 {
        let tenant = TenantId::parse(if number % 2 == 0 { "acme-eu" } else { "other" }).unwrap();
        let jti = Jti::parse(&format!("revoked-{number}")).unwrap();
        let agent = AgentId::parse(&format!("agent-{number}")).unwrap();
        let expires_at = Timestamp::from_unix_s(NOW_S + 300);
        let token = Revocation::Token { tenant: tenant.clone(), jti, expires_at };
        revocations.add(token).unwrap();
        revocations.add(Revocation::Agent { tenant, agent, issued_before: now() }).unwrap();
    }
    revocations
}

/// What floods are made of: each is of a good token's length.
fn garbage(good: &str) -> Vec<(&'static str, String)> {
    let (_, rest) = good.split_once('.').unwrap();
    let unknown = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"unknown","typ":"at+jwt"}"#);
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let (signing_input, _) = good.rsplit_once('.').unwrap();
    vec![
        ("random text", "x".repeat(good.len())),
        ("dots", ".".repeat(good.len())),
        ("no JSON", format!("{}.{rest}", URL_SAFE_NO_PAD.encode([0xff; 60]))),
        ("alg none", format!("{none}.{rest}")),
        ("unknown key", format!("{unknown}.{rest}")),
        ("short signature", format!("{signing_input}.AAAA")),
        ("too long", "x".repeat(100_000)),
    ]
}

fn forged(good: &str) -> String {
    let (signing_input, _) = good.rsplit_once('.').unwrap();
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode([1; 64]))
}

fn proof(token: &VerifiedToken) -> String {
    proof_by(&agent(), token)
}

fn proof_by(key: &SigningKey, token: &VerifiedToken) -> String {
    let jwk = key.public_jwk();
    let header = format!(
        r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":{}}}}}"#,
        jwk["x"]
    );
    let payload = format!(
        r#"{{"jti":"p1","htm":"POST","htu":"{URI}","iat":{NOW_S},"ath":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(token.digest())
    );
    let signing_input =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign_message(signing_input.as_bytes());
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What floods of proofs are made of; no token is needed to send them.
fn garbage_proofs(good: &str, token: &VerifiedToken) -> Vec<(&'static str, String)> {
    let other = SigningKey::from_seed([9; 32]);
    let (_, rest) = good.split_once('.').unwrap();
    let typed = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"JWT"}"#);
    vec![
        ("random text", "x".repeat(good.len())),
        ("no proof's type", format!("{typed}.{rest}")),
        ("another key", proof_by(&other, token)),
        ("forged", forged(good)),
        ("too long", "x".repeat(100_000)),
    ]
}

/// A set of so many keys, as an issuer publishes it.
fn jwks(keys: u8) -> String {
    let all = (1..=keys).map(|seed| SigningKey::from_seed([seed; 32]));
    let set = all.fold(KeySet::default(), |set, key| set.with(key.public_key().clone()).unwrap());
    set.to_jwks_json()
}

fn allocations(mut work: impl FnMut()) -> u64 {
    allocation_counter::measure(&mut work).count_total
}

#[test]
fn a_token_seen_before_is_verified_without_an_allocation() {
    let (cache, revocations, token) = (cache(), revocations(), token(1));
    assert!(cache.verify_unrevoked(&token, &revocations, now()).is_ok());
    let seen = allocations(|| {
        drop(black_box(cache.verify_unrevoked(&token, &revocations, now())).unwrap());
    });
    assert_eq!(seen, 0);
}

#[test]
fn a_new_token_and_a_proof_allocate_a_bounded_number_of_times() {
    let (cache, token) = (cache(), token(1));
    let new = allocations(|| {
        drop(black_box(cache.verify(&token, now())).unwrap());
    });
    let verified = cache.verify(&token, now()).unwrap();
    let proof = proof(&verified);
    let demand = ProofDemand { method: "POST", uri: URI, token: Some(&verified), nonces: None };
    let proved = allocations(|| {
        drop(black_box(verify_proof(&proof, &demand, now())).unwrap());
    });
    assert!(new <= NEW_TOKEN_MAX && proved <= PROOF_MAX, "token {new}, proof {proved}");
}

#[test]
fn garbage_allocates_less_than_a_good_token() {
    let (cache, good) = (cache(), token(1));
    let of = |token: &str| {
        allocations(|| {
            drop(black_box(cache.verify(token, now())));
        })
    };
    // The forged one first: what is refused is not remembered, so the good one is as new as it.
    let forged = of(&forged(&good));
    let garbage: Vec<_> = garbage(&good).iter().map(|(what, text)| (*what, of(text))).collect();
    let good = of(&good);
    assert!(forged < good, "forged {forged}, good {good}");
    for (what, count) in garbage {
        assert!(count < good, "{what} {count}, good {good}");
    }
}

#[test]
fn garbage_for_a_proof_allocates_no_more_than_a_good_one() {
    let cache = cache();
    let token = cache.verify(&token(1), now()).unwrap();
    let demand = ProofDemand { method: "POST", uri: URI, token: Some(&token), nonces: None };
    let of = |proof: &str| {
        allocations(|| {
            drop(black_box(verify_proof(proof, &demand, now())));
        })
    };
    let good = proof(&token);
    let limit = of(&good);
    for (what, text) in garbage_proofs(&good, &token) {
        let count = of(&text);
        assert!(count <= limit, "{what} {count}, good {limit}");
    }
}

#[test]
fn a_key_set_allocates_by_its_keys_and_looking_at_revocations_not_at_all() {
    let [few, many] = [4, 64].map(|keys| {
        let jwks = jwks(keys);
        allocations(|| {
            drop(black_box(KeySet::from_jwks(jwks.as_bytes())).unwrap());
        })
    });
    assert!(few <= 4 * KEY_MAX + 10 && many <= 64 * KEY_MAX + 10, "4 keys {few}, 64 keys {many}");
    let (revocations, verified) = (revocations(), cache().verify(&token(1), now()).unwrap());
    let checked = allocations(|| {
        assert!(black_box(revocations.check(&verified)).is_ok());
    });
    assert_eq!(checked, 0);
}

#[test]
#[ignore = "prints times, which mean something in a release build on a quiet machine only"]
#[expect(clippy::print_stdout, reason = "the figures are the point")]
fn print_the_medians() {
    let (cache, revocations) = (cache(), revocations());
    let tokens: Vec<_> = (0..20_000).map(token).collect();
    let each = |work: &mut dyn FnMut(&str)| median_ns(&tokens, work);
    let new = each(&mut |token| drop(black_box(cache.verify(token, now())).unwrap()));
    let seen = each(&mut |token| {
        drop(black_box(cache.verify_unrevoked(token, &revocations, now())).unwrap())
    });
    println!("new token           {new:>8} ns");
    println!("token seen before   {seen:>8} ns, with 20,000 revocations");
    let good = token(1_000_000);
    let one = |text: &str| {
        let repeated = vec![text.to_owned(); 5_000];
        median_ns(&repeated, &mut |token| {
            drop(black_box(cache.verify(token, now())));
        })
    };
    println!("forged signature    {:>8} ns", one(&forged(&good)));
    for (what, text) in garbage(&good) {
        println!("{what:<19} {:>8} ns", one(&text));
    }
    let verified = cache.verify(&good, now()).unwrap();
    let demand = ProofDemand { method: "POST", uri: URI, token: Some(&verified), nonces: None };
    let proofs = vec![proof(&verified); 5_000];
    let proved = median_ns(&proofs, &mut |proof| {
        drop(black_box(verify_proof(proof, &demand, now())).unwrap())
    });
    println!("proof               {proved:>8} ns");
    for (what, text) in garbage_proofs(&proof(&verified), &verified) {
        let garbled = median_ns(&vec![text; 5_000], &mut |proof| {
            drop(black_box(verify_proof(proof, &demand, now())));
        });
        println!("  {what:<17} {garbled:>8} ns");
    }
    for keys in [1, 4, 64] {
        let parsed = median_ns(&vec![jwks(keys); 2_000], &mut |jwks| {
            drop(black_box(KeySet::from_jwks(jwks.as_bytes())).unwrap());
        });
        println!("key set of {keys:<8} {parsed:>8} ns");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this test measures time, and no code under test reads it"
)]
fn median_ns(texts: &[String], work: &mut dyn FnMut(&str)) -> u128 {
    let mut times: Vec<_> = texts
        .iter()
        .map(|text| {
            let start = std::time::Instant::now();
            work(text);
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

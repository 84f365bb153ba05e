//! Foreign tokens: which are exchanged, and for which agent.
//!
//! Not here: the rules that map a subject (`subject::rule`). Invariant: a token of one profile is never taken under
//! another.

use aegis_domain::TenantId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::{GATEWAY, forge, header_and, key, keys_of, now};
use crate::{
    KeySet, Subject, SubjectError, SubjectIssuer, SubjectLimits, SubjectProfile, SubjectRule,
    SubjectVerifier, TokenError,
};

const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
const OIDC: &str = "https://idp.example";

/// A workload's ES384 key, as SPIRE makes them.
struct Workload {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Workload {
    fn new() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P384_SHA384_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    fn bundle(&self, purpose: &str) -> Vec<u8> {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(48);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let ca = json!({ "kty": "EC", "crv": "P-384", "use": "x509-svid", "x": x, "y": y, "x5c": ["MIIB"] });
        let own =
            json!({ "kty": "EC", "crv": "P-384", "use": purpose, "kid": "w1", "x": x, "y": y });
        json!({ "keys": [ca, own], "spiffe_sequence": 1 }).to_string().into_bytes()
    }

    fn sign(&self, payload: &str) -> String {
        let header = r#"{"alg":"ES384","kid":"w1","typ":"JWT"}"#;
        let (header, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signing_input = format!("{header}.{payload}");
        let signature = self.pair.sign(&self.random, signing_input.as_bytes()).unwrap();
        format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn issuer(profile: SubjectProfile, name: &str, keys: KeySet, rule: [&str; 2]) -> SubjectIssuer {
    let tenant = TenantId::parse("acme-eu").unwrap();
    SubjectIssuer {
        profile,
        name: name.to_owned(),
        audiences: vec![GATEWAY.to_owned()],
        keys,
        rules: vec![SubjectRule::parse(rule[0], rule[1], tenant).unwrap()],
    }
}

fn verifier_of(issuers: Vec<SubjectIssuer>) -> SubjectVerifier {
    SubjectVerifier::new(issuers, SubjectLimits::default())
}

/// A verifier of a cluster and an identity provider, both with `key`.
pub(super) fn verifier() -> SubjectVerifier {
    let account = ["system:serviceaccount:{ns}:{name}", "{ns}.{name}"];
    let repository = ["repo:{org}/{name}:ref:refs/heads/main", "{name}"];
    verifier_of(vec![
        issuer(SubjectProfile::Kubernetes, CLUSTER, keys_of(&key()), account),
        issuer(SubjectProfile::Oidc, OIDC, keys_of(&key()), repository),
    ])
}

fn take(payload: &str) -> Result<Subject, SubjectError> {
    verifier().verify(&forge(&header_and(""), payload), now())
}

fn svid(sub: &str, more: &str) -> String {
    format!(r#"{{"sub":"{sub}","aud":["{GATEWAY}"],"exp":1800000300{more}}}"#)
}

fn account(namespace: &str, name: &str) -> String {
    format!(
        r#"{{"iss":"{CLUSTER}","sub":"system:serviceaccount:pay:bot","aud":["{GATEWAY}"],
        "exp":1800003607,"iat":1800000000,"nbf":1800000000,"jti":"k1",
        "kubernetes.io":{{"namespace":"{namespace}","serviceaccount":{{"name":"{name}","uid":"u"}},
        "pod":{{"name":"p","uid":"u"}}}}}}"#
    )
}

#[test]
fn a_jwt_svid_is_taken_with_the_keys_of_its_trust_domain() {
    let workload = Workload::new();
    let keys = KeySet::from_spiffe_bundle(&workload.bundle("jwt-svid")).unwrap();
    let rule = ["spiffe://acme.example/agent/{name}", "{name}"];
    let verifier =
        verifier_of(vec![issuer(SubjectProfile::JwtSvid, "spiffe://acme.example", keys, rule)]);
    let take = |payload: &str| verifier.verify(&workload.sign(payload), now());
    let subject = take(&svid("spiffe://acme.example/agent/bot", "")).unwrap();
    assert_eq!(subject.agent.as_str(), "bot");
    assert_eq!(subject.tenant.as_str(), "acme-eu");
    assert_eq!(subject.subject, "spiffe://acme.example/agent/bot");
    // SPIRE may put its discovery URL in `iss`; it decides nothing.
    assert!(take(&svid("spiffe://acme.example/agent/bot", r#","iss":"https://x""#)).is_ok());
    for (sub, refused) in [
        ("spiffe://acme.example/other/bot", SubjectError::NoRule),
        ("spiffe://acme.example/agent/../bot", SubjectError::SpiffeId),
        ("spiffe://acme.example/agent//bot", SubjectError::SpiffeId),
        ("spiffe://acme.example/agent/b%6ft", SubjectError::SpiffeId),
        ("spiffe://acme.example/", SubjectError::SpiffeId),
        ("spiffe://acme.example", TokenError::IssuerUntrusted.into()),
        ("spiffe://acme.example.evil/agent/bot", TokenError::IssuerUntrusted.into()),
        ("spiffe://evil.example/agent/bot", TokenError::IssuerUntrusted.into()),
        ("bot", TokenError::IssuerUntrusted.into()),
    ] {
        assert_eq!(take(&svid(sub, "")), Err(refused), "{sub}");
    }
}

#[test]
fn a_svid_is_never_signed_with_ed25519() {
    let rule = ["spiffe://acme.example/agent/{name}", "{name}"];
    let domain = issuer(SubjectProfile::JwtSvid, "spiffe://acme.example", keys_of(&key()), rule);
    let token = forge(&header_and(""), &svid("spiffe://acme.example/agent/bot", ""));
    let refused = verifier_of(vec![domain]).verify(&token, now());
    assert_eq!(refused, Err(SubjectError::SvidAlgorithm));
}

#[test]
fn a_spiffe_bundle_gives_only_its_keys_for_tokens() {
    let workload = Workload::new();
    assert!(!KeySet::from_spiffe_bundle(&workload.bundle("jwt-svid")).unwrap().is_empty());
    for other in ["x509-svid", "sig", "wit-svid"] {
        let keys = KeySet::from_spiffe_bundle(&workload.bundle(other)).unwrap();
        assert!(keys.is_empty(), "{other}");
    }
    assert!(KeySet::from_jwks(&workload.bundle("jwt-svid")).unwrap().is_empty());
}

#[test]
fn a_service_account_is_named_twice_and_the_same() {
    let subject = take(&account("pay", "bot")).unwrap();
    assert_eq!(subject.agent.as_str(), "pay.bot");
    assert_eq!(subject.jti.unwrap().as_str(), "k1");
    assert_eq!(take(&account("pay", "admin")), Err(SubjectError::ServiceAccount));
    assert_eq!(take(&account("kube-system", "bot")), Err(SubjectError::ServiceAccount));
    let unbound = account("pay", "bot").replace("kubernetes.io", "kubernetes.not");
    let missing = TokenError::ClaimMissing { claim: "kubernetes.io" };
    assert_eq!(take(&unbound), Err(missing.into()));
    // The token of a Secret, as Kubernetes made them before 1.24, never ends.
    let endless = account("pay", "bot").replace(r#""exp":1800003607,"#, "");
    assert_eq!(take(&endless), Err(TokenError::ClaimMissing { claim: "exp" }.into()));
}

#[test]
fn an_oidc_token_is_for_us_and_dated() {
    let token = |aud: &str, iat: &str| {
        format!(
            r#"{{"iss":"{OIDC}","sub":"repo:acme/pay-bot:ref:refs/heads/main","aud":{aud},"exp":1800000300{iat}}}"#
        )
    };
    let ours = format!("\"{GATEWAY}\"");
    let dated = r#","iat":1800000000"#;
    assert_eq!(take(&token(&ours, dated)).unwrap().agent.as_str(), "pay-bot");
    let undated = take(&token(&ours, ""));
    assert_eq!(undated, Err(TokenError::ClaimMissing { claim: "iat" }.into()));
    let others = take(&token(r#""https://other.example""#, dated));
    assert_eq!(others, Err(TokenError::Audience.into()));
    let bound = take(&token(&ours, r#","iat":1800000000,"cnf":{"jkt":"x"}"#));
    assert_eq!(bound, Err(SubjectError::Bound));
    let delegated = take(&token(&ours, r#","iat":1800000000,"act":{"sub":"x"}"#));
    assert_eq!(delegated, Err(SubjectError::Delegated));
    let branch = token(&ours, dated).replace("heads/main", "heads/evil");
    assert_eq!(take(&branch), Err(SubjectError::NoRule));
    let day = token(&ours, dated).replace("1800000300", "1800086431");
    assert_eq!(take(&day), Err(TokenError::LivesTooLong { ttl_max_s: 86_400 }.into()));
}

#[test]
fn a_token_of_one_profile_is_never_taken_under_another() {
    // Everything a cluster signs, said to be of the identity provider, and the reverse.
    let swapped = account("pay", "bot").replace(CLUSTER, OIDC);
    assert_eq!(take(&swapped), Err(SubjectError::NoRule));
    let oidc = format!(
        r#"{{"iss":"{CLUSTER}","sub":"system:serviceaccount:pay:bot","aud":"{GATEWAY}","exp":1800000300,"iat":1800000000}}"#
    );
    let missing = TokenError::ClaimMissing { claim: "kubernetes.io" };
    assert_eq!(take(&oidc), Err(missing.into()));
    for typ in ["at+jwt", "dpop+jwt", "aegis-att+jwt", "client-authentication+jwt", "JOSE"] {
        let header = header_and(&format!(r#","typ":"{typ}""#));
        let refused = verifier().verify(&forge(&header, &account("pay", "bot")), now());
        assert_eq!(refused, Err(TokenError::TypeUnexpected.into()), "{typ}");
    }
}

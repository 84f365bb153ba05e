//! The kinds of signed text: one of each that verifies, and who takes it.
//!
//! Not here: forgeries (`matrix`). Invariant: each kind differs from a forgery of it in one thing.

use aegis_domain::TenantId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::proofs::{bound_token, demand, proof_header};
use super::super::{GATEWAY, forge, header_and, key, now, verifier_with};
use crate::{
    KeySet, SubjectIssuer, SubjectLimits, SubjectProfile, SubjectRule, SubjectVerifier,
    UnverifiedAssertion, verify_jws, verify_proof,
};

pub(super) type Claims = Vec<(&'static str, String)>;

/// A kind of signed text: one that verifies, and who would take it.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) header: String,
    pub(super) claims: Claims,
    pub(super) dates: &'static [&'static str],
    pub(super) take: fn(&str, &KeySet) -> bool,
}

pub(super) fn texts(claims: &[(&'static str, &str)]) -> Claims {
    claims.iter().map(|(claim, value)| (*claim, (*value).to_owned())).collect()
}

pub(super) const AUD: (&str, &str) = ("aud", r#""https://gw.eu-west-1.example.com""#);
pub(super) const IAT: (&str, &str) = ("iat", "1800000000");
pub(super) const TOKEN: [(&str, &str); 8] = [
    ("iss", r#""https://issuer.example""#),
    AUD,
    ("exp", "1800000300"),
    IAT,
    ("jti", r#""01J9ZK3V5Q""#),
    ("org", r#""acme""#),
    ("tenant", r#""acme-eu""#),
    ("sub", r#""finance-bot""#),
];
pub(super) const ASSERTION: [(&str, &str); 6] = [
    ("iss", r#""acme/bot""#),
    ("sub", r#""acme/bot""#),
    AUD,
    ("exp", "1800000060"),
    IAT,
    ("jti", r#""a1""#),
];
pub(super) const FOREIGN: [(&str, &str); 5] =
    [("iss", r#""https://idp.example""#), ("sub", r#""bot""#), AUD, ("exp", "1800000300"), IAT];
pub(super) const PROOF: [(&str, &str); 4] = [
    ("jti", r#""p1""#),
    ("htm", r#""POST""#),
    ("htu", r#""https://gw.eu-west-1.example.com/payments/v1/charges""#),
    IAT,
];

pub(super) fn kinds() -> Vec<Kind> {
    let mut proof = texts(&PROOF);
    proof.push(("ath", format!("\"{}\"", URL_SAFE_NO_PAD.encode(bound_token(1).digest()))));
    let header = |typ: &str| header_and(&format!(r#","typ":"{typ}""#));
    vec![
        Kind {
            name: "access token",
            header: header("at+jwt"),
            claims: texts(&TOKEN),
            dates: &["exp", "nbf", "iat"],
            take: |text, keys| verifier_with(keys.clone()).verify(text, now()).is_ok(),
        },
        Kind {
            name: "client assertion",
            header: header("JWT"),
            claims: texts(&ASSERTION),
            dates: &["exp", "nbf", "iat"],
            take: |text, keys| {
                let read = UnverifiedAssertion::read(text);
                read.is_ok_and(|assertion| assertion.verify(keys, &[GATEWAY], now()).is_ok())
            },
        },
        Kind {
            name: "proof",
            header: proof_header(""),
            claims: proof,
            dates: &["iat"],
            take: |text, _| verify_proof(text, &demand(Some(&bound_token(1))), now()).is_ok(),
        },
        Kind {
            name: "foreign token",
            header: header("JWT"),
            claims: texts(&FOREIGN),
            dates: &["exp", "nbf", "iat"],
            take: |text, keys| exchange(keys).verify(text, now()).is_ok(),
        },
        Kind {
            name: "attestation",
            header: header("aegis-att+jwt"),
            claims: texts(&TOKEN),
            dates: &[],
            take: |text, keys| verify_jws(text, "aegis-att+jwt", keys).is_ok(),
        },
    ]
}

pub(super) fn exchange(keys: &KeySet) -> SubjectVerifier {
    let tenant = TenantId::parse("acme-eu").unwrap();
    let issuer = SubjectIssuer {
        profile: SubjectProfile::Oidc,
        name: "https://idp.example".to_owned(),
        audiences: vec![GATEWAY.to_owned()],
        keys: keys.clone(),
        rules: vec![SubjectRule::parse("{name}", "{name}", tenant).unwrap()],
    };
    SubjectVerifier::new(vec![issuer], SubjectLimits::default())
}

impl Kind {
    pub(super) fn payload(&self) -> String {
        Self::written(&self.claims)
    }

    pub(super) fn written(claims: &Claims) -> String {
        let members = claims.iter().map(|(claim, value)| format!("\"{claim}\":{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    pub(super) fn with_claim(&self, claim: &'static str, value: Option<&str>) -> String {
        let mut claims = self.claims.clone();
        claims.retain(|(name, _)| *name != claim);
        claims.extend(value.map(|value| (claim, value.to_owned())));
        Self::written(&claims)
    }

    pub(super) fn with_header(&self, more: &str) -> String {
        format!("{},{more}}}", self.header.strip_suffix('}').unwrap())
    }

    pub(super) fn with_alg(&self, alg: &str) -> String {
        self.header.replace(r#""alg":"EdDSA""#, alg)
    }

    pub(super) fn with_kid(&self, kid: &str) -> String {
        match self.name {
            "proof" => self.with_header(&format!("\"kid\":{kid}")),
            _ => self.header.replace(&format!("\"{}\"", key().key_id()), kid),
        }
    }

    pub(super) fn is_proof(&self) -> bool {
        self.name == "proof"
    }

    pub(super) fn has(&self, claim: &str) -> bool {
        self.name != "attestation" && self.claims.iter().any(|(name, _)| *name == claim)
    }

    pub(super) fn good(&self) -> String {
        forge(&self.header, &self.payload())
    }
}

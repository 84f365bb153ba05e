//! Tokens under clocks that are ten minutes off: what the service gives, what a gateway takes, and for how long by a clock
//! that nobody touched.
//!
//! Not here: proofs and their minute (`identity`). Invariant: `true_s` counts on the untouched clock, and each clock is an
//! offset to it.

use aegis_domain::{Jti, KeyId, Ttl};
use aegis_identity::{
    CertificateThumbprint, Claims, Revocations, SigningKey, SubjectLimits, SubjectVerifier,
    TokenCache, TokenLimits, TrustedIssuer, Verifier, mint,
};
use aegis_registry::{
    Action, Actor, AgentKey, AgentName, ClientId, Command, Fingerprint, NewAgent, Origin,
    PublicJwk, Registry, Target,
};
use serde_json::json;

use super::*;
use crate::{FirstUse, Request, Service, World};

const START_S: u64 = 1_800_000_000;
const CERTIFICATE: CertificateThumbprint = CertificateThumbprint::from_bytes([3; 32]);
/// Ten minutes either way, and what is and is not within the skew.
const OFFSETS_S: [i64; 7] = [-600, -31, -30, 0, 30, 31, 600];

fn at(true_s: i64, offset_s: i64) -> Timestamp {
    Timestamp::from_unix_s(START_S.checked_add_signed(true_s + offset_s).unwrap())
}

/// A region with two agents: `bot` by a key, `cert` by a certificate.
struct Region {
    registry: Registry,
    service: Service,
    key: SigningKey,
    bot: SigningKey,
    commands: u64,
}

impl Region {
    fn new(token_ttl_s: u32) -> Self {
        let service = Service {
            issuer: "https://control.example".into(),
            audiences: vec!["https://gw.example".into()],
        };
        let (key, bot) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
        let mut region = Self { registry: Registry::default(), service, key, bot, commands: 0 };
        let jwk = |key: &SigningKey| PublicJwk::parse(&key.public_jwk()).unwrap();
        let (lead, overlap) = (Ttl::from_s(0), Ttl::from_s(0));
        let (signs, proves) = (jwk(&region.key), AgentKey::Jwk(jwk(&region.bot)));
        region.act(Action::AddKey { key: signs, signer: 1, lead, overlap }, at(-7_200, 0));
        for (id, key) in [("bot", proves), ("cert", AgentKey::Certificate(CERTIFICATE))] {
            let known = agent(&BTreeSet::from(["a".to_owned()]), Some(token_ttl_s));
            let new = NewAgent {
                tenant: known.tenant,
                id: AgentId::parse(id).unwrap(),
                org: known.org,
                parent: None,
                scopes: known.scopes,
                groups: known.groups,
                attributes: known.attributes,
                mode: known.mode,
                limits: known.limits,
                key: Some(key),
            };
            region.act(Action::Register { agent: Box::new(new), code: None }, at(-7_200, 0));
        }
        region
    }

    fn act(&mut self, action: Action, now: Timestamp) {
        self.commands += 1;
        let request = Fingerprint::of(b"");
        let origin = Origin { client: ClientId::of(b"test"), serial: self.commands, request };
        let command = Command { origin, by: Actor::parse("test").unwrap(), action };
        self.registry.apply(&command, now).unwrap();
    }

    /// What the service says to a request at its own time.
    fn ask(
        &self,
        form: &str,
        certificate: Option<CertificateThumbprint>,
        now: Timestamp,
    ) -> Result<Claims, Refusal> {
        let request =
            Request { body: form.as_bytes(), proofs: &[], authorization: None, certificate };
        let subjects = SubjectVerifier::new(Vec::new(), SubjectLimits::default());
        let view = self.registry.view();
        let pending = self
            .service
            .judge(&request, &World { view, subjects: &subjects, nonces: None, now })?;
        let answers = vec![FirstUse::Yes; pending.checks().len()];
        Ok(pending.settle(&answers)?.claims(Jti::parse("j").unwrap()))
    }

    /// A token for the agent with the certificate, which says nothing of the time.
    fn token(&self, now: Timestamp) -> String {
        let form = "grant_type=client_credentials&client_id=acme%2Fcert";
        mint(&self.key, &self.ask(form, Some(CERTIFICATE), now).unwrap()).unwrap()
    }

    /// A gateway that remembers what it verified.
    fn gateway(&self) -> TokenCache {
        let keys = self.registry.view().key_set(at(0, 0));
        let issuer = TrustedIssuer {
            issuer: self.service.issuer.clone(),
            audiences: self.service.audiences.clone(),
            keys,
        };
        TokenCache::new(Verifier::new(vec![issuer], TokenLimits::default()), 64)
    }
}

/// The seconds, by the untouched clock, at which a token given at 0 counts for a gateway.
fn counts(region: &Region, issuer_s: i64, gateway_s: impl Fn(i64) -> i64) -> Vec<i64> {
    let (token, gateway) = (region.token(at(0, issuer_s)), region.gateway());
    (0..2_400).filter(|s| gateway.verify(&token, at(*s, gateway_s(*s))).is_ok()).collect()
}

#[test]
fn a_token_counts_for_its_life_and_the_skew_however_far_off_its_issuer_is() {
    for ttl_s in [60_u32, 300, 900] {
        let (region, life) = (Region::new(ttl_s), i64::from(ttl_s));
        for issuer_s in OFFSETS_S {
            let counted = counts(&region, issuer_s, |_| 0);
            // Issued in the future it waits, issued in the past it has less left; both ends move with its clock.
            let (first, end) = ((issuer_s - 30).max(0), life + issuer_s + 30);
            let expected: Vec<_> = (first..end.max(first)).collect();
            assert_eq!(counted, expected, "ttl {ttl_s} issuer {issuer_s}");
            assert!(counted.len() <= 15 * 60 + 60, "the skew on either side, and no more");
            let is_late = counted.last().is_some_and(|last| *last >= life + 30);
            assert!(!is_late || issuer_s > 0, "outlived by an issuer that was not ahead");
        }
    }
}

#[test]
fn a_gateway_that_is_off_takes_a_token_by_its_own_clock_alone() {
    let region = Region::new(900);
    for gateway_s in OFFSETS_S {
        let expected: Vec<_> =
            (0..2_400).filter(|s| (-30..930).contains(&(s + gateway_s))).collect();
        assert_eq!(counts(&region, 0, |_| gateway_s), expected, "gateway {gateway_s}");
    }
}

#[test]
fn a_gateway_that_steps_ends_lives_early_or_late_by_the_step_and_no_more() {
    let region = Region::new(900);
    for step_s in [-600, 600] {
        for stepped_at in [0, 100, 500, 929, 930, 1_200] {
            let counted = counts(&region, 0, |s| if s < stepped_at { 0 } else { step_s });
            let last = counted.last().copied().unwrap_or(-1);
            assert!(last < 930 + (-step_s).max(0), "step {step_s} at {stepped_at}: {last}");
            // There and back again: the step leaves nothing behind, not even in what is remembered.
            let counted = counts(&region, 0, |s| {
                if (stepped_at..stepped_at + 50).contains(&s) { step_s } else { 0 }
            });
            let after = counted.into_iter().filter(|s| *s >= stepped_at + 50);
            assert!(after.eq(stepped_at + 50..930.max(stepped_at + 50)), "{step_s} {stepped_at}");
        }
    }
}

#[test]
fn a_service_that_is_off_believes_no_honest_assertion() {
    let region = Region::new(300);
    let assertion = |s: i64| {
        let (iat, claims_of) = (at(s, 0).unix_s(), "acme/bot");
        let claims = json!({
            "iss": claims_of, "sub": claims_of, "aud": region.service.issuer,
            "jti": format!("a{s}"), "iat": iat, "exp": iat + 60,
        });
        let assertion = region.bot.sign("JWT", claims.to_string().as_bytes());
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        format!(
            "grant_type=client_credentials&client_assertion_type={kind}&client_assertion={assertion}"
        )
    };
    for (service_s, given) in [
        (-600, false),
        (-31, false),
        (-30, true),
        (0, true),
        (30, true),
        (89, true),
        (90, false),
        (600, false),
    ] {
        let answer = region.ask(&assertion(0), None, at(0, service_s));
        assert_eq!(answer.is_ok(), given, "{service_s}: {answer:?}");
        if let Err(refusal) = answer {
            assert_eq!(refusal.error().code(), "invalid_client");
        }
    }
}

#[test]
fn what_was_revoked_stays_revoked_under_every_step() {
    let cert =
        AgentName { tenant: TenantId::parse("acme").unwrap(), id: AgentId::parse("cert").unwrap() };
    let targets = [
        Target::Agent(cert.clone()),
        Target::Tenant(cert.tenant.clone()),
        Target::Token { tenant: cert.tenant, jti: Jti::parse("j").unwrap() },
        Target::Key(KeyId::parse(&CERTIFICATE.to_string()).unwrap()),
    ];
    for target in targets {
        for (issuer_s, revoker_s) in
            OFFSETS_S.iter().flat_map(|issuer| OFFSETS_S.map(|revoker| (*issuer, revoker)))
        {
            let mut region = Region::new(900);
            let claims = |region: &Region| {
                let form = "grant_type=client_credentials&client_id=acme%2Fcert";
                let mut claims = region.ask(form, Some(CERTIFICATE), at(0, issuer_s)).unwrap();
                claims.confirmation = Some(aegis_identity::Confirmation::Certificate(CERTIFICATE));
                claims
            };
            let token = mint(&region.key, &claims(&region)).unwrap();
            let issued = Some(at(0, issuer_s));
            region.act(Action::Revoke { target: target.clone(), issued }, at(60, revoker_s));
            let taken: Revocations = region.registry.view().taken_back().unwrap();
            let gateway = region.gateway();
            for s in (60..2_400).step_by(90) {
                for gateway_s in OFFSETS_S {
                    let now = at(s, gateway_s);
                    let verdict = gateway.verify_unrevoked(&token, &taken, now);
                    assert!(
                        verdict.is_err(),
                        "{target:?} {issuer_s} {revoker_s} {gateway_s} at {s}"
                    );
                }
            }
        }
    }
}

//! What was taken back is refused, also when it is remembered, and nothing else is.
//!
//! Not here: how fast gateways hear of it. Invariant: each token here is genuine and in its time.

use aegis_domain::{AgentId, Jti, Reason, TenantId, Timestamp};

use super::{NOW_S, claims, key, now, verifier};
use crate::{
    CertificateThumbprint, Claims, Confirmation, JwkThumbprint, Revocation, Revocations, RevokedBy,
    SigningKey, TokenCache, TokenError, TokenLimits, VerifiedToken, mint,
};

fn token(change: impl FnOnce(&mut Claims)) -> VerifiedToken {
    let mut claims = claims();
    change(&mut claims);
    verifier().verify(&mint(&key(), &claims).unwrap(), now()).unwrap()
}

fn revoked(revocations: &[Revocation]) -> Revocations {
    let mut all = Revocations::default();
    for one in revocations {
        all.add(one.clone()).unwrap();
    }
    all
}

fn refused(by: RevokedBy) -> Result<(), TokenError> {
    Err(TokenError::Revoked { by })
}

fn tenant() -> TenantId {
    claims().tenant
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_s(s)
}

fn agent(name: &str, s: u64) -> Revocation {
    let agent = AgentId::parse(name).unwrap();
    Revocation::Agent { tenant: tenant(), agent, issued_before: at(s) }
}

#[test]
fn one_token_is_taken_back_and_no_other() {
    let one =
        Revocation::Token { tenant: tenant(), jti: claims().jti, expires_at: claims().expires_at };
    let revocations = revoked(&[one]);
    assert_eq!(revocations.check(&token(|_| {})), refused(RevokedBy::Token));
    assert_eq!(revocations.check(&token(|claims| claims.jti = Jti::parse("2").unwrap())), Ok(()));
    let elsewhere = token(|claims| claims.tenant = TenantId::parse("other").unwrap());
    assert_eq!(revocations.check(&elsewhere), Ok(()));
    assert_eq!(TokenError::Revoked { by: RevokedBy::Token }.reason(), Reason::TokenRevoked);
}

#[test]
fn an_agent_s_tokens_from_before_are_taken_back_and_later_ones_count() {
    let revocations = revoked(&[agent("finance-bot", NOW_S)]);
    let issued =
        |s: Option<u64>| token(|claims| (claims.issued_at, claims.not_before) = (s.map(at), None));
    assert_eq!(revocations.check(&issued(Some(NOW_S - 1))), refused(RevokedBy::Agent));
    assert_eq!(revocations.check(&issued(Some(NOW_S))), Ok(()));
    assert_eq!(revocations.check(&issued(None)), refused(RevokedBy::Agent));
    let other = token(|claims| claims.agent = AgentId::parse("planner").unwrap());
    assert_eq!(revocations.check(&other), Ok(()));
    // The later of two instants counts, in whichever order they come.
    for pair in [[NOW_S + 1, NOW_S - 9], [NOW_S - 9, NOW_S + 1]] {
        let twice = revoked(&pair.map(|s| agent("finance-bot", s)));
        assert_eq!(twice.check(&issued(Some(NOW_S))), refused(RevokedBy::Agent));
    }
}

#[test]
fn what_was_handed_down_ends_with_whoever_handed_it_down() {
    let delegated = token(|claims| {
        claims.acts_for = ["planner", "root"].map(|name| AgentId::parse(name).unwrap()).to_vec();
    });
    for name in ["finance-bot", "planner", "root"] {
        let revocations = revoked(&[agent(name, NOW_S + 1)]);
        assert_eq!(revocations.check(&delegated), refused(RevokedBy::Agent), "{name}");
    }
    assert_eq!(revoked(&[agent("stranger", NOW_S + 1)]).check(&delegated), Ok(()));
}

#[test]
fn a_tenant_s_tokens_from_before_are_taken_back() {
    let before = |s| revoked(&[Revocation::Tenant { tenant: tenant(), issued_before: at(s) }]);
    assert_eq!(before(NOW_S + 1).check(&token(|_| {})), refused(RevokedBy::Tenant));
    assert_eq!(before(NOW_S).check(&token(|_| {})), Ok(()));
}

#[test]
fn a_key_takes_back_what_it_signed_and_what_is_bound_to_it() {
    let signing = revoked(&[Revocation::Key(key().public_key().thumbprint())]);
    assert_eq!(signing.check(&token(|_| {})), refused(RevokedBy::Key));
    let held = JwkThumbprint::from_bytes([1; 32]);
    let holder = revoked(&[Revocation::Key(held)]);
    assert_eq!(holder.check(&token(|_| {})), Ok(()));
    let bound = token(|claims| claims.confirmation = Some(Confirmation::Key(held)));
    assert_eq!(holder.check(&bound), refused(RevokedBy::Key));
    let other = SigningKey::from_seed([8; 32]).public_key().thumbprint();
    assert_eq!(revoked(&[Revocation::Key(other)]).check(&bound), Ok(()));
}

#[test]
fn a_remembered_token_is_refused_as_soon_as_it_is_taken_back() {
    let cache = TokenCache::new(verifier(), 64);
    let text = mint(&key(), &claims()).unwrap();
    let mut revocations = Revocations::default();
    assert!(cache.verify_unrevoked(&text, &revocations, now()).is_ok());
    revocations.add(agent("finance-bot", NOW_S + 1)).unwrap();
    let again = cache.verify_unrevoked(&text, &revocations, now());
    assert_eq!(again.map(|_| ()), refused(RevokedBy::Agent));
}

#[test]
fn a_revocation_is_forgotten_when_nothing_it_stops_could_still_be_valid() {
    let limits = TokenLimits::default();
    let all = [
        Revocation::Token { tenant: tenant(), jti: claims().jti, expires_at: at(NOW_S + 300) },
        agent("finance-bot", NOW_S),
        Revocation::Tenant { tenant: tenant(), issued_before: at(NOW_S) },
        Revocation::Key(JwkThumbprint::from_bytes([1; 32])),
    ];
    let left = |s: u64| {
        let mut revocations = revoked(&all);
        revocations.forget(&limits, at(s));
        all.iter()
            .filter(|one| {
                let mut again = revocations.clone();
                again.add((*one).clone()).unwrap();
                again == revocations
            })
            .count()
    };
    assert_eq!(left(NOW_S + 330), 4);
    assert_eq!(left(NOW_S + 331), 3);
    // A token issued at the last instant before lives for 15 minutes and the skew twice over.
    assert_eq!(left(NOW_S + 960), 3);
    assert_eq!(left(NOW_S + 961), 1);
}

#[test]
fn a_revoked_certificate_stops_what_is_bound_to_it() {
    let certificate = CertificateThumbprint::from_bytes([5; 32]);
    let revocations = revoked(&[Revocation::Key(JwkThumbprint::from_bytes([5; 32]))]);
    let bound = |to: Confirmation| token(|claims| claims.confirmation = Some(to));
    let key = JwkThumbprint::from_bytes([6; 32]);
    for confirmation in
        [Confirmation::Certificate(certificate), Confirmation::Both(key, certificate)]
    {
        assert_eq!(revocations.check(&bound(confirmation)), refused(RevokedBy::Key));
    }
    let other = Confirmation::Certificate(CertificateThumbprint::from_bytes([7; 32]));
    assert_eq!(revocations.check(&bound(other)), Ok(()));
}

//! Which token, proof and certificate together are taken, under which demand, and what is asked of the hot state.
//!
//! Not here: the proof itself (`proofs`). Invariant: no demand of a policy makes a bound token good without its key.

use std::collections::BTreeSet;

use aegis_domain::{Reason, TokenUse};

use super::proofs::{demand, proof_header, proof_payload};
use super::{claims, forge, key, now, verifier};
use crate::{
    Admission, CertificateThumbprint, Challenge, Confirmation, JwkThumbprint, Mode, ModeError,
    Modes, Scheme, Shown, VerifiedProof, VerifiedToken, admit, mint, verify_proof,
};

const OURS: CertificateThumbprint = CertificateThumbprint::from_bytes([1; 32]);
const OTHER: CertificateThumbprint = CertificateThumbprint::from_bytes([2; 32]);

fn own_key() -> JwkThumbprint {
    key().public_key().thumbprint()
}

fn token(confirmation: Option<Confirmation>, token_use: TokenUse) -> VerifiedToken {
    let mut claims = claims();
    (claims.confirmation, claims.token_use) = (confirmation, token_use);
    verifier().verify(&mint(&key(), &claims).unwrap(), now()).unwrap()
}

fn proof_for(token: &VerifiedToken) -> VerifiedProof {
    let proof = forge(&proof_header(""), &proof_payload(Some(token), &[]));
    verify_proof(&proof, &demand(Some(token)), now()).unwrap()
}

fn only(mode: Mode) -> Modes {
    [mode].into_iter().collect()
}

fn taken(token: &VerifiedToken, shown: Shown<'_>) -> Result<Admission, ModeError> {
    admit(token, shown, Modes::ANY)
}

#[test]
fn a_bound_token_is_never_taken_without_its_key_whatever_is_required() {
    let by_key = token(Some(Confirmation::Key(own_key())), TokenUse::Bound);
    let by_certificate = token(Some(Confirmation::Certificate(OURS)), TokenUse::Once);
    let by_both = token(Some(Confirmation::Both(own_key(), OURS)), TokenUse::Bound);
    let proof = proof_for(&by_both);
    let demands = Mode::ALL.into_iter().map(only).chain([Modes::ANY]);
    for required in demands {
        let bare = Shown::default();
        assert_eq!(admit(&by_key, bare, required), Err(ModeError::ProofMissing));
        assert_eq!(admit(&by_certificate, bare, required), Err(ModeError::CertificateMissing));
        let other = Shown { certificate: Some(OTHER), proof: None };
        assert_eq!(admit(&by_key, other, required), Err(ModeError::ProofMissing));
        assert_eq!(admit(&by_certificate, other, required), Err(ModeError::CertificateOther));
        let half = Shown { proof: Some(&proof), certificate: None };
        assert_eq!(admit(&by_both, half, required), Err(ModeError::CertificateMissing));
        let half = Shown { proof: None, certificate: Some(OURS) };
        assert_eq!(admit(&by_both, half, required), Err(ModeError::ProofMissing));
    }
    let whole = Shown { proof: Some(&proof), certificate: Some(OURS) };
    assert!(taken(&by_both, whole).is_ok());
}

#[test]
fn a_proof_for_another_token_or_an_unbound_one_is_refused() {
    let one = token(Some(Confirmation::Key(own_key())), TokenUse::Bound);
    let two = token(Some(Confirmation::Key(own_key())), TokenUse::Once);
    let proof = proof_for(&one);
    let shown = Shown { proof: Some(&proof), certificate: None };
    assert!(taken(&one, shown).is_ok());
    assert_eq!(taken(&two, shown), Err(ModeError::ProofOther));
    let unbound = token(None, TokenUse::Bound);
    assert_eq!(taken(&unbound, shown), Err(ModeError::ProofOther));
    // A proof made for the token endpoint goes with no token at all.
    let text = forge(&proof_header(""), &proof_payload(None, &[]));
    let loose = verify_proof(&text, &demand(None), now()).unwrap();
    let shown = Shown { proof: Some(&loose), certificate: None };
    assert_eq!(taken(&one, shown), Err(ModeError::ProofOther));
}

#[test]
fn each_use_counts_as_the_modes_it_is_guarded_by() {
    let key = Some(Confirmation::Key(own_key()));
    let certificate = Some(Confirmation::Certificate(OURS));
    let modes = |confirmation: Option<Confirmation>, token_use, certificate| {
        let token = token(confirmation, token_use);
        let proof = confirmation.and_then(|cnf| cnf.key()).map(|_| proof_for(&token));
        let shown = Shown { proof: proof.as_ref(), certificate };
        taken(&token, shown).unwrap().modes.to_string()
    };
    assert_eq!(modes(None, TokenUse::Bound, None), "bound");
    assert_eq!(modes(None, TokenUse::Once, None), "bound or once");
    assert_eq!(modes(key, TokenUse::Bound, None), "bound or once or proof");
    assert_eq!(modes(certificate, TokenUse::Bound, Some(OURS)), "bound or mtls");
    // A certificate that the token does not name is no proof that the token is its holder's.
    assert_eq!(modes(None, TokenUse::Bound, Some(OURS)), "bound");
}

#[test]
fn a_policy_is_met_by_one_of_the_modes_it_names() {
    let plain = token(None, TokenUse::Bound);
    for mode in [Mode::Once, Mode::Proof, Mode::Mtls] {
        let required = only(mode);
        let refused = admit(&plain, Shown::default(), required);
        assert_eq!(refused, Err(ModeError::TooWeak { required }), "{mode:?}");
    }
    assert!(admit(&plain, Shown::default(), only(Mode::Bound)).is_ok());
    let once = token(None, TokenUse::Once);
    assert!(admit(&once, Shown::default(), only(Mode::Once)).is_ok());
    let either: Modes = [Mode::Proof, Mode::Mtls].into_iter().collect();
    let held = token(Some(Confirmation::Certificate(OURS)), TokenUse::Bound);
    let shown = Shown { certificate: Some(OURS), proof: None };
    assert!(admit(&held, shown, either).is_ok());
    assert!(admit(&held, shown, only(Mode::Proof)).is_err());
    assert!(admit(&once, Shown::default(), either).is_err());
    assert!(admit(&plain, Shown::default(), [].into_iter().collect()).is_err());
}

#[test]
fn the_hot_state_is_asked_one_question_for_each_use() {
    let replay = |token: &VerifiedToken, shown| taken(token, shown).unwrap().replay;
    let plain = token(None, TokenUse::Bound);
    let bare = replay(&plain, Shown::default());
    assert_eq!((bare.jti.as_str(), bare.token_use), ("01J9ZK3V5Q", TokenUse::Bound));
    assert_eq!((bare.binding, bare.expires_at), (None, claims().expires_at));
    let [ours, other] = [OURS, OTHER]
        .map(|one| replay(&plain, Shown { certificate: Some(one), proof: None }).binding);
    assert!(ours.is_some() && ours != other);

    let bound = token(Some(Confirmation::Key(own_key())), TokenUse::Bound);
    let proof = proof_for(&bound);
    let shown = Shown { proof: Some(&proof), certificate: None };
    assert_eq!(replay(&bound, shown), *proof.replay());
    let once = token(Some(Confirmation::Key(own_key())), TokenUse::Once);
    let proof = proof_for(&once);
    let shown = Shown { proof: Some(&proof), certificate: None };
    let asked = replay(&once, shown);
    assert_eq!((asked.jti.as_str(), asked.token_use), ("01J9ZK3V5Q", TokenUse::Once));
}

#[test]
fn a_refused_caller_learns_which_credential_to_bring_and_no_more() {
    let told = |reason, tried| {
        let texts = Challenge::of(reason, tried).into_iter().map(|one| one.to_string());
        texts.collect::<Vec<_>>()
    };
    let algs = r#"algs="Ed25519 EdDSA ES256 ES384 PS256 RS256""#;
    let dpop = |error: &str| vec![format!(r#"DPoP realm="aegis", error="{error}", {algs}"#)];
    let bare = [r#"Bearer realm="aegis""#.to_owned(), format!(r#"DPoP realm="aegis", {algs}"#)];
    assert_eq!(told(Reason::TokenMissing, Scheme::Bearer), bare);
    let invalid = [r#"Bearer realm="aegis", error="invalid_token""#];
    for reason in [Reason::TokenSignature, Reason::TokenRevoked, Reason::CertificateMismatch] {
        assert_eq!(told(reason, Scheme::Bearer), invalid, "{reason:?}");
        assert_eq!(told(reason, Scheme::Dpop), dpop("invalid_token"), "{reason:?}");
    }
    assert_eq!(told(Reason::ProofMissing, Scheme::Bearer), dpop("invalid_token"));
    assert_eq!(told(Reason::ProofInvalid, Scheme::Dpop), dpop("invalid_dpop_proof"));
    assert_eq!(told(Reason::ProofNonce, Scheme::Dpop), dpop("use_dpop_nonce"));
    for reason in [Reason::PolicyDenied, Reason::AgentUnknown, Reason::Allowed] {
        assert!(told(reason, Scheme::Bearer).is_empty(), "{reason:?}");
    }
}

#[test]
fn no_challenge_tells_one_cause_from_another_and_each_can_name_the_metadata() {
    let url = "https://gw/.well-known/oauth-protected-resource";
    let mut texts = BTreeSet::new();
    for reason in Reason::ALL {
        for challenge in Challenge::of(*reason, Scheme::Bearer) {
            let text = challenge.with_metadata(url).to_string();
            assert!(!text.contains(reason.code()), "{text}");
            assert!(text.ends_with(&format!(", resource_metadata=\"{url}\"")), "{text}");
            texts.insert(text);
        }
    }
    // Bare in two schemes; a token that does not count; a proof that is missing, does not count, or lacks a nonce.
    assert_eq!(texts.len(), 6, "{texts:#?}");
}

#[test]
fn a_challenge_names_scopes_and_metadata_and_cannot_be_broken_out_of() {
    let scope = BTreeSet::from(["a".to_owned(), "b\",error=\"x\\\r\n".to_owned()]);
    let challenge = Challenge::insufficient_scope(Scheme::Bearer, scope)
        .with_metadata("https://gw/.well-known/oauth-protected-resource");
    let expected = "Bearer realm=\"aegis\", error=\"insufficient_scope\", scope=\"a b,error=x\", \
                    resource_metadata=\"https://gw/.well-known/oauth-protected-resource\"";
    assert_eq!(challenge.to_string(), expected);
    assert_eq!(Scheme::parse("dpop"), Some(Scheme::Dpop));
    assert_eq!(Scheme::parse("BEARER"), Some(Scheme::Bearer));
    assert_eq!(Scheme::parse("Basic"), None);
    for mode in Mode::ALL {
        assert_eq!(Mode::parse(mode.as_str()), Some(mode));
    }
    assert_eq!(Mode::parse("Proof"), None);
}

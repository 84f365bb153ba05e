//! DPoP proofs: what they must be a proof of, and for how long.
//!
//! Not here: forged headers (`matrix`). Invariant: every proof here is signed with the key it brings.

use aegis_domain::{Secret, Timestamp, TokenUse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{NOW_S, SEED, claims, forge, key, now, verifier};
use crate::{
    Confirmation, JwkThumbprint, KeyError, Nonces, ProofDemand, ProofError, SigningKey, TokenError,
    VerifiedProof, VerifiedToken, mint, verify_proof,
};

const URI: &str = "https://gw.eu-west-1.example.com/payments/v1/charges";

/// A token bound to `key`, which is also the key that `forge` signs with.
pub(super) fn bound_token(number: u32) -> VerifiedToken {
    let mut bound = claims();
    bound.jti = aegis_domain::Jti::parse(&number.to_string()).unwrap();
    bound.confirmation = Some(Confirmation::Key(key().public_key().thumbprint()));
    verifier().verify(&mint(&key(), &bound).unwrap(), now()).unwrap()
}

pub(super) fn demand(token: Option<&VerifiedToken>) -> ProofDemand<'_> {
    ProofDemand { method: "POST", uri: URI, token, nonces: None }
}

/// The header of a proof by the key of `forge`, with more members appended.
pub(super) fn proof_header(more: &str) -> String {
    let jwk = SigningKey::from_seed(SEED).public_jwk();
    let x = &jwk["x"];
    format!(
        r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":{x}}}{more}}}"#
    )
}

/// The payload of a proof for `demand(token)`, with claims changed or taken out.
pub(super) fn proof_payload(
    token: Option<&VerifiedToken>,
    changes: &[(&str, Option<&str>)],
) -> String {
    let ath = token.map(|token| format!("\"{}\"", URL_SAFE_NO_PAD.encode(token.digest())));
    let mut members = vec![
        ("jti".to_owned(), r#""p1""#.to_owned()),
        ("htm".to_owned(), r#""POST""#.to_owned()),
        ("htu".to_owned(), format!("\"{URI}\"")),
        ("iat".to_owned(), NOW_S.to_string()),
    ];
    members.extend(ath.map(|ath| ("ath".to_owned(), ath)));
    for (claim, value) in changes {
        members.retain(|(name, _)| name != claim);
        members.extend(value.map(|value| ((*claim).to_owned(), value.to_owned())));
    }
    let members: Vec<_> =
        members.iter().map(|(claim, value)| format!("\"{claim}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn prove(changes: &[(&str, Option<&str>)]) -> Result<VerifiedProof, ProofError> {
    let token = bound_token(1);
    let proof = forge(&proof_header(""), &proof_payload(Some(&token), changes));
    verify_proof(&proof, &demand(Some(&token)), now())
}

fn refusal(claim: &str, value: &str) -> ProofError {
    prove(&[(claim, Some(value))]).unwrap_err()
}

#[test]
fn the_proofs_of_rfc_9449_verify() {
    let key = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpD\
               a0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
    // §4.1, for the token endpoint.
    let proof = format!(
        "{key}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwi\
         aWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    );
    let demand = ProofDemand { uri: "https://server.example.com/token", ..demand(None) };
    let at = Timestamp::from_unix_s(1_562_262_616);
    let verified = verify_proof(&proof, &demand, at).unwrap();
    // §6.1 names this key.
    assert_eq!(verified.key().to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    // §7.1 goes with a token that is no JWT, so it is refused for that alone.
    let get = ProofDemand {
        method: "GET",
        uri: "https://resource.example.org/protectedresource",
        ..demand
    };
    let proof = format!(
        "{key}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0\
         ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35\
         yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    );
    assert!(verify_proof(&proof, &get, at).is_ok());
    let bound = bound_token(1);
    let with_token = ProofDemand { token: Some(&bound), ..get };
    assert_eq!(verify_proof(&proof, &with_token, at), Err(ProofError::OtherKey));
}

#[test]
fn a_proof_is_for_one_key_and_is_remembered_until_nobody_takes_it() {
    let proof = prove(&[]).unwrap();
    assert_eq!(proof.key(), key().public_key().thumbprint());
    assert_eq!(proof.replay().token_use, TokenUse::Once);
    assert_eq!(proof.replay().expires_at, Timestamp::from_unix_s(NOW_S + 60 + 30));
    assert_eq!(proof, prove(&[]).unwrap());
    let other = prove(&[("jti", Some(r#""p2""#))]).unwrap();
    assert_ne!(proof.replay().jti, other.replay().jti);
}

#[test]
fn a_proof_is_for_the_method_and_uri_of_its_request() {
    for method in ["GET", "post", "POST ", "", "PUT"] {
        assert_eq!(refusal("htm", &format!("\"{method}\"")), ProofError::Method, "{method}");
    }
    for same in [
        "https://gw.eu-west-1.example.com/payments/v1/charges?x=1#y",
        "HTTPS://GW.eu-west-1.example.com:443/payments/v1/./charges",
        "https://gw.eu-west-1.example.com/payments/v1/%63harges",
    ] {
        assert!(prove(&[("htu", Some(&format!("\"{same}\"")))]).is_ok(), "{same}");
    }
    for other in [
        "http://gw.eu-west-1.example.com/payments/v1/charges",
        "https://gw.eu-west-1.example.com/payments/v1/charges/",
        "https://gw.eu-west-1.example.com/payments/v1/Charges",
        "https://gw.eu-west-1.example.com/payments/v1",
        "https://gw.eu-west-1.example.com:8443/payments/v1/charges",
        "https://evil.example/payments/v1/charges",
        "https://gw.eu-west-1.example.com@evil.example/payments/v1/charges",
        "/payments/v1/charges",
        "",
    ] {
        assert_eq!(refusal("htu", &format!("\"{other}\"")), ProofError::Uri, "{other}");
    }
}

#[test]
fn a_proof_goes_with_one_token() {
    let (one, two) = (bound_token(1), bound_token(2));
    let proof = forge(&proof_header(""), &proof_payload(Some(&one), &[]));
    assert!(verify_proof(&proof, &demand(Some(&one)), now()).is_ok());
    let other = verify_proof(&proof, &demand(Some(&two)), now());
    assert_eq!(other, Err(ProofError::OtherToken));
    for bad in [r#""""#, r#""AAAA""#, r#""47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU""#] {
        assert_eq!(refusal("ath", bad), ProofError::OtherToken, "{bad}");
    }
    let without = prove(&[("ath", None)]).unwrap_err();
    assert_eq!(without, ProofError::Claim(TokenError::ClaimMissing { claim: "ath" }));
}

#[test]
fn a_token_is_proved_with_the_key_it_names() {
    let mut other = claims();
    other.confirmation = Some(Confirmation::Key(JwkThumbprint::from_bytes([1; 32])));
    let other = verifier().verify(&mint(&key(), &other).unwrap(), now()).unwrap();
    let proof = forge(&proof_header(""), &proof_payload(Some(&other), &[]));
    assert_eq!(verify_proof(&proof, &demand(Some(&other)), now()), Err(ProofError::OtherKey));
    let unbound = verifier().verify(&mint(&key(), &claims()).unwrap(), now()).unwrap();
    let proof = forge(&proof_header(""), &proof_payload(Some(&unbound), &[]));
    let refused = verify_proof(&proof, &demand(Some(&unbound)), now());
    assert_eq!(refused, Err(ProofError::TokenUnbound));
}

#[test]
fn a_proof_counts_for_a_minute_to_the_nanosecond() {
    let proof = forge(&proof_header(""), &proof_payload(None, &[]));
    let at = |ns: u64| verify_proof(&proof, &demand(None), Timestamp::from_unix_ns(ns)).map(|_| ());
    let (start, end) = ((NOW_S - 30) * 1_000_000_000, (NOW_S + 90) * 1_000_000_000);
    assert_eq!((at(start), at(end - 1)), (Ok(()), Ok(())));
    assert_eq!(at(start - 1), Err(ProofError::InFuture { ahead_s: 30 }));
    assert_eq!(at(end), Err(ProofError::TooOld { age_s: 90 }));
}

#[test]
fn claims_of_a_proof_are_of_their_type() {
    for claim in ["htm", "htu", "ath", "iat", "jti"] {
        let missing = prove(&[(claim, None)]).unwrap_err();
        assert_eq!(missing, ProofError::Claim(TokenError::ClaimMissing { claim }), "{claim}");
        for bad in ["null", "[]", "{}", "true"] {
            let refused = ProofError::Claim(TokenError::ClaimMalformed { claim });
            assert_eq!(refusal(claim, bad), refused, "{claim} {bad}");
        }
    }
    let long = format!("\"{}\"", "a".repeat(129));
    for bad in [r#""""#, r#""a b""#, &long] {
        let refused = ProofError::Claim(TokenError::ClaimMalformed { claim: "jti" });
        assert_eq!(refusal("jti", bad), refused, "{bad}");
    }
}

#[test]
fn a_nonce_is_asked_for_only_where_one_is_demanded() {
    let nonces = Nonces::new(&Secret::new([1; 32]), None);
    let given = format!("\"{}\"", nonces.issue(now()));
    let with = |nonce: Option<&str>, nonces: Option<&Nonces>| {
        let proof = forge(&proof_header(""), &proof_payload(None, &[("nonce", nonce)]));
        verify_proof(&proof, &ProofDemand { nonces, ..demand(None) }, now()).map(|_| ())
    };
    assert_eq!(with(Some(&given), Some(&nonces)), Ok(()));
    assert_eq!(with(None, Some(&nonces)), Err(ProofError::NonceMissing));
    for bad in [r#""""#, r#""x""#, &given.replace('A', "B")] {
        assert_eq!(with(Some(bad), Some(&nonces)), Err(ProofError::NonceUnknown), "{bad}");
    }
    let other = Nonces::new(&Secret::new([2; 32]), None);
    assert_eq!(with(Some(&given), Some(&other)), Err(ProofError::NonceUnknown));
    assert_eq!(with(None, None), Ok(()));
    assert_eq!(with(Some(r#""left over""#), None), Ok(()));
}

#[test]
fn a_proof_brings_a_public_key_of_its_algorithm() {
    let with_jwk = |jwk: &str, alg: &str| {
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"{alg}","jwk":{jwk}}}"#);
        verify_proof(&forge(&header, &proof_payload(None, &[])), &demand(None), now()).unwrap_err()
    };
    let own = key().public_jwk();
    let x = own["x"].as_str().unwrap();
    let okp = |more: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}"#);
    let malformed = |name| ProofError::Key(KeyError::MemberMalformed { name });
    for (jwk, alg, refused) in [
        (okp(r#","d":"AA""#), "EdDSA", ProofError::Key(KeyError::Private)),
        (r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(), "EdDSA", ProofError::Key(KeyError::Private)),
        (okp(r#","alg":"RS256""#), "EdDSA", ProofError::Key(KeyError::Unsupported)),
        (okp(r#","use":"enc""#), "EdDSA", ProofError::Key(KeyError::Unsupported)),
        (okp(r#","key_ops":["sign"]"#), "EdDSA", ProofError::Key(KeyError::Unsupported)),
        (okp(""), "ES256", ProofError::Key(KeyError::Unsupported)),
        (okp(""), "RS256", ProofError::Key(KeyError::Unsupported)),
        (okp(""), "HS256", ProofError::Text(TokenError::AlgorithmUnsupported)),
        (okp(""), "none", ProofError::Text(TokenError::AlgorithmUnsupported)),
        ("null".to_owned(), "EdDSA", ProofError::Key(KeyError::NotAnObject)),
        ("[]".to_owned(), "EdDSA", ProofError::Key(KeyError::NotAnObject)),
        ("{}".to_owned(), "EdDSA", ProofError::Key(KeyError::MemberMissing { name: "kty" })),
        (r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#.to_owned(), "EdDSA", malformed("x")),
        (
            r#"{"kty":"RSA","n":"_w","e":"AQAB"}"#.to_owned(),
            "PS256",
            ProofError::Key(KeyError::RsaSize { bits: 8 }),
        ),
    ] {
        assert_eq!(with_jwk(&jwk, alg), refused, "{jwk} {alg}");
    }
    let other = SigningKey::from_seed([8; 32]).public_jwk();
    assert_eq!(with_jwk(&other.to_string(), "EdDSA"), ProofError::Signature);
    let header = r#"{"typ":"dpop+jwt","alg":"EdDSA"}"#;
    let without = verify_proof(&forge(header, "{}"), &demand(None), now());
    assert_eq!(without, Err(ProofError::Text(TokenError::HeaderMissing { name: "jwk" })));
}

#[test]
fn a_proof_for_the_token_endpoint_goes_with_no_token() {
    let token = bound_token(1);
    let proof = forge(&proof_header(""), &proof_payload(None, &[]));
    assert!(verify_proof(&proof, &demand(None), now()).is_ok());
    let refused = verify_proof(&proof, &demand(Some(&token)), now());
    assert_eq!(refused, Err(ProofError::Claim(TokenError::ClaimMissing { claim: "ath" })));
    let long = forge(&proof_header(""), &format!("\"{}\"", "a".repeat(4_096)));
    let refused = verify_proof(&long, &demand(None), now());
    assert_eq!(refused, Err(ProofError::Text(TokenError::TooLong { bytes_max: 3_072 })));
}

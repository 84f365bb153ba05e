//! What each claim may be.
//!
//! Not here: signatures and headers (`attacks`). Invariant: every payload here is properly signed.

use aegis_domain::{AgentId, Reason, Timestamp, TokenUse, Ttl};

use super::{GATEWAY, NOW_S, claims, forge, header_and, payload_but, read, verifier};
use crate::{CertificateThumbprint, Confirmation, JwkThumbprint, TokenError};

const fn missing(claim: &'static str) -> TokenError {
    TokenError::ClaimMissing { claim }
}

const fn malformed(claim: &'static str) -> TokenError {
    TokenError::ClaimMalformed { claim }
}

fn refusal_with(claim: &str, value: &str) -> TokenError {
    read(&payload_but(&[(claim, Some(value))])).unwrap_err()
}

fn verdict_at(now: Timestamp, changes: &[(&str, Option<&str>)]) -> Result<(), TokenError> {
    let token = forge(&header_and(""), &payload_but(changes));
    verifier().verify(&token, now).map(|_| ())
}

#[test]
fn required_claims_are_required() {
    for claim in ["iss", "aud", "exp", "jti", "org", "tenant"] {
        assert_eq!(read(&payload_but(&[(claim, None)])), Err(missing(claim)), "{claim}");
    }
    assert_eq!(read(&payload_but(&[("agent_id", None)])), Err(missing("sub")));
    for claim in ["nbf", "iat", "parent_agent_id", "scope"] {
        assert!(read(&payload_but(&[(claim, None)])).is_ok(), "{claim}");
    }
}

#[test]
fn texts_are_texts() {
    let texts =
        ["iss", "jti", "org", "tenant", "agent_id", "sub", "parent_agent_id", "scope", "use"];
    for claim in texts {
        for value in ["null", "7", "[]", "{}", "true", r#"["acme"]"#] {
            assert_eq!(refusal_with(claim, value), malformed(claim), "{claim} {value}");
        }
    }
}

#[test]
fn ids_are_ids() {
    for (claim, value) in [
        ("org", r#""Acme""#),
        ("org", r#""""#),
        ("tenant", r#""acme/../evil""#),
        ("tenant", r#""acme\u0000""#),
        ("agent_id", r#""finance bot""#),
        ("agent_id", r#""""#),
        ("parent_agent_id", r#""""#),
        ("jti", r#""""#),
        ("jti", r#""a b""#),
        ("jti", r#""\r\nDEL x""#),
    ] {
        assert_eq!(refusal_with(claim, value), malformed(claim), "{claim} {value}");
    }
    let long = format!("\"{}\"", "a".repeat(129));
    assert_eq!(refusal_with("jti", &long), malformed("jti"));
}

#[test]
fn an_agent_has_one_name() {
    let by_sub = payload_but(&[("agent_id", None), ("sub", Some(r#""finance-bot""#))]);
    assert_eq!(read(&by_sub), Ok(claims()));
    let by_both = payload_but(&[("sub", Some(r#""finance-bot""#))]);
    assert_eq!(read(&by_both), Ok(claims()));
    let disagree = TokenError::ClaimsDisagree { first: "agent_id", second: "sub" };
    assert_eq!(refusal_with("sub", r#""planner""#), disagree);
    assert_eq!(refusal_with("sub", r#""""#), disagree);
}

#[test]
fn an_audience_is_one_of_ours_alone_or_among_others() {
    let aud =
        |value: &str| read(&payload_but(&[("aud", Some(value))])).map(|claims| claims.audience);
    assert_eq!(aud(r#"["x","https://gw.example.com"]"#).unwrap(), ["x", "https://gw.example.com"]);
    assert_eq!(aud(&format!("[\"{GATEWAY}\"]")).unwrap(), [GATEWAY]);
    for other in ["[]", r#""""#, r#""https://gw.example.com/""#, r#"["HTTPS://GW.EXAMPLE.COM"]"#] {
        assert_eq!(aud(other), Err(TokenError::Audience), "{other}");
    }
    for bad in
        ["7", "null", "{}", r#"["https://gw.example.com",7]"#, r#"[["https://gw.example.com"]]"#]
    {
        assert_eq!(aud(bad), Err(malformed("aud")), "{bad}");
    }
}

#[test]
fn dates_are_whole_seconds_within_range() {
    for claim in ["exp", "nbf", "iat"] {
        for bad in [
            r#""1800000000""#,
            r#""NaN""#,
            "null",
            "[1800000000]",
            "true",
            "-1",
            "-1.0",
            "1800000000.5",
            "1e308",
            "9007199254740993",
            "18446744073709551616",
            "18446744074",
        ] {
            assert_eq!(refusal_with(claim, bad), malformed(claim), "{claim} {bad}");
        }
        let float = if claim == "exp" { "1.8000003e9" } else { "1800000000.0" };
        assert_eq!(read(&payload_but(&[(claim, Some(float))])), Ok(claims()), "{claim}");
    }
}

#[test]
fn a_token_expires_at_exp_plus_skew_to_the_nanosecond() {
    let end = Timestamp::from_unix_s(NOW_S + 300 + 30);
    let last = Timestamp::from_unix_ns(end.unix_ns() - 1);
    assert_eq!(verdict_at(last, &[]), Ok(()));
    assert_eq!(verdict_at(end, &[]), Err(TokenError::Expired { ago_s: 30 }));
    let later = end.plus(Ttl::from_s(3_600));
    assert_eq!(verdict_at(later, &[]), Err(TokenError::Expired { ago_s: 3_630 }));
    assert!(matches!(refusal_with("exp", "0"), TokenError::Expired { .. }));
}

#[test]
fn a_token_begins_at_nbf_minus_skew_to_the_nanosecond() {
    let first = Timestamp::from_unix_s(NOW_S - 30);
    let before = Timestamp::from_unix_ns(first.unix_ns() - 1);
    assert_eq!(verdict_at(first, &[]), Ok(()));
    assert_eq!(verdict_at(before, &[]), Err(TokenError::NotYetValid { wait_s: 30 }));
    let no_nbf = [("nbf", None)];
    assert_eq!(verdict_at(first, &no_nbf), Ok(()));
    assert_eq!(verdict_at(before, &no_nbf), Err(TokenError::IssuedInFuture { ahead_s: 30 }));
}

#[test]
fn a_token_lives_no_longer_than_the_limit_with_or_without_iat() {
    let now = Timestamp::from_unix_s(NOW_S);
    let too_long = Err(TokenError::LivesTooLong { ttl_max_s: 900 });
    for iat in [Some("1800000000"), None] {
        assert_eq!(verdict_at(now, &[("iat", iat), ("exp", Some("1800000930"))]), Ok(()));
        assert_eq!(verdict_at(now, &[("iat", iat), ("exp", Some("1800000931"))]), too_long);
        assert_eq!(verdict_at(now, &[("iat", iat), ("exp", Some("18446744073"))]), too_long);
    }
    // A token issued long ago with a far end does not become good shortly before that end.
    let old = [("iat", Some("1799990000")), ("nbf", None)];
    assert_eq!(verdict_at(now, &old), too_long);
}

#[test]
fn scopes_are_read_from_text_or_array() {
    let array =
        payload_but(&[("scope", None), ("scopes", Some(r#"["payments.read","payments.create"]"#))]);
    assert_eq!(read(&array), Ok(claims()));
    let both = payload_but(&[("scopes", Some(r#"["payments.read","payments.create"]"#))]);
    assert_eq!(read(&both), Ok(claims()));
    let disagree = TokenError::ClaimsDisagree { first: "scope", second: "scopes" };
    assert_eq!(refusal_with("scopes", r#"["admin"]"#), disagree);
    let none = read(&payload_but(&[("scope", Some(r#""""#))])).unwrap();
    assert!(none.scopes.is_empty());
}

#[test]
fn scopes_are_bounded_and_of_one_alphabet() {
    for bad in [
        r#"" a""#,
        r#""a ""#,
        r#""a  b""#,
        r#""a\tb""#,
        r#""\"""#,
        r#""\\""#,
        r#""ü""#,
        r#""a\u0000""#,
    ] {
        assert_eq!(refusal_with("scope", bad), malformed("scope"), "{bad}");
    }
    for bad in [r#"["a b"]"#, r#"[""]"#, "[7]", r#""a""#, "{}", "null", r#"[["a"]]"#] {
        let payload = payload_but(&[("scope", None), ("scopes", Some(bad))]);
        assert_eq!(read(&payload), Err(malformed("scopes")), "{bad}");
    }
    let many = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("s{number}")).collect();
        read(&payload_but(&[("scope", Some(&format!("\"{}\"", names.join(" "))))]))
    };
    assert_eq!(many(64).unwrap().scopes.len(), 64);
    assert_eq!(many(65), Err(malformed("scope")));
    let long = |length: usize| {
        read(&payload_but(&[("scope", Some(&format!("\"{}\"", "a".repeat(length))))]))
    };
    assert!(long(128).is_ok());
    assert_eq!(long(129), Err(malformed("scope")));
}

#[test]
fn a_token_is_bound_unless_it_says_once() {
    let token_use =
        |value: Option<&str>| read(&payload_but(&[("use", value)])).map(|claims| claims.token_use);
    assert_eq!(token_use(None), Ok(TokenUse::Bound));
    assert_eq!(token_use(Some(r#""bound""#)), Ok(TokenUse::Bound));
    assert_eq!(token_use(Some(r#""once""#)), Ok(TokenUse::Once));
    for bad in [r#""""#, r#""ONCE""#, r#""twice""#] {
        assert_eq!(token_use(Some(bad)), Err(malformed("use")), "{bad}");
    }
}

#[test]
fn a_confirmation_that_nobody_could_ask_for_is_no_absent_one() {
    let cnf =
        |value: &str| read(&payload_but(&[("cnf", Some(value))])).map(|claims| claims.confirmation);
    let (jkt, x5t) = (
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
    );
    let (key, certificate) =
        (JwkThumbprint::parse(jkt).unwrap(), CertificateThumbprint::parse(x5t).unwrap());
    let both = format!(r#"{{"jkt":"{jkt}","x5t#S256":"{x5t}","kid":"x"}}"#);
    assert_eq!(cnf(&both), Ok(Some(Confirmation::Both(key, certificate))));
    assert_eq!(cnf(&format!(r#"{{"jkt":"{jkt}"}}"#)), Ok(Some(Confirmation::Key(key))));
    let by_certificate = format!(r#"{{"x5t#S256":"{x5t}"}}"#);
    assert_eq!(cnf(&by_certificate), Ok(Some(Confirmation::Certificate(certificate))));
    for bad in [
        "{}",
        "null",
        "[]",
        r#""x""#,
        r#"{"jwk":{"kty":"OKP"}}"#,
        r#"{"kid":"x"}"#,
        r#"{"jkt":null}"#,
        r#"{"jkt":7}"#,
        r#"{"jkt":""}"#,
        r#"{"JKT":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}"#,
        r#"{"jkt":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xt"}"#,
        r#"{"jkt":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs="}"#,
        r#"{"jkt":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs","x5t#S256":"AA"}"#,
    ] {
        assert_eq!(cnf(bad), Err(malformed("cnf")), "{bad}");
    }
}

#[test]
fn the_outermost_actor_calls_and_the_subject_is_whom_it_acts_for() {
    let delegated = |act: &str, more: &[(&'static str, Option<&str>)]| {
        let mut changes = vec![("agent_id", None), ("parent_agent_id", None)];
        changes.extend([("sub", Some(r#""root""#)), ("act", Some(act))]);
        changes.extend_from_slice(more);
        read(&payload_but(&changes))
    };
    let names = |ids: &[AgentId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let one = delegated(r#"{"sub":"bot"}"#, &[]).unwrap();
    assert_eq!((one.agent.as_str(), names(&one.acts_for)), ("bot", vec!["root".to_owned()]));
    let two = delegated(r#"{"sub":"bot","act":{"sub":"planner"}}"#, &[]).unwrap();
    assert_eq!(names(&two.acts_for), ["planner", "root"]);
    assert_eq!(two.parent_agent.as_ref().map(AgentId::as_str), Some("planner"));
    let agrees = [("agent_id", Some(r#""bot""#)), ("parent_agent_id", Some(r#""planner""#))];
    assert_eq!(delegated(r#"{"sub":"bot","act":{"sub":"planner"}}"#, &agrees), Ok(two));

    let disagree = |first| Err(TokenError::ClaimsDisagree { first, second: "act" });
    let other = [("agent_id", Some(r#""root""#))];
    assert_eq!(delegated(r#"{"sub":"bot"}"#, &other), disagree("agent_id"));
    let other = [("parent_agent_id", Some(r#""bot""#))];
    assert_eq!(delegated(r#"{"sub":"bot"}"#, &other), disagree("parent_agent_id"));
    assert_eq!(delegated(r#"{"sub":"bot"}"#, &[("sub", None)]), Err(missing("sub")));
    let deep = |depth: usize| {
        let open = r#"{"sub":"a","act":"#.repeat(depth - 1);
        delegated(&format!(r#"{open}{{"sub":"a"}}{}"#, "}".repeat(depth - 1)), &[])
    };
    assert_eq!(deep(8).unwrap().acts_for.len(), 8);
    let too_deep = deep(9);
    assert_eq!(too_deep, Err(malformed("act")));
    for bad in [
        "null",
        "[]",
        "{}",
        r#""bot""#,
        r#"{"sub":7}"#,
        r#"{"sub":"a b"}"#,
        r#"{"sub":"a","act":[]}"#,
    ] {
        assert_eq!(delegated(bad, &[]), Err(malformed("act")), "{bad}");
    }
}

#[test]
fn unknown_claims_are_ignored() {
    let more = payload_but(&[
        ("email", Some(r#""a@b.example""#)),
        ("client_id", Some("7")),
        ("v", Some("1.5")),
    ]);
    assert_eq!(read(&more), Ok(claims()));
}

#[test]
fn each_cause_has_the_reason_an_agent_can_act_on() {
    for (cause, reason) in [
        (TokenError::Shape, Reason::TokenMalformed),
        (TokenError::TypeUnexpected, Reason::TokenMalformed),
        (TokenError::AlgorithmMismatch, Reason::TokenAlgorithm),
        (TokenError::KeyUnknown, Reason::TokenKeyUnknown),
        (TokenError::Signature, Reason::TokenSignature),
        (TokenError::Expired { ago_s: 1 }, Reason::TokenExpired),
        (TokenError::IssuedInFuture { ahead_s: 31 }, Reason::TokenNotYetValid),
        (TokenError::Audience, Reason::TokenAudience),
        (TokenError::IssuerUntrusted, Reason::TokenIssuer),
        (TokenError::LivesTooLong { ttl_max_s: 900 }, Reason::TokenClaims),
    ] {
        assert_eq!(cause.reason(), reason, "{cause}");
    }
}

//! Every error of the token endpoint: the caller learns its code and nothing else, the log learns which check failed.
//!
//! Not here: what gateways answer (`identity`, `gateway`). Invariant: two causes of one error have one answer, byte for
//! byte, and neither answers nor log ever hold what was sent.

use std::io;
use std::sync::{Mutex, OnceLock};

use aegis_control_client::{client_assertion, dpop_proof};
use aegis_identity::{CLIENT_ASSERTION_TYPE, SigningKey};
use serde_json::json;

use crate::node::{Node, jti, now};
use crate::raw::{FORM, Sent, form};
use crate::tokens::{ACCESS, EXCHANGE};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Collects what this process logs.
struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> String {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();
    });
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}

/// One bad request, and what becomes of it.
struct Case {
    what: &'static str,
    headers: Vec<(&'static str, String)>,
    pairs: Vec<(&'static str, String)>,
    status: u16,
    error: &'static str,
    /// What the log says of it.
    logged: &'static str,
}

/// A good request of an agent, to be spoilt.
fn good(node: &Node, client: &str, key: &SigningKey) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", "client_credentials".to_owned()),
        ("client_assertion_type", CLIENT_ASSERTION_TYPE.to_owned()),
        ("client_assertion", client_assertion(key, client, &node.url, &jti(), now())),
    ]
}

fn with(
    mut pairs: Vec<(&'static str, String)>,
    more: &[(&'static str, &str)],
) -> Vec<(&'static str, String)> {
    pairs.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    pairs.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    pairs
}

fn send(node: &Node, case: &Case) -> Sent {
    let headers = case.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let headers: Vec<_> = headers.chain([FORM]).collect();
    let pairs: Vec<_> = case.pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    node.send("/oauth2/token", &headers, &form(&pairs))
}

/// What any answer that is no token must be like.
fn check(case: &Case, sent: &Sent, logged_before: usize) {
    let what = case.what;
    assert_eq!((sent.status, sent.kind()), (case.status, case.error), "{what}");
    assert_eq!(sent.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(sent.header("content-type"), Some("application/json"), "{what}");
    let members: Vec<_> = sent.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["error", "error_description"], "{what}");
    let challenge = (case.status == 401).then_some("Basic realm=\"aegis\"");
    assert_eq!(sent.header("www-authenticate"), challenge, "{what}: RFC 6749 section 5.2");

    let log = log();
    let new = &log[logged_before..];
    assert!(new.contains(case.logged), "{what}: {new}");
    for (_, value) in case.pairs.iter().filter(|(_, value)| value.len() > 100) {
        assert!(!log.contains(value.as_str()), "{what}: the log holds what was sent");
    }
}

fn cases(node: &Node) -> Vec<Case> {
    let (bot, stranger) = (node.agent("bot", 1, json!({})), SigningKey::from_seed([99; 32]));
    let prover = node.agent("prover", 2, json!({ "mode": "proof" }));
    let mtls = node.agent("mtls", 3, json!({ "mode": "mtls" }));
    node.register("waiting", json!({}));
    let disabled = node.agent("disabled", 4, json!({}));
    node.post("/v1/agents/acme/disabled/disable", json!({})).unwrap();
    let parents = node.token("bot", &bot, &[]).unwrap().body["access_token"].clone();
    let parents = parents.as_str().unwrap();
    let by = |client: &str, key: &SigningKey| good(node, client, key);
    let mine = || by("acme/bot", &bot);
    let case = |status, error, what, pairs, logged| Case {
        what,
        headers: Vec::new(),
        pairs,
        status,
        error,
        logged,
    };
    let request = |what, pairs, logged| case(400, "invalid_request", what, pairs, logged);
    let client = |what, pairs, logged| case(400, "invalid_client", what, pairs, logged);
    let exchange = [("grant_type", EXCHANGE), ("subject_token_type", ACCESS)];
    let delegated = |client: &str, key: &SigningKey, token: &str| {
        with(with(by(client, key), &exchange), &[("subject_token", token)])
    };
    let endpoint = format!("{}/oauth2/token", node.url);
    let proven = |what, proofs: Vec<String>, logged| Case {
        headers: proofs.into_iter().map(|proof| ("dpop", proof)).collect(),
        ..case(400, "invalid_dpop_proof", what, mine(), logged)
    };
    let proof = |uri: &str| dpop_proof(&bot, uri, None, &jti(), now());
    let used = mine();
    let used_first = case(200, "", "", used.clone(), "");
    assert_eq!(send(node, &used_first).status, 200);

    vec![
        request("no grant type", vec![], "parameter grant_type is missing"),
        request("no client", with(vec![], &[("grant_type", "client_credentials")]), "in none"),
        request("no subject", with(mine(), &exchange), "parameter subject_token is missing"),
        request("a scope of two lines", with(mine(), &[("scope", "a\nb")]), "scope is malformed"),
        request(
            "another kind of assertion",
            with(mine(), &[("client_assertion_type", "saml")]),
            "client_assertion_type has a value",
        ),
        case(
            400,
            "unsupported_grant_type",
            "a password",
            with(mine(), &[("grant_type", "password")]),
            "the grant type is not supported",
        ),
        client("a stranger's key", by("acme/bot", &stranger), "assertion is refused: no key"),
        client("nobody", by("acme/nobody", &bot), "no agent of that name"),
        client("no name at all", by("bot", &bot), "no agent of that name"),
        client("one that waits", by("acme/waiting", &bot), "has not enrolled"),
        client("one disabled", by("acme/disabled", &disabled), "is disabled"),
        client("a secret", with(mine(), &[("client_secret", "x")]), "with a secret"),
        client("two names", with(mine(), &[("client_id", "acme/prover")]), "another than the"),
        client("one without its certificate", by("acme/mtls", &mtls), "bound to a certificate"),
        client("an assertion again", used, "was used before"),
        Case {
            headers: vec![("authorization", "Basic YTpi".to_owned())],
            status: 401,
            ..client("a header", mine(), "with a secret")
        },
        case(
            400,
            "invalid_scope",
            "more than it may",
            with(mine(), &[("scope", "admin")]),
            "a scope is not among",
        ),
        case(
            400,
            "invalid_target",
            "another gateway",
            with(mine(), &[("resource", "https://elsewhere.example")]),
            "the resource is not one",
        ),
        case(400, "invalid_grant", "garbage", delegated("acme/bot", &bot, "x.y.z"), "the token is"),
        case(
            400,
            "unauthorized_client",
            "no child",
            delegated("acme/prover", &prover, parents),
            "not a child of the subject",
        ),
        proven("another place's proof", vec![proof("https://elsewhere.example")], "another URI"),
        proven("garbage for a proof", vec!["x".to_owned()], "proof cannot be read: token is not"),
        proven("two proofs", vec![proof(&endpoint), proof(&endpoint)], "several DPoP headers"),
        Case {
            pairs: by("acme/prover", &prover),
            ..proven("no proof where one must be", vec![], "there is no DPoP proof")
        },
    ]
}

#[test]
fn each_error_has_one_answer_and_the_log_says_which_check_it_was() {
    log();
    let node = Node::start();
    let mut answers = std::collections::BTreeMap::new();
    let mut tried = 0;
    for case in cases(&node) {
        let logged_before = log().len();
        let sent = send(&node, &case);
        check(&case, &sent, logged_before);
        let first = answers.entry(case.error).or_insert_with(|| sent.body.clone());
        assert_eq!(*first, sent.body, "{}: the answer tells causes apart", case.what);
        tried += 1;
    }
    let demanding = Node::demanding_nonces();
    let key = demanding.agent("bot", 1, json!({}));
    let proof = dpop_proof(&key, &format!("{}/oauth2/token", demanding.url), None, &jti(), now());
    let case = Case {
        what: "no nonce",
        headers: vec![("dpop", proof)],
        pairs: good(&demanding, "acme/bot", &key),
        status: 400,
        error: "use_dpop_nonce",
        logged: "proof has no nonce",
    };
    let logged_before = log().len();
    let sent = send(&demanding, &case);
    check(&case, &sent, logged_before);
    assert_eq!(sent.header("dpop-nonce").map(str::len), Some(54));
    answers.insert(case.error, sent.body);

    // `temporarily_unavailable` is the one that is no caller's doing.
    let document: serde_json::Value = serde_json::from_str(aegis_control::OPENAPI).unwrap();
    let all = document["components"]["schemas"]["OAuthError"]["properties"]["error"]["enum"]
        .as_array()
        .unwrap();
    let untried: Vec<_> =
        all.iter().filter(|error| !answers.contains_key(error.as_str().unwrap())).collect();
    assert_eq!(untried, ["temporarily_unavailable"]);
    println!("{} bad requests, {} errors", tried + 1, answers.len());
}

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

/// A parent's token for a child's.
const DELEGATION: [(&str, &str); 2] = [("grant_type", EXCHANGE), ("subject_token_type", ACCESS)];

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

/// Agents of every kind, and what they hold.
struct Cast<'a> {
    node: &'a Node,
    bot: SigningKey,
    prover: SigningKey,
    mtls: SigningKey,
    disabled: SigningKey,
    /// A token of `bot`.
    token: String,
}

impl<'a> Cast<'a> {
    fn new(node: &'a Node) -> Self {
        let bot = node.agent("bot", 1, json!({}));
        let prover = node.agent("prover", 2, json!({ "mode": "proof" }));
        let mtls = node.agent("mtls", 3, json!({ "mode": "mtls" }));
        let disabled = node.agent("disabled", 4, json!({}));
        node.register("waiting", json!({}));
        node.post("/v1/agents/acme/disabled/disable", json!({})).unwrap();
        let answer = node.token("bot", &bot, &[]).unwrap().body;
        let token = answer["access_token"].as_str().unwrap().to_owned();
        Self { node, bot, prover, mtls, disabled, token }
    }

    fn by(&self, client: &str, key: &SigningKey) -> Vec<(&'static str, String)> {
        good(self.node, client, key)
    }

    /// The good request of `bot`, with this in it.
    fn mine(&self, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        with(self.by("acme/bot", &self.bot), more)
    }

    fn requests(&self) -> Vec<Case> {
        let case = |what, pairs, logged| case("invalid_request", what, pairs, logged);
        let bare = with(vec![], &[("grant_type", "client_credentials")]);
        vec![
            case("no grant type", vec![], "parameter grant_type is missing"),
            case("no client", bare, "in none"),
            case("no subject", self.mine(&DELEGATION), "parameter subject_token is missing"),
            case("a scope of two lines", self.mine(&[("scope", "a\nb")]), "scope is malformed"),
            case(
                "another kind of assertion",
                self.mine(&[("client_assertion_type", "saml")]),
                "client_assertion_type has a value",
            ),
        ]
    }

    fn clients(&self) -> Vec<Case> {
        let case = |what, pairs, logged| case("invalid_client", what, pairs, logged);
        let (stranger, bot) = (SigningKey::from_seed([99; 32]), &self.bot);
        let used = self.mine(&[]);
        assert_eq!(send(self.node, &case("", used.clone(), "")).status, 200);
        let name = [("client_id", "acme/prover")];
        vec![
            case(
                "a stranger's key",
                self.by("acme/bot", &stranger),
                "assertion is refused: no key",
            ),
            case("nobody", self.by("acme/nobody", bot), "no agent of that name"),
            case("no name at all", self.by("bot", bot), "no agent of that name"),
            case("one that waits", self.by("acme/waiting", bot), "has not enrolled"),
            case("one disabled", self.by("acme/disabled", &self.disabled), "is disabled"),
            case("a secret", self.mine(&[("client_secret", "x")]), "with a secret"),
            case("two names", self.mine(&name), "another than the"),
            case("no certificate", self.by("acme/mtls", &self.mtls), "bound to a certificate"),
            case("an assertion again", used, "was used before"),
            Case {
                headers: vec![("authorization", "Basic YTpi".to_owned())],
                status: 401,
                ..case("a header", self.mine(&[]), "with a secret")
            },
        ]
    }

    fn grants(&self) -> Vec<Case> {
        let delegated = |client, key, token| {
            with(with(self.by(client, key), &DELEGATION), &[("subject_token", token)])
        };
        let password = self.mine(&[("grant_type", "password")]);
        let elsewhere = self.mine(&[("resource", "https://elsewhere.example")]);
        let garbage = delegated("acme/bot", &self.bot, "x.y.z");
        let stranger = delegated("acme/prover", &self.prover, &self.token);
        vec![
            case("unsupported_grant_type", "a password", password, "grant type is not supported"),
            case("invalid_scope", "more", self.mine(&[("scope", "admin")]), "scope is not among"),
            case("invalid_target", "another gateway", elsewhere, "the resource is not one"),
            case("invalid_grant", "garbage", garbage, "the token is refused"),
            case("unauthorized_client", "no child", stranger, "not a child of the subject"),
        ]
    }

    fn proofs(&self) -> Vec<Case> {
        let proven = |what, proofs: Vec<String>, logged| Case {
            headers: proofs.into_iter().map(|proof| ("dpop", proof)).collect(),
            ..case("invalid_dpop_proof", what, self.mine(&[]), logged)
        };
        let proof = |uri: &str| dpop_proof(&self.bot, uri, None, &jti(), now());
        let elsewhere = proof("https://elsewhere.example");
        let two = vec![self.node.proof(&self.bot), self.node.proof(&self.bot)];
        vec![
            proven("another place's proof", vec![elsewhere], "another URI"),
            proven("garbage", vec!["x".to_owned()], "proof cannot be read: token is not"),
            proven("two proofs", two, "several DPoP headers"),
            Case {
                pairs: self.by("acme/prover", &self.prover),
                ..proven("no proof where one must be", vec![], "there is no DPoP proof")
            },
        ]
    }
}

fn case(
    error: &'static str,
    what: &'static str,
    pairs: Vec<(&'static str, String)>,
    logged: &'static str,
) -> Case {
    Case { what, headers: Vec::new(), pairs, status: 400, error, logged }
}

#[test]
fn each_error_has_one_answer_and_the_log_says_which_check_it_was() {
    log();
    let node = Node::start();
    let mut answers = std::collections::BTreeMap::new();
    let mut tried = 0;
    let cast = Cast::new(&node);
    let cases = [cast.requests(), cast.clients(), cast.grants(), cast.proofs()];
    for case in cases.into_iter().flatten() {
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

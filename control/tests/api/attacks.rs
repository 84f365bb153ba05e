//! What attackers try at the control API: codes and assertions used twice, tokens where they do not belong, and clients
//! that never finish.
//!
//! Not here: forged tokens (`identity`), and which error each refusal is (`refusals`). Invariant: beside each attack the
//! honest request goes through.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use aegis_control::{SubjectSource, SubjectSources};
use aegis_control_client::{Conditions, client_assertion, enrolment_proof};
use aegis_domain::TenantId;
use aegis_follow::KeySource;
use aegis_identity::{SigningKey, SubjectProfile, SubjectRule};
use serde_json::{Value, json};

use crate::node::{Node, jti, now, refusal};
use crate::raw::{FORM, JSON, form};
use crate::tokens::{ACCESS, EXCHANGE};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// How many of many at once succeed.
fn wins(count: usize, attempt: impl Fn(usize) -> bool + Sync) -> usize {
    std::thread::scope(|scope| {
        let attempt = &attempt;
        let all: Vec<_> = (0..count).map(|n| scope.spawn(move || attempt(n))).collect();
        all.into_iter().map(|one| one.join().unwrap()).filter(|won| *won).count()
    })
}

#[test]
fn a_guessed_a_spent_a_replaced_and_a_misspelt_code_are_one_answer() {
    let node = Node::start();
    let spent = node.register("spent", json!({}))["enrolment"]["code"].as_str().unwrap().to_owned();
    node.enrol(&spent, &SigningKey::from_seed([1; 32])).unwrap();
    let replaced =
        node.register("replaced", json!({}))["enrolment"]["code"].as_str().unwrap().to_owned();
    let good = node.post("/v1/agents/acme/replaced/rotate", json!({})).unwrap().body;
    let good = good["enrolment"]["code"].as_str().unwrap();
    assert_eq!(good.len(), "aegis-enrol-".len() + 43, "256 bits");

    let key = SigningKey::from_seed([2; 32]);
    let other_end = if good.ends_with('A') { 'E' } else { 'A' };
    let misspelt = format!("{}{other_end}", &good[..good.len() - 1]);
    let (upper, guessed) = (good.to_uppercase(), format!("aegis-enrol-{}", "A".repeat(43)));
    let answers: Vec<_> = [&spent, &replaced, &misspelt, &upper, &guessed, "", "x"]
        .into_iter()
        .map(|code| {
            let proof = enrolment_proof(&key, &node.url, code, now());
            let body = json!({ "code": code, "jwk": key.public_jwk(), "proof": proof });
            let sent = node.send("/v1/enrol", &[JSON], body.to_string().as_bytes());
            (sent.status, sent.kind().to_owned(), sent.body)
        })
        .collect();
    assert_eq!((answers[0].0, answers[0].1.as_str()), (403, "code-unknown"));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    node.enrol(good, &key).unwrap();
}

#[test]
fn one_proof_of_an_enrolment_seen_on_the_way_enrols_nobody_else() {
    let node = Node::start();
    let code =
        |id: &str| node.register(id, json!({}))["enrolment"]["code"].as_str().unwrap().to_owned();
    let (mine, theirs) = (code("mine"), code("theirs"));
    let key = SigningKey::from_seed([1; 32]);
    let proof = enrolment_proof(&key, &node.url, &mine, now());
    node.enrol(&mine, &key).unwrap();
    let body = json!({ "code": theirs, "jwk": key.public_jwk(), "proof": proof });
    let stolen = node.anyone().post("/v1/enrol", &body, &Conditions::default());
    assert_eq!(refusal(stolen), (403, "proof".into()), "the proof names another code");
    assert_eq!(refusal(node.enrol(&theirs, &key)), (409, "key-taken".into()));
    node.enrol(&theirs, &SigningKey::from_seed([2; 32])).unwrap();
}

#[test]
fn of_many_who_send_one_assertion_or_one_proof_at_once_one_gets_a_token() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    let assertion = client_assertion(&key, "acme/bot", &node.url, &jti(), now());
    assert_eq!(wins(12, |_| node.ask(&assertion, &[], None).is_ok()), 1);
    let proof = node.proof(&key);
    let ask = |_| {
        let assertion = client_assertion(&key, "acme/bot", &node.url, &jti(), now());
        node.ask(&assertion, &[], Some(&proof)).is_ok()
    };
    assert_eq!(wins(12, ask), 1);
}

#[test]
fn an_assertion_serves_neither_as_a_token_nor_for_another_client_nor_elsewhere() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    node.agent("other", 2, json!({}));
    let by = |client: &str, audience: &str| client_assertion(&key, client, audience, &jti(), now());
    for (what, assertion) in [
        ("another client's name", by("acme/other", &node.url)),
        ("another server", by("acme/bot", "https://elsewhere.example")),
        ("the gateway's audience", by("acme/bot", crate::node::GATEWAY)),
        ("another tenant's agent of that name", by("other/bot", &node.url)),
        ("a path in the name", by("acme/../acme/bot", &node.url)),
    ] {
        assert_eq!(refusal(node.ask(&assertion, &[], None)).1, "invalid_client", "{what}");
    }
    let as_subject = by("acme/bot", &node.url);
    let more = [
        ("grant_type", EXCHANGE),
        ("subject_token", as_subject.as_str()),
        ("subject_token_type", ACCESS),
    ];
    assert_eq!(
        refusal(node.token("other", &SigningKey::from_seed([2; 32]), &more)).1,
        "invalid_grant"
    );
    node.ask(&by("acme/bot", &node.url), &[], None).unwrap();
}

/// Two Kubernetes clusters of two tenants, each with keys and a rule of its own.
fn two_clusters() -> (Node, [SigningKey; 2]) {
    let home = tempfile::tempdir().unwrap();
    let keys = [SigningKey::from_seed([40; 32]), SigningKey::from_seed([41; 32])];
    let issuers = keys.iter().zip(["acme", "rival"]).map(|(key, tenant)| {
        let file = home.path().join(format!("{tenant}.json"));
        std::fs::write(&file, json!({ "keys": [key.public_jwk()] }).to_string()).unwrap();
        let subject = format!("system:serviceaccount:{tenant}:{{name}}");
        let tenant_id = TenantId::parse(tenant).unwrap();
        SubjectSource {
            profile: SubjectProfile::Kubernetes,
            name: format!("https://{tenant}.example"),
            audiences: vec!["aegis".into()],
            keys: KeySource::File(file),
            rules: vec![SubjectRule::parse(&subject, "{name}", tenant_id).unwrap()],
        }
    });
    let issuers = issuers.collect();
    let node = Node::with(home, SubjectSources { issuers, refresh: None });
    node.register("bot", json!({}));
    let rival = json!({ "tenant": "rival", "id": "bot", "org": "rival" });
    node.post("/v1/agents", rival).unwrap();
    (node, keys)
}

fn account_token(issuer: &str, namespace: &str, key: &SigningKey) -> String {
    let claims = json!({
        "iss": format!("https://{issuer}.example"),
        "sub": format!("system:serviceaccount:{namespace}:bot"),
        "aud": ["aegis"], "iat": now().unix_s(), "exp": now().unix_s() + 120,
        "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": "bot" } },
    });
    key.sign("JWT", claims.to_string().as_bytes())
}

#[test]
fn a_subject_token_counts_only_under_the_rule_of_the_issuer_that_signed_it() {
    let (node, [acme, rival]) = two_clusters();
    let exchange = |token: &str| {
        let form =
            [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", JWT)];
        node.anyone().token(&form, None)
    };
    for (what, token) in [
        ("its own account by another's key", account_token("acme", "acme", &rival)),
        ("another's account by its own key", account_token("rival", "acme", &rival)),
        ("another's name by its own key", account_token("acme", "rival", &rival)),
        ("its own name for another's account", account_token("acme", "rival", &acme)),
    ] {
        assert_eq!(refusal(exchange(&token)), (400, "invalid_grant".into()), "{what}");
    }
    for (tenant, key) in [("acme", &acme), ("rival", &rival)] {
        let token = exchange(&account_token(tenant, tenant, key)).unwrap().body;
        let seen = aegis_identity::inspect(token["access_token"].as_str().unwrap()).unwrap();
        assert_eq!(seen.unverified_payload["tenant"], tenant);
    }
}

#[test]
fn a_token_of_one_tenant_is_no_parent_in_another() {
    let node = Node::start();
    let boss = node.agent("boss", 1, json!({}));
    let parents = node.token("boss", &boss, &[]).unwrap().body["access_token"].clone();
    for id in ["boss", "child"] {
        let parent = (id == "child").then_some("boss");
        let wish = json!({ "tenant": "rival", "id": id, "org": "rival", "parent": parent });
        let code = node.post("/v1/agents", wish).unwrap().body["enrolment"]["code"].clone();
        let seed = if id == "boss" { 2 } else { 3 };
        node.enrol(code.as_str().unwrap(), &SigningKey::from_seed([seed; 32])).unwrap();
    }
    let child = SigningKey::from_seed([3; 32]);
    let assertion = client_assertion(&child, "rival/child", &node.url, &jti(), now());
    let more = [
        ("grant_type", EXCHANGE),
        ("subject_token", parents.as_str().unwrap()),
        ("subject_token_type", ACCESS),
    ];
    assert_eq!(refusal(node.ask(&assertion, &more, None)).1, "unauthorized_client");
}

#[test]
fn a_chain_of_agents_ends_at_eight_behind_the_caller() {
    let node = Node::start();
    let mut subject: Option<Value> = None;
    for depth in 0..=9_u8 {
        let parent = depth.checked_sub(1).map(|parent| format!("a{parent}"));
        let key = node.agent(&format!("a{depth}"), depth + 1, json!({ "parent": parent }));
        let mut more = vec![("scope", "pay:read")];
        if let Some(subject) = &subject {
            more.extend([
                ("grant_type", EXCHANGE),
                ("subject_token", subject.as_str().unwrap()),
                ("subject_token_type", ACCESS),
            ]);
        }
        let answer = node.token(&format!("a{depth}"), &key, &more);
        if depth == 9 {
            assert_eq!(refusal(answer), (400, "unauthorized_client".into()));
            return;
        }
        subject = Some(answer.unwrap().body["access_token"].clone());
    }
}

#[test]
fn the_administrators_token_counts_in_one_place_only() {
    let node = Node::start();
    let token = std::fs::read_to_string(node.home.path().join("admin.token")).unwrap();
    let token = token.trim();
    let bearer = format!("Bearer {token}");
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    let body = json!({ "tenant": { "id": "acme" } }).to_string();
    for (what, path, headers) in [
        ("the query", format!("/v1/revocations?access_token={token}"), vec![]),
        ("a cookie", "/v1/revocations".into(), vec![("cookie", format!("token={token}"))]),
        ("Basic", "/v1/revocations".into(), vec![("authorization", format!("Basic {token}"))]),
        ("no scheme", "/v1/revocations".into(), vec![("authorization", token.to_owned())]),
        ("a header of its own", "/v1/revocations".into(), vec![("x-api-key", token.to_owned())]),
        ("a longer one", "/v1/revocations".into(), vec![("authorization", format!("{bearer}a"))]),
        (
            "a shorter one",
            "/v1/revocations".into(),
            vec![("authorization", bearer[..bearer.len() - 1].to_owned())],
        ),
    ] {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = headers.chain([JSON]).collect();
        let sent = node.send(&path, &headers, body.as_bytes());
        assert_eq!((sent.status, sent.kind()), (401, "unauthorized"), "{what}");
    }
    let sent = node.send("/v1/revocations", &[twice[0], twice[1], JSON], body.as_bytes());
    assert_eq!(sent.status, 401, "two of them");
    // Where agents ask, it is nobody's.
    let grant = form(&[("grant_type", "client_credentials")]);
    let sent = node.send("/oauth2/token", &[FORM, ("authorization", &bearer)], &grant);
    assert_eq!((sent.status, sent.kind()), (401, "invalid_client"));
    let subject = [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", JWT)];
    assert_eq!(node.send("/oauth2/token", &[FORM], &form(&subject)).kind(), "invalid_grant");
    assert_eq!(node.get("/v1/revocations").body["revocations"], json!([]));
}

#[test]
fn bodies_that_are_huge_or_of_another_kind_are_refused_in_the_words_of_their_endpoint() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    let assertion = client_assertion(&key, "acme/bot", &node.url, &jti(), now());
    let good = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", aegis_identity::CLIENT_ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
    ];
    let (good, json_type) = (form(&good), ("content-type", "application/json"));
    let many: Vec<u8> = (0..40).map(|n| format!("p{n}=1&")).collect::<String>().into_bytes();
    let huge = [good.clone(), b"&x=".to_vec(), vec![b'a'; 70_000]].concat();
    for (what, headers, body) in [
        ("no type", vec![], &good),
        ("JSON's type", vec![json_type], &good),
        ("two types", vec![FORM, json_type], &good),
        ("multipart", vec![("content-type", "multipart/form-data; boundary=x")], &good),
        ("many parameters", vec![FORM], &many),
        ("a long one", vec![FORM], &huge),
    ] {
        let sent = node.send("/oauth2/token", &headers, body);
        assert_eq!((sent.status, sent.kind()), (400, "invalid_request"), "{what}");
    }
    let charset = ("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8");
    assert_eq!(node.send("/oauth2/token", &[charset], &good).status, 200);
    assert_eq!(node.send("/v1/enrol", &[FORM], b"code=x").status, 415);
    assert_eq!(node.send("/v1/enrol", &[JSON], &huge).status, 400);
    let deep = [b"{\"code\":".to_vec(), vec![b'['; 30_000]].concat();
    assert_eq!(node.send("/v1/enrol", &[JSON], &deep).status, 400);
}

#[test]
fn a_length_over_the_limit_is_refused_before_a_byte_of_it_came() {
    let node = Node::start();
    let mut socket = TcpStream::connect(node.url.strip_prefix("http://").unwrap()).unwrap();
    let head = "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-type: \
                application/x-www-form-urlencoded\r\ncontent-length: 8000000000\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    // Less than a body may take.
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 400");
}

#[test]
fn clients_that_never_finish_are_hung_up_on_and_hold_nobody_up() {
    let node = Node::start();
    let key = node.agent("bot", 1, json!({}));
    let address = node.url.strip_prefix("http://").unwrap();
    let head = "POST /oauth2/token HTTP/1.1\r\nhost: x\r\ncontent-type: \
                application/x-www-form-urlencoded\r\n";
    let half_body = format!("{head}content-length: 1000\r\n\r\ngrant_type=");
    let attacks: [(&str, &[u8]); 4] = [
        ("silence", b""),
        ("half a head", head.as_bytes()),
        ("half a body", half_body.as_bytes()),
        // A preface and empty settings (RFC 9113 §3.4), then nothing.
        ("an idle HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ];
    let slow = attacks.map(|(what, bytes)| {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(bytes).unwrap();
        (what, socket)
    });
    node.token("bot", &key, &[]).unwrap();
    for (what, mut socket) in slow {
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut said = Vec::new();
        let ended = socket.read_to_end(&mut said);
        assert!(ended.is_ok(), "{what} was not hung up on: {ended:?}");
        if what == "half a body" {
            assert!(said.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&said));
        }
    }
    node.token("bot", &key, &[]).unwrap();
}

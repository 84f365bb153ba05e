//! Tunnels that are not opened: where policy says `passthrough`, the agent's TLS ends at the upstream and not here.
//!
//! Not here: tunnels that are opened (`proxy`). Invariant: such a tunnel is one recorded call to one name at one checked
//! address, and nothing but the agent's own TLS goes through it.

use std::time::Duration;

use aegis_domain::{Effect, Reason};
use aegis_testkit::{Building, Plan};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::GATEWAY;
use crate::proxy::{codes, curl, says, trusting, url};

const PINNED: &str = "
  pinned:
    class: write
    match: { hosts: [open.test, \"*.elsewhere.test\"], passthrough: true }
    allow: { groups: [staff], scopes: [\"care:write\"] }
    rules:
    - { id: not-in-frozen, effect: deny, when: { agent: frozen, eq: true }, reason: \"this agent is frozen\" }
";

async fn plan() -> Plan {
    let plan = Plan::new().await;
    let name = "acme.policy.yaml";
    let text = std::fs::read_to_string(plan.path(name)).unwrap();
    plan.file(name, &(text + PINNED));
    plan
}

async fn house() -> Building {
    trusting(plan().await.start(GATEWAY).await)
}

/// What a client says to open a tunnel, and what it hears.
async fn connect(house: &Building, authority: &str, token: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", house.port())).await.unwrap();
    let head = format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.unwrap();
        heard.push(byte);
    }
    (stream, String::from_utf8(heard).unwrap())
}

/// A TLS 1.3 hello that asks for a name, as one record.
fn hello(name: &str) -> Vec<u8> {
    use rustls::pki_types::ServerName;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

async fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    rest.is_empty() && read.is_ok()
}

#[tokio::test]
async fn the_agents_tls_ends_at_the_upstream_and_the_record_says_that_nobody_looked() {
    let mut house = house().await;
    let bot = house.agent("bot");
    // Only the upstream's own authority is trusted here: a certificate of ours would be refused.
    let mut pinned = curl(&house, &bot);
    pinned.args(["--cacert", "ca.pem", "--json", r#"{"text":"forbidden"}"#]);
    let said = says(pinned.arg(url(&house, "/v1/pinned"))).await;
    assert!(codes(&said).starts_with("200 200"), "{said:?}");
    let last = house.upstream().last();
    assert_eq!(last.text(), r#"{"text":"forbidden"}"#, "what nobody reads nobody judges");
    assert!(!last.everything().contains(&bot.token()));
    house.stop().await;
    let journal = house.journal();
    let [decision] = &journal.decisions()[..] else { panic!("one call, one decision") };
    let dest = decision.dest.as_ref().unwrap();
    assert_eq!((dest.method.as_str(), dest.host.as_str()), ("CONNECT", "open.test"));
    assert_eq!((decision.decision, dest.port), (Effect::Allow, house.upstream().port()));
    let [outcome] = &journal.outcomes()[&decision.id][..] else { panic!("one call, one outcome") };
    assert!(outcome.sent.unwrap() > 500 && outcome.bytes > 1_000, "{outcome:?}");
    crate::evidence::assert_verified(&house);
}

#[tokio::test]
async fn who_may_not_pass_is_told_before_anything_is_dialled() {
    let house = house().await;
    let bot = house.agent("bot").claims(|claims| claims.scopes = Default::default());
    let said = says(curl(&house, &bot).args(["--cacert", "ca.pem"]).arg(url(&house, "/"))).await;
    assert!(codes(&said).starts_with("000 403"), "{said:?}");
    assert_eq!(house.upstream().connections(), 0);
    let decision = house.journal().decisions().pop().unwrap();
    assert_eq!(decision.reason, Reason::PolicyDenied);
    assert_eq!(decision.dest.unwrap().method.as_str(), "CONNECT");
}

#[tokio::test]
async fn a_name_that_is_not_the_tunnels_ends_it_unsent() {
    let mut house = house().await;
    let token = || house.agent("bot").token();
    let authority = format!("open.test:{}", house.upstream().port());
    let forbidden: [&[u8]; 4] = [
        &hello("care.test"),
        b"GET / HTTP/1.1\r\nHost: open.test\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &hello("open.test").iter().map(|byte| byte ^ 0x80).collect::<Vec<_>>(),
    ];
    for bytes in forbidden {
        let (mut stream, heard) = connect(&house, &authority, &token()).await;
        assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
        stream.write_all(bytes).await.unwrap();
        assert!(is_closed(stream).await, "nothing comes back");
    }
    assert_eq!(house.upstream().count(), 0);
    house.stop().await;
    let outcomes: Vec<_> = house.journal().outcomes().into_values().flatten().collect();
    assert_eq!(outcomes.len(), forbidden.len());
    assert!(outcomes.iter().all(|it| it.reason == Reason::MalformedRequest && it.sent.is_none()));
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled_for_a_tunnel_either() {
    let plan = plan().await.with("/tenants/acme/direct", json!({ "resolve": ["127.0.0.1"] }));
    let house = trusting(plan.start(GATEWAY).await);
    let token = house.agent("bot").token();
    let (_, heard) = connect(&house, "a.elsewhere.test:443", &token).await;
    assert!(heard.starts_with("HTTP/1.1 502"), "{heard}");
    assert!(heard.contains("destination_ip_prohibited"), "{heard}");
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_said_before_the_tunnel_stands() {
    let direct = json!({ "resolve": ["127.0.0.1"], "addresses": ["127.0.0.0/8"] });
    let house = trusting(plan().await.with("/tenants/acme/direct", direct).start(GATEWAY).await);
    let token = house.agent("bot").token();
    let (_, heard) = connect(&house, "b.elsewhere.test:1", &token).await;
    assert!(heard.starts_with("HTTP/1.1 502"), "{heard}");
    // A tunnel to ourselves is a loop, opened or not.
    let ours = format!("b.elsewhere.test:{}", house.port());
    let (_, heard) = connect(&house, &ours, &token).await;
    assert!(heard.contains("proxy_loop_detected"), "{heard}");
}

#[tokio::test]
async fn a_tunnel_on_which_nothing_moves_is_closed() {
    let house = trusting(plan().await.with("/limits/idle", json!("1s")).start(GATEWAY).await);
    let token = house.agent("bot").token();
    let authority = format!("open.test:{}", house.upstream().port());
    let (mut stream, _) = connect(&house, &authority, &token).await;
    stream.write_all(&hello("open.test")).await.unwrap();
    // The upstream answers the hello, and then both sides wait for the agent.
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("closed").unwrap();
    assert!(!answer.is_empty());
}

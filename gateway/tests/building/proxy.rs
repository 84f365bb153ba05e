//! The forward proxy: absolute-form and CONNECT, with the calls inside walking the same rooms as a tool route's.
//!
//! Not here: that every client library can use it (`clients`). Invariant: whatever an agent says to the proxy, the
//! upstream sees nothing that was not judged, and every call it sees has a record.

use std::process::Output;

use aegis_domain::{Effect, Reason, TokenUse};
use aegis_testkit::{Agent, Answer, Building, Plan, Script};
use serde_json::json;
use tokio::process::Command;

use crate::{GATEWAY, house};

/// What an agent is given: the proxy's address with its token in it, and a file with the region's authority.
pub(crate) fn curl(house: &Building, agent: &Agent<'_>) -> Command {
    let mut curl = Command::new("curl");
    let proxy = format!("http://agent:{}@127.0.0.1:{}", agent.token(), house.port());
    curl.env("HTTPS_PROXY", &proxy).env("http_proxy", &proxy).env_remove("NO_PROXY");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert", "authority.crt"]);
    curl.args(["--write-out", "\n%{http_code} %{http_connect} %{http_version}"]);
    curl.current_dir(house.data());
    curl
}

/// A running building whose authority lies where curl looks for it.
async fn opened() -> Building {
    trusting(house().await)
}

pub(crate) fn trusting(house: Building) -> Building {
    std::fs::write(house.data().join("authority.crt"), house.region_authority()).unwrap();
    house
}

pub(crate) async fn says(command: &mut Command) -> (String, String) {
    let Output { stdout, stderr, .. } = command.output().await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (stdout.into_owned(), stderr.into_owned())
}

/// The codes that curl wrote behind the body: the answer's, the tunnel's, and the HTTP version.
pub(crate) fn codes(said: &(String, String)) -> &str {
    said.0.lines().last().unwrap_or_default()
}

pub(crate) fn url(house: &Building, path: &str) -> String {
    format!("https://open.test:{}{path}", house.upstream().port())
}

#[tokio::test]
async fn a_call_inside_a_tunnel_is_judged_recorded_and_sent() {
    let mut house = opened().await;
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let bot = house.agent("bot");
        let said = says(
            curl(&house, &bot)
                .args([flag, "--json", r#"{"text":"hello"}"#])
                .arg(url(&house, "/v1/things?page=2")),
        )
        .await;
        assert_eq!(codes(&said), format!("200 200 {version}"), "{said:?}");
        let last = house.upstream().last();
        assert_eq!(
            (last.target.as_str(), last.text()),
            ("/v1/things?page=2", r#"{"text":"hello"}"#)
        );
        assert!(!last.everything().contains(&bot.token()), "the token stays here");
        let decision = house.journal().decisions().pop().unwrap();
        assert_eq!(decision.decision, Effect::Allow);
        assert_eq!(decision.dest.unwrap().host.as_str(), "open.test");
    }
    house.stop().await;
    crate::evidence::assert_verified(&house);
}

/// So the token does not cross the agent's own network in the clear.
#[tokio::test]
async fn a_tunnel_can_be_asked_for_over_tls() {
    let house = opened().await;
    let bot = house.agent("bot");
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let mut curl = curl(&house, &bot);
        let proxy = format!("https://agent:{}@localhost:{}", bot.token(), house.tls_port());
        curl.env("HTTPS_PROXY", proxy).args(["--proxy-cacert", "ca.pem", flag]);
        let said = says(curl.arg(url(&house, "/v1/things"))).await;
        assert_eq!(codes(&said), format!("200 200 {version}"), "{said:?}");
    }
    assert_eq!(house.upstream().count(), 2);
}

#[tokio::test]
async fn what_policy_denies_inside_a_tunnel_never_reaches_the_upstream() {
    let house = opened().await;
    let bot = house.agent("bot");
    let said =
        says(curl(&house, &bot).args(["--json", r#"{"text":"forbidden"}"#]).arg(url(&house, "/x")))
            .await;
    assert!(codes(&said).starts_with("403 200"), "{said:?}");
    assert!(said.0.contains("\"PolicyDenied\""), "{said:?}");
    assert_eq!(house.upstream().count(), 0);
    let decision = house.journal().decisions().pop().unwrap();
    assert_eq!(decision.reason, Reason::PolicyDenied);
}

#[tokio::test]
async fn a_tunnel_to_a_host_no_policy_grants_ends_in_a_refusal_that_says_so() {
    let house = opened().await;
    let bot = house.agent("bot");
    let said = says(curl(&house, &bot).arg("https://elsewhere.test/secrets")).await;
    assert!(codes(&said).starts_with("403 200"), "{said:?}");
    assert!(said.0.contains("request.host"), "{said:?}");
}

#[tokio::test]
async fn one_tunnel_carries_many_calls_and_each_has_its_record() {
    let house = opened().await;
    let bot = house.agent("bot");
    let target = url(&house, "/v1/[1-5]");
    let said = says(curl(&house, &bot).arg("--http1.1").arg(target)).await;
    assert_eq!(house.upstream().count(), 5, "{said:?}");
    assert_eq!(house.journal().decisions().len(), 5);
}

#[tokio::test]
async fn a_plain_call_through_the_proxy_is_judged_too() {
    // Of several tools for one origin the first by name is taken, and that one names no address.
    let plan = Plan::new().await.without("/tenants/acme/tools/guarded");
    let house = trusting(plan.start(GATEWAY).await);
    let bot = house.agent("bot");
    let plain = format!("http://open.test:{}/v1/plain", house.plain_upstream().port());
    let said = says(curl(&house, &bot).arg(&plain)).await;
    assert!(codes(&said).starts_with("200"), "{said:?}");
    assert_eq!(house.plain_upstream().last().target, "/v1/plain");
    let last = house.plain_upstream().last();
    assert!(!last.everything().to_lowercase().contains("proxy-"), "{last:?}");
    let mut denied = curl(&house, &bot);
    let denied = says(denied.args(["--json", r#"{"text":"forbidden"}"#]).arg(&plain)).await;
    assert!(codes(&denied).starts_with("403"), "{denied:?}");
    assert_eq!(house.plain_upstream().count(), 1);
}

#[tokio::test]
async fn without_a_token_the_proxy_asks_for_one_and_opens_nothing() {
    let house = opened().await;
    let bot = house.agent("bot");
    for proxy in ["http://127.0.0.1:", "http://agent:nonsense@127.0.0.1:"] {
        let proxy = format!("{proxy}{}", house.port());
        let mut tunnel = curl(&house, &bot);
        let tunnel = says(tunnel.env("HTTPS_PROXY", &proxy).arg("-v").arg(url(&house, "/x"))).await;
        assert!(codes(&tunnel).starts_with("000 407"), "{tunnel:?}");
        assert!(tunnel.1.contains("proxy-authenticate: Bearer"), "{tunnel:?}");
        let plain = format!("http://open.test:{}/x", house.plain_upstream().port());
        let mut absolute = curl(&house, &bot);
        let absolute = says(absolute.env("http_proxy", &proxy).arg(plain)).await;
        assert!(codes(&absolute).starts_with("407"), "{absolute:?}");
    }
    assert_eq!(house.upstream().connections() + house.plain_upstream().connections(), 0);
    assert!(house.journal().decisions().iter().all(|it| it.decision == Effect::Deny));
}

#[tokio::test]
async fn the_name_in_the_tunnel_is_the_name_it_was_opened_for() {
    let house = opened().await;
    let bot = house.agent("bot");
    // Another Host inside.
    let mut other = curl(&house, &bot);
    let other = says(other.args(["--header", "host: pay.test"]).arg(url(&house, "/x"))).await;
    assert!(codes(&other).starts_with("400 200"), "{other:?}");
    // Another name in the handshake: --connect-to changes what CONNECT names, and not the SNI.
    let port = house.upstream().port();
    let mut elsewhere = curl(&house, &bot);
    let to = format!("pay.test:{port}:open.test:{port}");
    let target = format!("https://pay.test:{port}/x");
    let elsewhere = says(elsewhere.args(["--insecure", "--connect-to", &to, &target])).await;
    assert_eq!(codes(&elsewhere), "000 200 0", "{elsewhere:?}");
    assert_eq!(house.upstream().count(), 0);
}

#[tokio::test]
async fn a_tunnel_holds_tls_and_nothing_else() {
    let house = opened().await;
    let token = house.agent("bot").token();
    let port = house.upstream().port();
    let connect = format!(
        "CONNECT open.test:{port} HTTP/1.1\r\nhost: open.test:{port}\r\n\
         proxy-authorization: Bearer {token}\r\n\r\n"
    );
    let mut line = house.raw().await;
    line.send(connect.as_bytes()).await;
    line.until("200 Connection Established\r\n\r\n").await;
    line.send(b"GET /x HTTP/1.1\r\nhost: open.test\r\n\r\n").await;
    assert_eq!(line.rest().await, "");
    // The same, all at once.
    let mut line = house.raw().await;
    line.send(format!("{connect}GET /x HTTP/1.1\r\nhost: open.test\r\n\r\n").as_bytes()).await;
    assert!(line.rest().await.ends_with("Established\r\n\r\n"));
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn an_address_is_checked_for_direct_calls_as_for_any() {
    // No tool is configured for these; the policy would let them through.
    let plan =
        Plan::new().await.policy("acme", "hosts: [open.test]", "hosts: ['*.test', 127.0.0.1]");
    let house = trusting(plan.start(GATEWAY).await);
    let bot = house.agent("bot");
    let loopback = format!("https://127.0.0.1:{}/x", house.upstream().port());
    let said = says(curl(&house, &bot).arg(&loopback)).await;
    assert!(said.0.contains("AddressForbidden"), "{said:?}");
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn origins_without_a_tool_are_trusted_by_the_authority_that_direct_names() {
    for (ca_file, expected) in [("ca.pem", "200 200 2"), ("other.pem", "502 200 2")] {
        let direct =
            json!({ "resolve": ["127.0.0.1"], "addresses": ["127.0.0.1"], "ca_file": ca_file });
        // Nothing else names an authority.
        let plan = Plan::new().await.without("/tenants/other").without("/tenants/abroad");
        let plan = plan.with("/tenants/acme/tools", json!({}));
        let plan = plan.with("/tenants/acme/direct", direct);
        plan.file("other.pem", aegis_testkit::Authority::default().pem());
        let house = trusting(plan.start(GATEWAY).await);
        let bot = house.agent("bot");
        let said = says(curl(&house, &bot).arg("--http2").arg(url(&house, "/x"))).await;
        assert_eq!(codes(&said), expected, "{said:?}");
    }
}

#[tokio::test]
async fn a_call_to_the_gateway_itself_is_a_loop() {
    let direct = json!({ "addresses": ["127.0.0.0/8"] });
    let plan = Plan::new().await.with("/tenants/acme/direct", direct);
    let plan = plan.policy("acme", "hosts: [open.test]", "hosts: [127.0.0.1]");
    let house = trusting(plan.start(GATEWAY).await);
    let bot = house.agent("bot");
    for port in [house.port(), house.tls_port()] {
        let said = says(curl(&house, &bot).arg(format!("https://127.0.0.1:{port}/x"))).await;
        assert!(said.0.contains("ProxyLoop"), "{said:?}");
    }
}

#[tokio::test]
async fn a_call_that_came_past_a_gateway_of_this_region_is_a_loop() {
    let house = house().await;
    let bot = house.agent("bot");
    bot.get("/open/first").send().await.is_ok();
    let via = house.upstream().last().header("via").unwrap();
    assert!(via.starts_with("1.1 aegis-"), "{via}");
    // As an upstream would send it that is a way back to us.
    let reply = bot.get("/open/again").header("via", &format!("1.0 fred, {via}")).send().await;
    reply.is_denied(Reason::ProxyLoop);
    assert!(reply.header("proxy-status").unwrap().contains("proxy_loop_detected"));
    assert_eq!(house.upstream().count(), 1);
}

#[tokio::test]
async fn events_and_large_answers_come_through_a_tunnel() {
    let house = opened().await;
    let large = "x".repeat(3_000_000);
    house.upstream().on("/v1/large", Script::Answer(Answer::default().body(large.clone())));
    let bot = house.agent("bot");
    let said = says(curl(&house, &bot).arg(url(&house, "/v1/large"))).await;
    assert_eq!(said.0.lines().next().map(str::len), Some(large.len()));
    std::fs::write(house.data().join("large"), &large).unwrap();
    let mut upload = curl(&house, &bot);
    upload.args(["--header", "content-type: text/plain", "--data-binary", "@large"]);
    let said = says(upload.arg(url(&house, "/x"))).await;
    assert!(codes(&said).starts_with("200 200"), "{:?}", said.1);
    assert_eq!(house.upstream().last().text().len(), large.len());
}

#[tokio::test]
async fn a_token_for_one_call_is_good_for_one_call_in_a_tunnel() {
    let house = opened().await;
    let bot = house.agent("bot").claims(|claims| claims.token_use = TokenUse::Once);
    let mut calls = curl(&house, &bot);
    let said = says(calls.arg("--http1.1").arg(url(&house, "/v1/[1-2]"))).await;
    assert!(said.0.contains("TokenReplayed"), "{said:?}");
    assert_eq!(house.upstream().count(), 1);
}

//! Every way in and every way out: versions of HTTP, with and without TLS.
//!
//! Not here: streams (`streams`) and large bodies (`bodies`).

use aegis_testkit::{Answer, Script, Wire};
use http::{Method, Version};
use serde_json::json;

use crate::house;

#[tokio::test]
async fn every_way_in_leads_to_every_way_out() {
    let house = house().await;
    let body = json!({ "text": "hello" });
    for wire in Wire::ALL {
        for (tool, is_tls, version) in [
            ("open", true, Version::HTTP_2),
            ("open-h1", true, Version::HTTP_11),
            ("open-h2", true, Version::HTTP_2),
            ("plain", false, Version::HTTP_11),
            ("plain-h2", false, Version::HTTP_2),
        ] {
            let bot = house.agent("bot");
            let ask = bot.post(&format!("/{tool}/v1/things?page=2")).json(&body);
            let reply = ask.header("x-kept", "yes").over(wire).send().await;
            reply.is_ok();
            assert_eq!(reply.json(), json!({ "ok": true }));
            assert_eq!(reply.version == Version::HTTP_2, wire.is_http2());
            let upstream = if is_tls { house.upstream() } else { house.plain_upstream() };
            let received = upstream.last();
            assert_eq!(received.version, version, "{tool} over {wire:?}");
            assert_eq!(received.method, Method::POST);
            assert_eq!(received.target, "/v1/things?page=2");
            assert_eq!(received.text(), body.to_string());
            assert_eq!(received.header("x-kept").as_deref(), Some("yes"));
            let host = format!("open.test:{}", upstream.port());
            assert_eq!(received.header("host"), Some(host), "{tool} over {wire:?}");
        }
    }
    assert_eq!(house.journal().decisions().len(), 20);
}

#[tokio::test]
async fn methods_arrive_as_they_were_sent() {
    let house = house().await;
    let methods =
        [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    for wire in [Wire::Http1, Wire::TlsHttp2] {
        for tool in ["open-h1", "open-h2"] {
            for method in &methods {
                let target = format!("/{tool}/v1/things/7");
                let bot = house.agent("bot");
                let reply = bot.ask(method.clone(), &target).over(wire).send().await;
                assert!(reply.broken.is_none(), "{method} {tool} {wire:?} {:?}", reply.broken);
                reply.is_ok();
                assert_eq!(reply.body.is_empty(), *method == Method::HEAD, "{method}");
                assert_eq!(house.upstream().last().method, method);
            }
        }
    }
    assert_eq!(house.stderr(), "", "a success is silent");
}

#[tokio::test]
async fn an_upstreams_status_headers_and_body_come_back_but_nothing_in_our_name() {
    let house = house().await;
    let answer = Answer::status(418)
        .header("x-teapot", "short")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .header("aegis-decision-id", "forged")
        .header("aegis-attestation", "forged")
        .body("stout");
    house.upstream().on("/tea", Script::Answer(answer));
    for tool in ["open-h1", "open-h2"] {
        let reply = house.agent("bot").get(&format!("/{tool}/tea")).send().await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (418, "stout"));
        assert_eq!(reply.header("x-teapot").as_deref(), Some("short"));
        assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(reply.headers.get_all("aegis-decision-id").iter().count(), 1);
        assert_ne!(reply.header("aegis-attestation").as_deref(), Some("forged"));
        reply.record();
    }
}

#[tokio::test]
async fn trailers_of_an_http2_upstream_reach_an_http2_agent() {
    let house = house().await;
    let answer = Answer::default().body("done").trailer("x-sum", "0451");
    house.upstream().on("/sum", Script::Answer(answer));
    for wire in [Wire::H2c, Wire::TlsHttp2] {
        for tool in ["open-h2", "stream-h2"] {
            let reply = house.agent("bot").get(&format!("/{tool}/sum")).over(wire).send().await;
            assert_eq!(reply.is_ok().text(), "done");
            let trailers = reply.trailers.as_ref().unwrap();
            assert_eq!(trailers.get("x-sum").unwrap(), "0451", "{tool} over {wire:?}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_expects_100_continue_gets_it_and_the_upstream_is_not_asked() {
    let house = house().await;
    let token = house.agent("bot").token();
    let mut line = house.raw().await;
    let head = format!(
        "POST /open-h1/v1/things HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\
         content-type: text/plain\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
    );
    line.send(head.as_bytes()).await;
    assert!(line.until("\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
    line.send(b"hello").await;
    assert!(line.until("{\"ok\":true}").await.starts_with("HTTP/1.1 200 "));
    let received = house.upstream().last();
    assert_eq!((received.text(), received.header("expect")), ("hello", None));
}

#[tokio::test]
async fn a_refused_agent_that_expects_100_continue_never_sends_its_body() {
    let house = house().await;
    let mut line = house.raw().await;
    line.send(
        b"POST /open/v1/things HTTP/1.1\r\nhost: gw\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
    )
    .await;
    assert!(line.until("TokenMissing").await.starts_with("HTTP/1.1 401 "));
}

//! Inside a tunnel: HTTP/1.1 and HTTP/2, whatever the upstream speaks, streams and sockets; one record for every call.
//!
//! Not here: how a tunnel is opened (`proxy`), and the libraries of others (`clients`, `grpc`, `sockets`). Invariant: what
//! the upstream saw, the journal holds, call for call.

use aegis_audit_chain::record::OutcomeDue;
use aegis_domain::Reason;
use aegis_testkit::{Agent, Answer, Building, Gate, Line, Plan, Script, Upstream, Wire};
use futures::future::join_all;
use http::Version;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{GATEWAY, house};

const INSIDE: [Wire; 2] = [Wire::TlsHttp1, Wire::TlsHttp2];

async fn tunnel(house: &Building, agent: &Agent<'_>, wire: Wire) -> Line {
    let origin = format!("open.test:{}", house.upstream().port());
    Line::inside(agent, &origin, wire).await.unwrap()
}

/// Ends the gateway: there is one decision that lets through and one outcome for each call the upstreams saw.
pub(crate) async fn assert_a_record_each(house: &mut Building, seen: usize) {
    house.stop().await;
    let decisions = house.journal().decisions();
    let sent = decisions.iter().filter(|decision| decision.outcome == OutcomeDue::Follows);
    let sent: Vec<_> = sent.map(|decision| decision.id).collect();
    let outcomes = house.journal().outcomes();
    assert_eq!((sent.len(), outcomes.len()), (seen, seen));
    assert!(sent.iter().all(|id| outcomes[id].len() == 1), "{outcomes:?}");
    crate::evidence::assert_verified(house);
}

#[tokio::test]
async fn a_kept_connection_carries_calls_of_every_kind_one_after_the_other() {
    let mut house = house().await;
    let bot = house.agent("bot");
    house.upstream().on("/v1/echo", Script::Echo);
    for wire in INSIDE {
        let mut line = tunnel(&house, &bot, wire).await;
        for turn in 0..5 {
            let text = json!({ "text": format!("turn {turn}") });
            bot.get(&format!("/v1/things?page={turn}")).send_on(&mut line).await.is_ok();
            let echoed = bot.post("/v1/echo").json(&text).send_on(&mut line).await;
            assert_eq!(echoed.is_ok().json(), text, "{wire:?}");
            let forbidden = bot.post("/v1/x").json(&json!({ "text": "forbidden" }));
            forbidden.send_on(&mut line).await.is_denied(Reason::PolicyDenied);
            let head = bot.ask(http::Method::HEAD, "/v1/things").send_on(&mut line).await;
            assert!(head.is_ok().body.is_empty());
        }
        assert!(line.is_open().await, "{wire:?}");
    }
    assert_eq!(house.upstream().count(), 30);
    assert_a_record_each(&mut house, 30).await;
}

#[tokio::test]
async fn streams_of_one_connection_are_judged_each_for_itself() {
    const STREAMS: usize = 60;
    let mut house = house().await;
    let bot = house.agent("bot");
    let line = tunnel(&house, &bot, Wire::TlsHttp2).await;
    let gate = Gate::default();
    let calls = (0..STREAMS).map(|number| {
        let path = format!("/v1/things/{number}");
        let answer = Answer::default().body(path.clone());
        house.upstream().on(&path, Script::Late(gate.clone(), answer));
        let text = if number % 3 == 0 { "forbidden" } else { "fine" };
        let ask = bot.post(&path).json(&json!({ "text": text }));
        let mut line = line.another().unwrap();
        async move { (number, path, ask.send_on(&mut line).await) }
    });
    let allowed = STREAMS - STREAMS / 3;
    // None is answered before all that may go are upstream, so they are under way together.
    let opening = async {
        house.upstream().reached(allowed).await;
        gate.open(allowed);
    };
    let (replies, ()) = tokio::join!(join_all(calls), opening);
    for (number, path, reply) in replies {
        if number % 3 == 0 {
            reply.is_denied(Reason::PolicyDenied);
        } else {
            assert_eq!(reply.is_ok().text(), path);
            assert_eq!(reply.record().outcome, OutcomeDue::Follows);
        }
    }
    assert_eq!(house.journal().decisions().len(), STREAMS);
    assert_eq!(house.upstream().count(), allowed);
    assert_a_record_each(&mut house, allowed).await;
}

#[tokio::test]
async fn agent_and_upstream_need_not_speak_the_same_version() {
    let plan = Plan::new().await;
    let (authority, hosts) = (plan.authority(), ["open.test"]);
    let upstreams = [
        (Upstream::negotiating(authority, &hosts, &["h2"]).await, Version::HTTP_2, "two"),
        (Upstream::negotiating(authority, &hosts, &["http/1.1"]).await, Version::HTTP_11, "one"),
    ];
    let plan = upstreams.iter().fold(plan, |plan, (upstream, _, name)| {
        let binding = json!({
            "upstream": format!("https://open.test:{}", upstream.port()), "resolve": ["127.0.0.1"],
            "addresses": ["127.0.0.1"], "ca_file": "ca.pem",
        });
        plan.tool(name, binding)
    });
    let mut house = plan.start(GATEWAY).await;
    let bot = house.agent("bot");
    let large = "x".repeat(300_000);
    for wire in INSIDE {
        for (upstream, version, name) in &upstreams {
            upstream.on("/v1/large", Script::Answer(Answer::default().body(large.clone())));
            let origin = format!("open.test:{}", upstream.port());
            let mut line = Line::inside(&bot, &origin, wire).await.unwrap();
            for _ in 0..3 {
                let ask = bot.post("/v1/large").body("text/plain", large.clone());
                assert_eq!(ask.send_on(&mut line).await.is_ok().body, large);
                let last = upstream.last();
                assert_eq!(last.version, *version, "{wire:?} to {name}");
                assert_eq!((last.text(), last.is_whole), (large.as_str(), true));
                assert_eq!(last.header("host"), Some(origin.clone()));
            }
        }
    }
    assert_a_record_each(&mut house, 12).await;
}

#[tokio::test]
async fn events_arrive_inside_a_tunnel_before_the_upstream_sends_the_next() {
    let mut house = house().await;
    let bot = house.agent("bot");
    for wire in INSIDE {
        let gate = Gate::default();
        let list = ["one", "two", "three"].map(str::to_owned).to_vec();
        house.upstream().on("/v1/events", Script::Events(list.clone(), gate.clone()));
        let mut line = tunnel(&house, &bot, wire).await;
        gate.open(1);
        let ask = bot.post("/v1/events").json(&json!({ "text": "go" }));
        let mut answering = ask.begin_on(&mut line).await.unwrap();
        for event in list {
            let piece = answering.piece().await.unwrap();
            assert_eq!(piece, format!("data: {event}\n\n"), "{wire:?}");
            gate.open(1);
        }
        assert_eq!(answering.piece().await, None);
        bot.get("/v1/next").send_on(&mut line).await.is_ok();
    }
    assert_a_record_each(&mut house, 4).await;
}

#[tokio::test]
async fn an_agent_that_leaves_in_the_middle_of_events_is_settled_and_recorded() {
    let mut house = house().await;
    let bot = house.agent("bot");
    for wire in INSIDE {
        let gate = Gate::default();
        gate.open(1);
        let list = ["one", "two"].map(str::to_owned).to_vec();
        house.upstream().on("/v1/payouts", Script::Events(list, gate));
        let origin = format!("pay.test:{}", house.upstream().port());
        let mut line = Line::inside(&bot, &origin, wire).await.unwrap();
        let ask = bot.post("/v1/payouts").json(&json!({ "amount": 5 }));
        let mut answering = ask.begin_on(&mut line).await.unwrap();
        let id = answering.decision_id();
        answering.piece().await.unwrap();
        // Over HTTP/2 this ends the stream and not the connection.
        drop(answering);
        if wire == Wire::TlsHttp1 {
            drop(line);
        } else {
            bot.post("/v1/x").json(&json!({ "amount": 5 })).send_on(&mut line).await.is_ok();
        }
        let outcome = house.journal().outcome(id).await;
        assert_eq!((outcome.reason, outcome.status), (Reason::AgentGone, Some(200)), "{wire:?}");
        assert_eq!(outcome.cost.micro_usd(), 10_000, "{wire:?}");
    }
    assert_a_record_each(&mut house, 3).await;
    assert!(house.state().open_holds().is_empty());
}

#[tokio::test]
async fn a_websocket_inside_a_tunnel_carries_both_ways_and_leaves_an_outcome() {
    let mut house = house().await;
    let bot = house.agent("bot");
    house.upstream().on("/v1/socket", Script::WebSocket);
    let mut line = tunnel(&house, &bot, Wire::TlsHttp1).await;
    let ask = crate::streams::HANDSHAKE
        .iter()
        .fold(bot.get("/v1/socket"), |ask, (name, value)| ask.header(name, value));
    let answering = ask.begin_on(&mut line).await.unwrap();
    let id = answering.decision_id();
    let mut tunnel = answering.tunnel().await;
    for message in [b"hello".to_vec(), vec![7; 1_000_000], b"again".to_vec()] {
        let (mut from, mut to) = tokio::io::split(&mut tunnel);
        let mut heard = vec![0; message.len()];
        let (read, wrote) = tokio::join!(from.read_exact(&mut heard), async {
            to.write_all(&message).await?;
            to.flush().await
        });
        read.unwrap();
        wrote.unwrap();
        assert_eq!(heard, message);
    }
    assert!(!house.journal().outcomes().contains_key(&id), "it is still open");
    drop((tunnel, line));
    let outcome = house.journal().outcome(id).await;
    assert_eq!(outcome.status, Some(101));
    assert_eq!(house.upstream().count(), 1);
    assert_a_record_each(&mut house, 1).await;
}

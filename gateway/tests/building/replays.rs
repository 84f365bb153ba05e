//! One token and one proof, sent a thousand times at once through every door of two gateways that share a hot state.
//!
//! Not here: the hot state by itself (`state/tests`). Invariant: what counts once is taken once, whichever door is quickest.

use std::future::Future;
use std::pin::Pin;

use aegis_domain::Reason;
use aegis_testkit::hot::{Server, Software};
use aegis_testkit::{Ask, Building, Enrolled, Line, Plan, Reply, Wire};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::GATEWAY;

/// How one attempt ended.
type Attempt<'a> = Pin<Box<dyn Future<Output = Ended> + 'a>>;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Taken,
    Replayed,
    Otherwise(String),
}

/// Two gateways on one Redis; the first keeps the registry, the second follows it.
struct Fleet {
    gateways: [Building; 2],
    _redis: Server,
}

impl Fleet {
    async fn start() -> Option<Self> {
        let redis = Server::start(&Software::Redis.installed()?, &[]);
        // The question is who is first, not how long it takes on a busy machine.
        let server = format!("127.0.0.1:{}", redis.port());
        let state = json!({ "server": server, "deadline": "1s", "issuer_skew": "0s" });
        let first = plan().await.keeping_the_registry().with("/state/redis", state.clone());
        let first = first.start(GATEWAY).await;
        let second = plan().await.following(&first).await.with("/state/redis", state);
        let second = second.start(GATEWAY).await;
        Some(Self { gateways: [first, second], _redis: redis })
    }

    /// An agent that both gateways know.
    async fn agent(&self, id: &str, more: Value) -> Enrolled {
        let region = self.gateways[0].region();
        let agent = region.agent(id, more);
        let probe = region.agent(&format!("{id}-probe"), json!({}));
        // A hot state that is new takes nothing that may have been used before it was.
        let token = loop {
            match region.try_token(&probe, false) {
                Ok(answer) => break answer.body["access_token"].as_str().unwrap().to_owned(),
                Err(error) => println!("{error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        };
        while !send(&self.gateways[1], &token).await.status.is_success() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        agent
    }

    fn calls_seen(&self) -> usize {
        let seen = |house: &Building| house.upstream().count() + house.plain_upstream().count();
        self.gateways.iter().map(seen).sum()
    }
}

/// With one tool for the plain origin, so that the proxy knows which is meant.
async fn plan() -> Plan {
    Plan::new().await.without("/tenants/acme/tools/guarded")
}

async fn send(house: &Building, token: &str) -> Reply {
    house.agent("bot").get("/open/x").bearer(token).send().await
}

fn ended(reply: &Reply) -> Ended {
    match reply.refused_for() {
        None => Ended::Taken,
        Some(Reason::TokenReplayed) => Ended::Replayed,
        Some(other) => Ended::Otherwise(other.code().to_owned()),
    }
}

/// The same call on so many connections, or streams of one.
async fn routed<'a>(
    attempts: &mut Vec<Attempt<'a>>,
    (house, wire, count): (&'a Building, Wire, usize),
    ask: &dyn Fn() -> Ask<'a>,
) {
    let mut shared: Option<Line> = None;
    for _ in 0..count {
        let another = shared.as_ref().and_then(Line::another);
        let mut line = match another {
            Some(line) => line,
            None => Line::open(house, wire).await.unwrap(),
        };
        shared = line.another();
        let ask = ask();
        attempts.push(Box::pin(async move { ended(&ask.send_on(&mut line).await) }));
    }
}

/// The same call inside tunnels that the token opened.
async fn tunnelled<'a>(
    attempts: &mut Vec<Attempt<'a>>,
    (house, wire, count): (&'a Building, Wire, usize),
    token: &str,
) {
    let origin = format!("open.test:{}", house.upstream().port());
    let mut shared: Option<Line> = None;
    for _ in 0..count {
        let another = shared.as_ref().and_then(Line::another);
        let mut line = match another {
            Some(line) => line,
            None => Line::inside_with(house, token, &origin, wire).await.unwrap(),
        };
        shared = line.another();
        let ask = house.agent("bot").get("/x").without("authorization");
        attempts.push(Box::pin(async move { ended(&ask.send_on(&mut line).await) }));
    }
}

/// The same call to the forward proxy, by its whole URL.
async fn absolute<'a>(attempts: &mut Vec<Attempt<'a>>, house: &'a Building, token: &str) {
    let port = house.plain_upstream().port();
    let mut line = house.raw().await;
    let ask = format!(
        "GET http://open.test:{port}/x HTTP/1.1\r\nhost: open.test:{port}\r\n\
         proxy-authorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    attempts.push(Box::pin(async move {
        line.send(ask.as_bytes()).await;
        let answer = line.rest().await;
        match answer.get(9..12) {
            Some("200") => Ended::Taken,
            Some(_) if answer.contains("TokenReplayed") => Ended::Replayed,
            Some(_) | None => Ended::Otherwise(answer),
        }
    }));
}

fn assert_one_was_taken(fleet: &Fleet, seen_before: usize, mut all: Vec<Ended>) {
    all.sort();
    assert_eq!(all.len(), 1_000);
    let others: Vec<_> =
        all.iter().filter(|end| !matches!(end, Ended::Taken | Ended::Replayed)).collect();
    assert!(others.is_empty(), "{} others, such as {:?}", others.len(), others[0]);
    assert_eq!(all.iter().filter(|end| **end == Ended::Taken).count(), 1);
    assert_eq!(fleet.calls_seen() - seen_before, 1, "and one call arrived");
}

#[tokio::test]
async fn a_token_for_once_is_taken_once_through_every_door_of_two_gateways() {
    let Some(fleet) = Fleet::start().await else { return };
    let agent = fleet.agent("single", json!({ "mode": "once" })).await;
    let token = fleet.gateways[0].region().token(&agent, false);
    let (seen, mut attempts) = (fleet.calls_seen(), Vec::new());
    for house in &fleet.gateways {
        let ask = || house.agent("bot").get("/open/x").bearer(&token);
        for (wire, count) in
            [(Wire::Http1, 150), (Wire::TlsHttp1, 50), (Wire::H2c, 100), (Wire::TlsHttp2, 100)]
        {
            routed(&mut attempts, (house, wire, count), &ask).await;
        }
        for (wire, count) in [(Wire::TlsHttp1, 20), (Wire::TlsHttp2, 50)] {
            tunnelled(&mut attempts, (house, wire, count), &token).await;
        }
        for _ in 0..30 {
            absolute(&mut attempts, house, &token).await;
        }
    }
    assert_one_was_taken(&fleet, seen, join_all(attempts).await);
}

#[tokio::test]
async fn a_proof_is_taken_once_through_every_door_of_two_gateways() {
    let Some(fleet) = Fleet::start().await else { return };
    let agent = fleet.agent("prover", json!({ "mode": "proof" })).await;
    let token = fleet.gateways[0].region().token(&agent, true);
    let (seen, mut attempts) = (fleet.calls_seen(), Vec::new());
    let proof = agent.proof(("GET", "https://gw.building.test/open/x"), &token, None);
    for house in &fleet.gateways {
        let ask = || {
            let ask = house.agent("bot").get("/open/x").without("authorization");
            ask.header("authorization", &format!("DPoP {token}")).header("dpop", &proof)
        };
        for (wire, count) in
            [(Wire::Http1, 150), (Wire::TlsHttp1, 50), (Wire::H2c, 150), (Wire::TlsHttp2, 150)]
        {
            routed(&mut attempts, (house, wire, count.min(100)), &ask).await;
            routed(&mut attempts, (house, wire, count.saturating_sub(100)), &ask).await;
        }
    }
    assert_one_was_taken(&fleet, seen, join_all(attempts).await);
    // Elsewhere the same proof is for another URI, and good for nothing.
    let house = &fleet.gateways[1];
    let origin = format!("http://open.test:{}/open/x", house.plain_upstream().port());
    let mut line = house.raw().await;
    let ask = format!(
        "GET {origin} HTTP/1.1\r\nhost: open.test:{}\r\nproxy-authorization: DPoP {token}\r\n\
         aegis-dpop: {proof}\r\nconnection: close\r\n\r\n",
        house.plain_upstream().port()
    );
    line.send(ask.as_bytes()).await;
    assert!(line.rest().await.contains("ProofInvalid"));
}

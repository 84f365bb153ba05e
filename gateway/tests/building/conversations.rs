//! WebSocket and gRPC through the forward proxy: clients and servers of other people, with the gateway between them.
//!
//! Not here: what our own client sees inside a tunnel (`inside`). `make clients` installs the libraries; `clients` says what
//! happens without them. Invariant: a client is configured by its environment alone, and every call has one record.
#![expect(clippy::print_stdout, reason = "says what was tried")]

use std::path::Path;
use std::process::Stdio;

use aegis_domain::Reason;
use aegis_testkit::{Building, Plan};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::GATEWAY;
use crate::clients::{installed, says, scripts, through_proxy};
use crate::inside::assert_a_record_each;
use crate::proxy::trusting;

/// A server of somebody else's, for `open.test`. Ends with the test.
struct Foreign {
    port: u16,
    _running: Child,
}

impl Foreign {
    async fn start(python: &Path, plan: &Plan, kind: &str) -> Self {
        let mut command = Command::new(python);
        command.arg(scripts().join("server.py")).arg(kind).args(plan.certify("open.test"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut running = command.spawn().unwrap();
        let mut said = BufReader::new(running.stdout.take().unwrap()).lines();
        let port = said.next_line().await.unwrap().unwrap();
        Self { port: port.parse().unwrap(), _running: running }
    }

    fn binding(&self, path: &str, more: &Value) -> Value {
        let mut binding = json!({
            "upstream": format!("https://open.test:{}{path}", self.port), "resolve": ["127.0.0.1"],
            "addresses": ["127.0.0.1"], "ca_file": "ca.pem",
        });
        binding.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        binding
    }
}

/// Runs one function of `agent.py`.
async fn agent(house: &Building, python: &Path, name: &str, target: &str) -> String {
    let mut agent = through_proxy(house, python);
    says(agent.arg(scripts().join("agent.py")).arg(name).arg(target)).await
}

#[tokio::test]
async fn websocket_libraries_talk_through_the_proxy() {
    let Some(clients) = installed() else { return };
    let python = clients.join("venv/bin/python");
    let plan = Plan::new().await;
    let foreign = Foreign::start(&python, &plan, "websocket").await;
    let mut house =
        trusting(plan.tool("sockets", foreign.binding("", &json!({}))).start(GATEWAY).await);
    let target = format!("wss://open.test:{}/v1/socket", foreign.port);
    for (library, expected) in [
        (
            "websockets",
            "['permessage-deflate'] probe.v1, closed here 1000, closed there 4001 as you wish",
        ),
        ("aiohttp_websocket", "300000 compress=12 closed=1000"),
    ] {
        assert_eq!(agent(&house, &python, library, &target).await, expected);
        println!("{library}: {expected}");
    }
    assert_a_record_each(&mut house, 3).await;
    for outcome in house.journal().outcomes().values().flatten() {
        assert_eq!((outcome.status, outcome.reason), (Some(101), Reason::Allowed));
    }
}

#[tokio::test]
async fn grpc_calls_of_every_shape_go_through_the_proxy() {
    let Some(clients) = installed() else { return };
    let python = clients.join("venv/bin/python");
    let plan = Plan::new().await;
    let foreign = Foreign::start(&python, &plan, "grpc").await;
    // A conversation cannot wait for the end of its first half, so its service streams; the other is read and judged whole.
    let judged = foreign.binding("/probe.Judged", &json!({}));
    let streams = foreign.binding("/probe.Streams", &json!({ "body": "stream" }));
    let plan = plan.tool("judged", judged).tool("streams", streams);
    let mut house = trusting(plan.start(GATEWAY).await);
    for (service, expected) in [
        (
            "probe.Judged",
            "NOT_FOUND no such thing, says the upstream kept, DEADLINE_EXCEEDED, DATA_LOSS, 5: 28 calls",
        ),
        ("probe.Streams", "['ONE', 'TWO', 'THREE'] OK, CANCELLED, 6553600: 3 calls"),
    ] {
        let target = format!("open.test:{}/{service}", foreign.port);
        assert_eq!(agent(&house, &python, "grpc", &target).await, expected);
        println!("{service}: {expected}");
    }
    assert_a_record_each(&mut house, 31).await;
    let outcomes = house.journal().outcomes();
    let left = outcomes.values().flatten().filter(|outcome| outcome.reason == Reason::AgentGone);
    assert_eq!(left.count(), 2, "one deadline and one cancelled conversation");
}

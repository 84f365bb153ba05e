//! Two gateways that pay calls out of leases on one Redis: no budget is overdrawn, and no cent is lost when they stop.
//!
//! Not here: kill -9 (`kill.rs`), and how leases work (`state/leased`).

use std::time::Duration;

use aegis_domain::Reason;
use aegis_state::{
    BudgetWindow, Deployment, HotState as _, RedisConfig, RedisState, Server as Address,
};
use aegis_testkit::hot::{Server, Software};
use aegis_testkit::{Building, Plan, Reply};
use futures::StreamExt as _;
use serde_json::json;

use crate::GATEWAY;

/// The budget covers this many calls.
const COVERED: usize = 200;
const CALLS: usize = 150;
const AT_ONCE: usize = 8;

async fn gateway(server: &Server) -> Building {
    let address = format!("127.0.0.1:{}", server.port());
    let leases = json!({ "amount_usd": "0.2", "gateways": 2, "ttl": "5s" });
    let redis = json!({ "server": address, "deadline": "1s", "leases": leases });
    let bot = json!({ "groups": ["staff"], "budgets": { "day_usd": "2" } });
    let plan = Plan::new().await.with("/state/redis", redis).with("/tenants/acme/agents/bot", bot);
    plan.start(GATEWAY).await
}

/// Many calls with one token, some at the same time; returns how many were paid for.
async fn spend(house: &Building) -> usize {
    let token = house.agent("bot").token();
    let payout = |_| {
        let ask = house.agent("bot").post("/pay/v1/out").bearer(&token);
        ask.json(&json!({ "amount": 1 })).send()
    };
    let replies: Vec<Reply> =
        futures::stream::iter(0..CALLS).map(payout).buffer_unordered(AT_ONCE).collect().await;
    for refused in replies.iter().filter(|reply| !reply.status.is_success()) {
        refused.is_denied(Reason::OutOfBudget);
    }
    replies.iter().filter(|reply| reply.status.is_success()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_with_leases_spend_a_budget_to_the_cent_and_no_further() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let (mut first, mut second) = (gateway(&server).await, gateway(&server).await);
    let (here, there) = futures::join!(spend(&first), spend(&second));
    first.stop().await;
    second.stop().await;

    let paid = here + there;
    assert!(paid <= COVERED, "{paid} calls were paid for");
    let leases = server.ask(&["KEYS", "ag:{acme}:j:lease-*"]);
    assert!(leases.contains("lease-"), "no lease was held, so nothing is shown");
    let address = Address { host: server.ip().to_owned(), port: server.port() };
    let config = RedisConfig::new(Deployment::Single(address));
    let state = RedisState::open(config, tokio::runtime::Handle::current()).unwrap();
    while state.health().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let newest = first.journal().records().last().unwrap().head.ts;
    let day = Building::budget("acme", Some("bot"), BudgetWindow::Day);
    let now = aegis_domain::Timestamp::from_unix_ns(newest);
    let spent = state.spend(&day, now).await.unwrap();
    assert_eq!((spent.spent.micro_usd(), spent.held.micro_usd()), (paid as u64 * 10_000, 0));
}

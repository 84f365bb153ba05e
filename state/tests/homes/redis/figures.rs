//! What a decision costs: on Redis over loopback and embedded, in the same run.
//!
//! Not here: assertions; a machine's speed is no promise. Invariant: both homes get the same asks in the same order.
//! `cargo test --release -p aegis-state --test homes figures -- --ignored --nocapture`

use std::time::{Duration, Instant};

use aegis_domain::Ttl;
use aegis_state::{Ask, Counted, HotState, Rates};
use aegis_state_embedded::{EmbeddedConfig, EmbeddedState};
use aegis_testkit::hot::{Server, Software};
use futures::future::join_all;

use super::stand::{Gateway, live, single};
use crate::conformance::{agent_month, ask, budgets, is_granted, limit, tenant_day, usd};

const ALONE: u64 = 20_000;
const ASKERS: u64 = 64;
const EACH: u64 = 2_000;

/// Four budgets and three rates, as a gateway asks.
fn call(n: u64) -> Ask {
    let day = aegis_state::BudgetKey { window: aegis_state::BudgetWindow::Day, ..agent_month() };
    let month = aegis_state::BudgetKey { scope: aegis_state::BudgetScope::Tenant, ..agent_month() };
    let all = [(tenant_day(), 1 << 50), (month, 1 << 50), (day, 1 << 50), (agent_month(), 1 << 50)];
    let many = limit(4_000_000_000, 1_000_000);
    let rates = Rates { second: many, minute: many, hour: many };
    let rates = Counted { agent: rates, ..Counted::default() };
    live(Ask { budgets: budgets(all), rates, hold_ttl: Ttl::from_s(900), ..ask(n) })
}

#[expect(clippy::print_stdout, reason = "the figures are the result")]
async fn alone(name: &str, state: &impl HotState, first: u64) {
    let mut took = Vec::new();
    for n in first..first + ALONE {
        let ask = call(n);
        let start = Instant::now();
        let answer = state.decide(&ask).await;
        took.push(start.elapsed());
        assert!(is_granted(&answer), "{answer:?}");
        if n.is_multiple_of(2) {
            state.settle(&ask.hold(), usd(3), ask.now).await.unwrap();
        }
    }
    took.sort();
    let at = |share: f64| took[(took.len() as f64 * share) as usize];
    println!(
        "{name}: P50 {:.1?}, P99 {:.1?}, one asker, every other call settled",
        at(0.5),
        at(0.99)
    );
}

#[expect(clippy::print_stdout, reason = "the figures are the result")]
fn together(name: &str, gateway: &Gateway, server: &Server, first: u64) {
    let cpu = |server: &Server| -> f64 {
        ["used_cpu_user_main_thread", "used_cpu_sys_main_thread"]
            .map(|field| server.info(field).parse::<f64>().unwrap())
            .iter()
            .sum()
    };
    let (cpu_before, start) = (cpu(server), Instant::now());
    let asker = |a: u64| async move {
        let mut took = Vec::new();
        for n in 0..EACH {
            let ask = call(first + a * EACH + n);
            let start = Instant::now();
            assert!(is_granted(&gateway.decide(&ask).await));
            took.push(start.elapsed());
        }
        took
    };
    let mut took: Vec<Duration> =
        gateway.run(join_all((0..ASKERS).map(asker))).into_iter().flatten().collect();
    let (passed, decisions) = (start.elapsed().as_secs_f64(), (ASKERS * EACH) as f64);
    let used = (cpu(server) - cpu_before) * 1e6 / decisions;
    took.sort();
    let at = |share: f64| took[(took.len() as f64 * share) as usize];
    println!(
        "{name}: {ASKERS} askers: {:.0}/s, P50 {:.1?}, P99 {:.1?}; server CPU {used:.1} us a decision, so {:.0}/s a core",
        decisions / passed,
        at(0.5),
        at(0.99),
        1e6 / used,
    );
    println!("{name}: {}", server.info("cmdstat_evalsha"));
}

#[test]
#[ignore = "a measurement"]
fn figures_of_a_decision() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = EmbeddedState::open(EmbeddedConfig::new(directory.path().into())).unwrap();
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let server = Server::start(&program, &["--appendonly", "yes"]);
        let gateway = Gateway::open(single(&server));
        let name = format!("{software:?}");
        let first = (software as u64) << 40;
        gateway.run(alone(&name, &gateway.state, first + 1));
        gateway.run(alone("embedded", &embedded, first + 1));
        together(&name, &gateway, &server, first + (1 << 30));
    }
}

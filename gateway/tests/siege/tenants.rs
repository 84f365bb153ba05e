//! What a thousand real tenants take: of memory and disk at voters that hold them, and of memory at gateways that follow them.
//!
//! Not here: how long an activation takes (`figures`). Invariant: nothing fails on a figure; a tenant has what a tenant has: a
//! shipped pack in two versions of which the second decides, tools, limits, agents with keys of their own, and overrides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aegis_control_client::{Client, Conditions, enrolment_proof};
use aegis_identity::SigningKey;
use aegis_testkit::Building;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::agents::now;
use crate::town::{Disks, Town, Voter};

const AGENTS: usize = 5;
const TOOLS: usize = 3;
const OVERRIDES: usize = 5;
const WRITERS: usize = 6;
/// How many the second gateway follows.
const FEW: usize = 10;
/// A gateway compiles all that it follows before it is ready, and tests it.
const STARTED_WITHIN: Duration = Duration::from_secs(1_200);

const PACKS: [(&str, &str); 5] = [
    ("finance", include_str!("../../../policies/packs/finance.yaml")),
    ("healthcare", include_str!("../../../policies/packs/healthcare.yaml")),
    ("llm", include_str!("../../../policies/packs/llm.yaml")),
    ("mcp", include_str!("../../../policies/packs/mcp.yaml")),
    ("msp", include_str!("../../../policies/packs/msp.yaml")),
];

fn tenants() -> usize {
    std::env::var("AEGIS_TENANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000)
}

fn name(number: usize) -> String {
    format!("t-{number:04}")
}

/// A pack as a tenant has it.
fn policy(number: usize, version: usize) -> String {
    let (pack, text) = PACKS[number % PACKS.len()];
    let head = format!("name: {pack}, tenant: {pack}");
    assert!(text.contains(&head), "{pack} is called otherwise");
    text.replace(&head, &format!("name: {pack}-{version}, tenant: {}", name(number)))
}

/// Makes one tenant after the other at one voter.
struct Writer {
    client: Client,
    issuer: String,
}

impl Writer {
    fn put(&self, path: &str, body: &Value, version: Option<&str>) {
        let conditions = Conditions { version, once: None };
        self.client.put(path, body, &conditions).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(path, body, &Conditions::default());
        answer.unwrap_or_else(|error| panic!("{path}: {error}")).body
    }

    fn run(&self, next: &AtomicUsize) {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        numbers.take_while(|number| *number < tenants()).for_each(|number| self.make(number));
    }

    fn make(&self, number: usize) {
        let tenant = name(number);
        for version in 1..=2 {
            let text = policy(number, version);
            let files = json!({ "files": [{ "name": "policy.yaml", "text": text }] });
            self.post(&format!("/v1/policies/{tenant}/prod/versions"), &files);
            let seen = format!("\"{}\"", version - 1);
            let path = format!("/v1/policies/{tenant}/prod/pointer");
            self.put(&path, &json!({ "active": version }), Some(&seen));
        }
        for tool in 0..TOOLS {
            let text = format!(
                "# {tenant}'s own\nupstream: https://api-{tool}.{tenant}.example\nkind: write\n\
                 price: {{ per_call_usd: '0.02' }}\n"
            );
            let path = format!("/v1/tenants/{tenant}/tools/tool-{tool}");
            self.put(&path, &json!({ "text": text }), None);
        }
        let limits = json!({ "text": "budgets: { day_usd: '20', month_usd: '300' }\n" });
        self.put(&format!("/v1/tenants/{tenant}/limits"), &limits, None);
        (0..AGENTS).for_each(|agent| self.enrol(&tenant, (number, agent)));
        for grant in 0..OVERRIDES {
            let digest = Sha256::digest(format!("{tenant} {grant}"));
            let wish = json!({
                "tenant": tenant, "params_hash": URL_SAFE_NO_PAD.encode(digest),
                "rules": ["large-payment"], "ttl_s": 24 * 60 * 60,
            });
            self.post("/v1/overrides", &wish);
        }
    }

    fn enrol(&self, tenant: &str, (number, agent): (usize, usize)) {
        let wanted = json!({
            "tenant": tenant, "id": format!("agent-{agent}"), "org": "acme",
            "groups": ["finance", "staff"], "scopes": ["payments:write", "care:write"],
        });
        let made = self.post("/v1/agents", &wanted);
        let code = made["enrolment"]["code"].as_str().unwrap();
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&(number * AGENTS + agent).to_le_bytes());
        let key = SigningKey::from_seed(seed);
        let proof = enrolment_proof(&key, &self.issuer, code, now());
        self.post("/v1/enrol", &json!({ "code": code, "jwk": key.public_jwk(), "proof": proof }));
    }
}

fn fill(town: &Town) {
    let next = AtomicUsize::new(0);
    let region = town.voters[0].house.region();
    std::thread::scope(|scope| {
        for number in 0..WRITERS {
            let client = town.voters[number % town.voters.len()].client();
            let (writer, next) = (Writer { client, issuer: region.url().to_owned() }, &next);
            scope.spawn(move || writer.run(next));
        }
    });
}

fn mib(house: &Building) -> u64 {
    house.resident_bytes() / (1_024 * 1_024)
}

fn told(when: &str, voters: &[Voter], leader: usize) {
    for (nth, voter) in voters.iter().enumerate() {
        let what = if nth == leader { "leads" } else { "follows" };
        eprintln!("| {when} | voter {} {what} | {} MiB |", voter.id, mib(&voter.house));
    }
}

async fn ready(house: &Building) -> Duration {
    let begun = Instant::now();
    while !house.is_ready().await {
        assert!(begun.elapsed() < STARTED_WITHIN, "{}", house.stderr());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    begun.elapsed()
}

/// A gateway that follows so many, from nothing and again with what it kept.
async fn followed_by(town: &mut Town, count: usize) {
    let tenants: Map<_, _> = (0..count)
        .map(|number| {
            let policy = json!({ "release": "prod" });
            let of = json!({
                "org": "acme", "region": "eu-west-1", "policy": policy, "agents": {}, "tools": {},
            });
            (name(number), of)
        })
        .collect();
    let plan = town.following(&format!("of-{count}")).await;
    let plan = plan
        .with("/tenants", Value::Object(tenants))
        .with("/definitions", json!({ "from": "region" }));
    let mut house = plan.launch(&town.build).await;
    let first = ready(&house).await;
    eprintln!("| a gateway of {count} | ready after {first:.1?} | {} MiB |", mib(&house));
    house.stop().await;
    house.launch_again();
    let again = ready(&house).await;
    eprintln!("| the same, started again | ready after {again:.1?} | {} MiB |", mib(&house));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures are for a quiet machine: `make voterfigures`"]
async fn figures_of_a_thousand_tenants() {
    let Some(mut town) = Town::found(3, Disks::Real).await else { return };
    for gateway in &mut town.gateways {
        gateway.stop().await;
    }
    let leader = town.leader().await;
    told("two tenants", &town.voters, leader);
    let begun = Instant::now();
    fill(&town);
    eprintln!("{} tenants made in {:.1?}", tenants(), begun.elapsed());
    let leader = town.leader().await;
    told("just filled", &town.voters, leader);
    let begun = Instant::now();
    let backup = town.voters[leader].house.region().bytes("/v1/cluster/backup");
    eprintln!("the state is {} KiB, written down in {:.2?}", backup.len() / 1_024, begun.elapsed());
    let files = std::fs::read_dir(town.voters[leader].house.data().join("control/ledger")).unwrap();
    let kept: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    eprintln!("the ledger's files take {} KiB", kept / 1_024);
    for nth in 0..town.voters.len() {
        let begun = Instant::now();
        town.voters[nth].house.stop().await;
        town.voters[nth].house.start_again().await;
        eprintln!(
            "voter {} stopped and ready again in {:.1?}",
            town.voters[nth].id,
            begun.elapsed()
        );
    }
    let leader = town.leader().await;
    told("started again", &town.voters, leader);
    followed_by(&mut town, FEW.min(tenants())).await;
    followed_by(&mut town, tenants()).await;
    let leader = town.leader().await;
    told("at last", &town.voters, leader);
}

//! The audit log's figures, made on the disk below a folder: what a record costs, how long its owner waits, what verifying costs;
//! beside them a plain chain of JSON lines.
//!
//! Not a test: no figure fails anything, and a busy machine shows. Always holds: latency counts from when a record was *due*.
//! Run `cargo bench -p aegis-audit-ship --bench figures -- <folder>`; four minutes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench may fail loudly, and it prints"
)]

#[path = "../../../verify/tests/verifier/two.rs"]
mod two;

mod load;
mod plain;
mod reading;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aegis_audit_chain::Hash;
use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::record::{BodyDigest, BudgetHold, DecisionEntry, Dest, OutcomeDue};
use aegis_audit_ship::{FILE_BYTES, Journal, JournalConfig, RealDisk};
use aegis_domain::{
    AgentId, CallKind, DecisionId, Effect, EstimateKind, Host, KeyId, Method, MicroUsd, ParamsHash,
    PolicyRef, Reason, Region, RuleId, TenantId, Timestamp, TokenUse, ToolName, TraceContext,
};

use load::Load;

/// A record of `decision`.
const RECORD_BYTES: usize = 1_246;

fn main() {
    let folder = std::env::args().nth(1).filter(|word| !word.starts_with("--"));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(folder).unwrap();
    println!("load average before: {}", std::fs::read_to_string("/proc/loadavg").unwrap().trim());

    println!(
        "\n| journal | disk | records/s | wait P50 ms | P99 | CPU µs a record, writer and anchors |\n|---|---|---|---|---|---|"
    );
    for busy in [false, true] {
        show("one write and fdatasync alone", busy, &load::disk(dir.path(), 1_000, busy));
        for rate in [1_000, 10_000, 20_000, 50_000] {
            show("journal", busy, &load::journal(dir.path(), Some(rate), busy));
        }
        show("journal, 256 at once", busy, &load::journal(dir.path(), None, busy));
    }
    show("plain chain", false, &plain::load(dir.path(), Some(1_000), false));
    show("plain chain, 256 at once", false, &plain::load(dir.path(), None, false));
    show("plain chain, 256 at once", true, &plain::load(dir.path(), None, true));

    println!("\n| reading and keeping | |\n|---|---|");
    reading::figures(dir.path());
    plain::reading(dir.path());
    println!("\nload average after: {}", std::fs::read_to_string("/proc/loadavg").unwrap().trim());
}

fn show(what: &str, busy: bool, load: &Load) {
    let disk = if busy { "busy" } else { "quiet" };
    let (rate, p50, p99) = (load.rate(), load.percentile(50), load.percentile(99));
    // A plain chain has no threads of its own.
    let cpu = load.own_cpu_us().map(|us| format!("{us:.1}")).unwrap_or_default();
    println!("| {what} | {disk} | {rate:.0} | {p50:.2} | {p99:.2} | {cpu} |");
}

fn journal(dir: &std::path::Path) -> Journal {
    Journal::open(config(dir)).unwrap().0
}

fn config(dir: &std::path::Path) -> JournalConfig {
    JournalConfig {
        dir: dir.to_path_buf(),
        domain: "aegis.example".to_owned(),
        region: Region::parse("eu-west-1").unwrap(),
        writer: "gw-1".to_owned(),
        build: "figures".to_owned(),
        config_sha256: Hash::of(b"config"),
        region_key: SecretKey::from_seed(&[7; 32]),
        clock: Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
        }),
        disk: Arc::new(RealDisk),
        file_bytes: FILE_BYTES,
        revoked: Vec::new(),
    }
}

/// A decision as a gateway with everything on writes it.
fn decision(n: u64) -> DecisionEntry {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&n.to_be_bytes());
    let id = DecisionId::new(1_790_000_000_000 + n, random);
    let region = Region::parse("eu-west-1").unwrap();
    let digest = |what: &str| Hash::of(format!("{what}{n}").as_bytes());
    DecisionEntry {
        tenant: Some(TenantId::parse("acme").unwrap()),
        trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        agent: Some(AgentId::parse("spiffe://acme/agent/7").unwrap()),
        jti: Some(digest("jti")),
        token_use: Some(TokenUse::Bound),
        tool: Some(ToolName::parse("payments.create").unwrap()),
        route: Some(ToolName::parse("payments").unwrap()),
        dest: Some(Dest {
            host: Host::parse("api.payments.example").unwrap(),
            port: 443,
            method: Method::parse("POST").unwrap(),
            path: digest("path"),
        }),
        kind: Some(CallKind::Write),
        policy: Some(PolicyRef {
            revision: "acme/prod@17".to_owned(),
            version: 17,
            bundle_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                .into(),
        }),
        rules: vec![RuleId::parse("payments-small").unwrap()],
        params: Some(ParamsHash::of(&n.to_be_bytes())),
        body_in: Some(BodyDigest { sha256: digest("body"), size: 1_024 }),
        budget: Some(BudgetHold {
            keys: vec!["tenant/day".to_owned()],
            held: MicroUsd::new(1_500),
            estimate: EstimateKind::Ceiling,
            warned: Vec::new(),
        }),
        est_cost: MicroUsd::new(1_500),
        eval_us: 87,
        att_kid: Some(KeyId::parse("gw-1-a").unwrap()),
        outcome: OutcomeDue::None,
        sd: vec![digest("input")],
        ..DecisionEntry::new(id, region, Effect::Allow, Reason::Allowed)
    }
}

//! The real gateway with its audit log on the way into a bucket: a folder, or an S3 that is slow, away, weak or shared.
//!
//! Not here: what the shipper does step by step (`audit/ship/tests`). Invariant: what an auditor is told here comes from the
//! bucket and the trust file alone.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "the numbers are part of the evidence")]

mod auditors;
mod backlog;
mod exports;
mod kills;
mod proofs;
mod stores;

use std::path::Path;
use std::time::{Duration, Instant};

use aegis_audit_ship::{Address, Bucket, BucketLog, Indexes};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Options, Report, verify_region};
use aegis_buckets::options;
use aegis_testkit::{Building, Plan};
use serde_json::{Value, json};

const GATEWAY: &str = env!("CARGO_BIN_EXE_aegis-gateway");
/// A store that was away is asked again after a minute at most, and on a busy machine that comes on top.
const PATIENCE: Duration = Duration::from_secs(180);

/// A building of one tenant: a start is quicker without the others.
async fn plan() -> Plan {
    let plan = Plan::new().await.without("/tenants/other").without("/tenants/abroad");
    let library = json!({
        "upstream": format!("https://open.test:{}", plan.upstream().port()),
        "addresses": ["127.0.0.1"], "resolve": ["127.0.0.1"], "ca_file": "ca.pem", "kind": "read",
    });
    plan.tool("library", library)
}

/// What `audit.ship` says of a bucket of the S3 on this port.
fn s3(port: u16, place: &str) -> Value {
    json!({
        "to": format!("s3://{place}"),
        "region": "us-east-1",
        "endpoint": format!("http://127.0.0.1:{port}"),
        "credentials": { "access_key_id": "test", "secret_access_key": { "file": "store-secret" } },
    })
}

trait Ships {
    fn ships(self, shipping: Value) -> Self;
}

impl Ships for Plan {
    fn ships(self, shipping: Value) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        self.file("store-secret", "test");
        let closed = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path("store-secret"), closed).unwrap();
        self.with("/audit/ship", shipping)
    }
}

/// The same place, as an auditor opens it.
fn address(port: u16, place: &str) -> Address {
    Address { url: format!("s3://{place}"), options: options(port) }
}

/// Verifies what is in a bucket; off the runtime, because the bucket's client has one of its own.
async fn verify(house: &Building, address: Address) -> Report {
    let trust = std::fs::read_to_string(house.data().join("trust.txt")).unwrap();
    verify_under(Trust::parse(&trust).unwrap(), address).await
}

async fn verify_under(trust: Trust, address: Address) -> Report {
    let work = tokio::task::spawn_blocking(move || {
        let bucket = Bucket::open(&address).unwrap();
        let log = BucketLog::open(&bucket, &trust, Indexes::Checked).unwrap();
        let options =
            Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
        verify_region(&log, &trust, &options, &mut |_| {})
    });
    work.await.unwrap()
}

fn folder(path: &Path) -> Address {
    Address::folder(path).unwrap()
}

/// Waits until the operators' door shows it.
async fn shows(house: &Building, what: &str, is_shown: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_shown().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: {}", house.ops("GET", "/readyz").await.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

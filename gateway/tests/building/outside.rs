//! Audit logs before witnesses that are not their operator's: a program of others, and the voters of another region.
//!
//! Not here: the region's own voters (`anchors`), the protocol (`control/tests/api/witness.rs`). Invariant: witnesses, voters, gateways and
//! the program an auditor uses are processes, and the auditor is given nothing by the operator who lies.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aegis_audit_chain::Hash;
use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::record::Record;
use aegis_domain::Reason;
use aegis_testkit::{Building, OutsideWitness, Plan, Reply};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::GATEWAY;
use crate::anchors::copy;
use crate::voters::join_with;

/// A witness is asked every ten seconds, and a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

async fn write(house: &Building) -> Reply {
    house.agent("bot").post("/open/x").json(&json!({})).send().await
}

async fn read(house: &Building) -> Reply {
    house.agent("bot").get("/library/x").send().await
}

/// The key of a gateway's log, which it says at its first start.
fn log_key(house: &Building) -> String {
    let trust = std::fs::read_to_string(house.data().join("trust.txt")).unwrap();
    trust.lines().find_map(|line| line.strip_prefix("log ")).unwrap().to_owned()
}

/// Waits for a gateway to be so.
async fn becomes(house: &Building, what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: {}", house.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn seen(house: &Building, witness: &str) -> u64 {
    house.metric(&format!("aegis_audit_witnessed_size{{witness=\"{witness}\"}}")).await
}

/// Writes until a witness has seen more of the log than `size`.
async fn witnessed(house: &Building, witness: &str, size: u64) -> u64 {
    becomes(house, "no witness sees a write", async || {
        write(house).await;
        seen(house, witness).await > size
    })
    .await;
    seen(house, witness).await
}

/// The program an auditor uses; `None` where it is not built.
fn aegisctl(desk: &Path, words: &[&str]) -> Option<(Option<i32>, String, String)> {
    let program = Path::new(GATEWAY).parent().unwrap().join("aegisctl");
    if !program.exists() {
        assert!(std::env::var_os("CI").is_none(), "CI builds aegisctl beside the gateway");
        println!("skipped: aegisctl is not built");
        return None;
    }
    let done = Command::new(program).args(words).env("AEGIS_DATA", desk).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Some((done.status.code(), text(done.stdout), text(done.stderr)))
}

/// The newest head of a gateway's log that a witness cosigned.
fn newest_witnessed(house: &Building) -> String {
    let dir = std::fs::read_dir(house.data().join("audit/registry.gw-1/1/witnessed")).unwrap();
    let newest = dir.map(|entry| entry.unwrap().path()).max().unwrap();
    std::fs::read_to_string(newest).unwrap()
}

/// A gateway with a tool whose calls change nothing.
async fn with_library() -> Plan {
    let plan = Plan::new().await.with("/name", json!("gw-1"));
    let library = json!({
        "upstream": format!("https://open.test:{}", plan.upstream().port()),
        "addresses": ["127.0.0.1"], "resolve": ["127.0.0.1"], "ca_file": "ca.pem", "kind": "read",
    });
    plan.tool("library", library)
}

#[tokio::test]
async fn a_witness_of_others_must_agree_where_the_operator_said_so_and_an_auditor_asks_for_its_word()
 {
    let mut house = with_library().await.start(GATEWAY).await;
    house.stop().await;
    let Some(mut witness) = OutsideWitness::of(&log_key(&house)) else { return };
    let listed = json!([{ "vkey": witness.vkey(), "url": witness.url() }]);
    house.reconfigure(
        "/audit",
        json!({ "witnesses": listed, "witness_quorum": 1, "anchor_lag_max": "1s" }),
    );
    house.start_again().await;
    let size = witnessed(&house, witness.name(), 0).await;

    // Act and assert: without it writes end and reads go on; with it they go on again.
    witness.kill();
    becomes(&house, "writes go on", async || {
        write(&house).await.refused_for() == Some(Reason::AuditBacklog)
    })
    .await;
    read(&house).await.is_ok();
    assert!(lag(&house).await > 1.0);
    assert_eq!(
        house.metric("aegis_audit_witness_trouble{witness=\"witness.example/w1\"}").await,
        1
    );
    witness.start();
    becomes(&house, "writes do not go on again", async || {
        write(&house).await.refused_for().is_none()
    })
    .await;
    assert!(lag(&house).await <= 1.0);
    let size = witnessed(&house, witness.name(), size).await;
    house.stop().await;

    // An auditor who wants its word under every head, with the newest one that it cosigned.
    let desk = tempfile::tempdir().unwrap();
    let [trust, heads] =
        ["trust.txt", "heads.txt"].map(|name| desk.path().join(name).display().to_string());
    let policy = format!("log {}\nwitness w1 {}\nquorum w1\n", log_key(&house), witness.vkey());
    std::fs::write(&trust, policy).unwrap();
    let newest = newest_witnessed(&house);
    assert!(newest.contains("\u{2014} witness.example/w1 "), "{newest}");
    std::fs::write(&heads, newest).unwrap();
    let audit = house.data().join("audit").display().to_string();
    let words = ["audit", "verify", &audit, "--trust", &trust, "--heads", &heads];
    if let Some((code, said, _)) = aegisctl(desk.path(), &words) {
        assert!(code == Some(0) && said.lines().any(|line| line == "PASS"), "{said}");
    }

    // Where nobody said that it must agree, it is told and holds nobody up.
    witness.kill();
    house.reconfigure("/audit", json!({ "witnesses": listed, "anchor_lag_max": "1s" }));
    house.start_again().await;
    becomes(&house, "nobody says that the witness is away", async || {
        write(&house).await.is_ok();
        house.metric("aegis_audit_witness_trouble{witness=\"witness.example/w1\"}").await == 1
    })
    .await;
    write(&house).await.is_ok();
    assert!(seen(&house, witness.name()).await <= size);
    house.stop().await;
}

/// For how many seconds the quorum has been missing.
async fn lag(house: &Building) -> f64 {
    let metrics = house.ops("GET", "/metrics").await.text();
    let mut lines = metrics.lines();
    let lag = lines.find_map(|line| line.strip_prefix("aegis_audit_witness_lag_seconds "));
    lag.unwrap().parse().unwrap()
}

/// Another region's three voters.
async fn abroad() -> [Building; 3] {
    let plan = async || {
        let plan = Plan::new().await.with("/region", json!("us-east-1"));
        let plan =
            plan.with("/regions", json!({ "eu-west-1": "https://gw.eu-west-1.building.test" }));
        plan.with("/tenants/acme/region", json!("us-east-1"))
    };
    let first = plan().await.founding().start(GATEWAY).await;
    let second = join_with(plan().await, &first).await.0;
    let third = join_with(plan().await, &first).await.0;
    [first, second, third]
}

/// What is said below `audit` of a gateway that these voters must agree with.
fn under(voters: &[Building], bucket: &Path) -> Value {
    let ledger = voters[0].region().get("/v1/audit/logs");
    let witnesses: Vec<Value> = ledger["witnesses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|voter| {
            let url = format!("{}/v1/audit/witness", voter["url"].as_str().unwrap());
            json!({ "vkey": voter["key"], "url": url })
        })
        .collect();
    assert_eq!(witnesses.len(), 3, "{ledger}");
    json!({ "witnesses": witnesses, "witness_quorum": 2, "anchor_lag_max": "5s", "ship": { "to": bucket } })
}

/// What a verifier of a plain hash chain says: each record of each stream names the hash of the one before.
fn plain_chain_is_valid(audit: &Path) -> bool {
    let mut dirs = vec![audit.join("streams")];
    while let Some(dir) = dirs.pop() {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => files.extend((path.extension() == Some("wal".as_ref())).then_some(path)),
            }
        }
        files.sort();
        let mut before: Option<Hash> = None;
        for file in files {
            let bytes = std::fs::read(file).unwrap();
            for frame in Frames::open(&bytes).unwrap().1 {
                let Ok(record) = frame.map(|frame| frame.record) else { return false };
                let Ok(head) = Record::parse(record).map(|record| record.head) else {
                    return false;
                };
                if before.is_some_and(|before| before != head.prev) {
                    return false;
                }
                before = Some(Hash::leaf(record));
            }
        }
    }
    true
}

/// Somebody who asks the other region about this one's logs, and trusts nobody else.
struct Auditor {
    desk: tempfile::TempDir,
    log: String,
}

impl Auditor {
    /// Is told what to trust, and how far each log is; `None` where there is no program to ask with.
    fn asking(voter: &Building, bucket: &Path) -> Option<Self> {
        let desk = tempfile::tempdir().unwrap();
        let auditor = Self { desk, log: bucket.display().to_string() };
        let token = voter.data().join("control/admin.token").display().to_string();
        let url = voter.control_url();
        let of = ["--logs-of", "eu-west-1", "--control", &url, "--admin-token", &token];
        let ask = |words: &[&str]| aegisctl(auditor.desk.path(), &[words, &of].concat());
        let (code, _, trouble) = ask(&["audit", "trust", "--out", &auditor.path("trust.txt")])?;
        assert_eq!(code, Some(0), "{trouble}");
        let (_, heads, _) = ask(&["audit", "heads"])?;
        std::fs::write(auditor.path("heads.txt"), heads).unwrap();
        Some(auditor)
    }

    fn path(&self, name: &str) -> String {
        self.desk.path().join(name).display().to_string()
    }

    /// Exit code and words, of the log alone or with the heads that the other region cosigned.
    fn verify(&self, more: &[&str]) -> (Option<i32>, String) {
        let trust = self.path("trust.txt");
        let words = [&["audit", "verify", &self.log, "--trust", &trust], more].concat();
        let (code, said, _) = aegisctl(self.desk.path(), &words).unwrap();
        (code, said)
    }

    fn verify_heads(&self) -> (Option<i32>, String) {
        self.verify(&["--heads", &self.path("heads.txt")])
    }
}

/// Everything that belongs to a region, as it was at some time.
struct Backup {
    folder: tempfile::TempDir,
    of: Vec<PathBuf>,
}

impl Backup {
    fn of(of: Vec<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (nth, place) in of.iter().enumerate() {
            copy(place, &folder.path().join(nth.to_string()));
        }
        Self { folder, of }
    }

    fn restore(&self) {
        for (nth, place) in self.of.iter().enumerate() {
            std::fs::remove_dir_all(place).unwrap();
            copy(&self.folder.path().join(nth.to_string()), place);
        }
    }
}

/// One that keeps the region's ledger and one that follows it, before these voters of another region.
async fn region_under(voters: &[Building], bucket: &Path) -> [Building; 2] {
    let plan = Plan::new().await.with("/name", json!("gw-1"));
    let keeps = plan.keeping_the_registry().start(GATEWAY).await;
    let plan = Plan::new().await.with("/name", json!("gw-2")).following(&keeps).await;
    let mut houses = [keeps, plan.start(GATEWAY).await];
    for house in &houses {
        voters[0].region().put("/v1/audit/logs", json!({ "key": log_key(house) }));
    }
    for house in houses.iter_mut().rev() {
        house.stop().await;
        house.reconfigure("/audit", under(voters, bucket));
    }
    houses
}

/// Attack 29: every machine of a region, its voters' ledger among them, and its bucket are put back to a backup.
#[tokio::test]
async fn a_region_restored_from_a_backup_is_refused_by_another_regions_voters_and_found_by_their_heads()
 {
    // Arrange: a backup, and a life after it that the other region has seen.
    let voters = abroad().await;
    let place = tempfile::tempdir().unwrap();
    let bucket = place.path().join("bucket");
    let mut houses = region_under(&voters, &bucket).await;
    life(&mut houses).await;
    let machines = houses.iter().map(|house| house.data().to_path_buf());
    let backup = Backup::of(machines.chain([bucket.clone()]).collect());
    life(&mut houses).await;
    let Some(auditor) = Auditor::asking(&voters[0], &bucket) else { return };
    let (code, said) = auditor.verify_heads();
    assert_eq!(code, Some(0), "{said}");

    // Act
    backup.restore();

    // Assert: a chain says nothing, and neither does the log by itself; the other region says what is missing.
    for house in &houses {
        assert!(plain_chain_is_valid(&house.data().join("audit")));
    }
    let (code, said) = auditor.verify(&[]);
    assert_eq!(code, Some(0), "the backup is a state that the log once was in: {said}");
    let (code, said) = auditor.verify_heads();
    assert!(code == Some(1) && said.contains("are signed for"), "{said}");
    for writer in ["registry.gw-1/1", "registry.gw-2/1"] {
        assert!(said.contains(writer), "{said}");
    }
    for house in &mut houses {
        house.launch_again();
    }
    for house in &houses {
        becomes(house, "it goes on", async || {
            house.readiness().await.contains("this data directory is an older copy")
        })
        .await;
        assert_eq!(write(house).await.refused_for(), Some(Reason::AuditUnavailable));
        assert!(house.stderr().contains("too many witnesses know another history"));
    }
    for house in houses.iter_mut().rev() {
        house.terminate();
        house.ended().await;
    }
    let (code, said) = auditor.verify_heads();
    assert_eq!(code, Some(1), "what they wrote since hides nothing: {said}");
}

/// One life of the region, of which the other one's voters see more than they had.
async fn life(houses: &mut [Building; 2]) {
    for house in houses.iter_mut() {
        house.start_again().await;
    }
    for house in houses.iter() {
        let voter = "us-east-1/voters/1";
        let size = seen(house, voter).await;
        write(house).await.is_ok();
        witnessed(house, voter, size).await;
    }
    for house in houses.iter_mut().rev() {
        house.stop().await;
    }
}

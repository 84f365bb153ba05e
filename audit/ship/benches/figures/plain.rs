//! What many would write instead: a chain of JSON lines in one file, each with the hash of the one before, synced before the
//! answer. No tree, no heads, no group commit.
//!
//! Not here: the journal (`load`). Always holds: the same fields, hash and promise of durability as a record of ours.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_audit_chain::Hash;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::load::{Load, cpu, run};

struct Plain {
    file: File,
    prev: Hash,
    seq: u64,
}

impl Plain {
    fn append(&mut self, n: u64, is_synced: bool) {
        let mut line = value(n);
        line["seq"] = self.seq.into();
        line["prev"] = self.prev.to_string().into();
        let mut bytes = serde_json::to_vec(&line).unwrap();
        self.prev = Hash::of(&bytes);
        self.seq += 1;
        bytes.push(b'\n');
        self.file.write_all(&bytes).unwrap();
        if is_synced {
            self.file.sync_data().unwrap();
        }
    }
}

/// The fields of `crate::decision`.
fn value(n: u64) -> Value {
    let digest = |what: &str| Hash::of(format!("{what}{n}").as_bytes()).to_string();
    json!({
        "v": 1, "ts": "1790000000000000000", "k": "decision", "tenant": "acme",
        "id": format!("01K5K4V3R0{n:016}"), "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "region": "eu-west-1", "agent": "spiffe://acme/agent/7", "jti": digest("jti"), "token_use": "bound",
        "tool": "payments.create", "route": "payments",
        "dest": {"host": "api.payments.example", "port": 443, "method": "POST", "path": digest("path")},
        "kind": "write",
        "policy": {"revision": "acme/prod@17", "version": "00000000000000000017", "bundle_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        "rules": ["payments-small"], "mode": "enforce", "decision": "allow", "reason": "allowed",
        "params": {"alg": "sha256", "hash": digest("params")}, "body_in": {"sha256": digest("body"), "size": 1024},
        "budget": {"keys": ["tenant/day"], "held_microusd": 1500}, "est_cost_microusd": 1500, "eval_us": 87,
        "att_kid": "gw-1-a", "outcome": "none", "_sd": [digest("input")],
    })
}

pub(crate) fn load(dir: &Path, rate: Option<u64>, busy: bool) -> Load {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let file = File::create(dir.path().join("audit.jsonl")).unwrap();
    let plain = Arc::new(Mutex::new(Plain { file, prev: Hash::ZERO, seq: 0 }));
    let next = Arc::new(AtomicU64::new(0));
    run(dir.path(), (rate, busy), move || {
        let (plain, n) = (Arc::clone(&plain), next.fetch_add(1, Ordering::Relaxed));
        async move {
            let append = move || plain.lock().append(n, true);
            tokio::task::spawn_blocking(append).await.unwrap();
        }
    })
}

/// Bytes of a line, and how fast the chain is walked: parse, compare, hash.
pub(crate) fn reading(dir: &Path) {
    let path = dir.join("plain.jsonl");
    let mut plain = Plain { file: File::create(&path).unwrap(), prev: Hash::ZERO, seq: 0 };
    let records = 100_000_u64;
    (0..records).for_each(|n| plain.append(n, false));
    let text = fs::read_to_string(&path).unwrap();
    let (cpu, mut prev) = (cpu(), Hash::ZERO);
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["prev"], prev.to_string());
        prev = Hash::of(line.as_bytes());
    }
    let rate = records as f64 / (self::cpu() - cpu).as_secs_f64();
    println!("| plain chain: bytes a record | {} |", text.len() as u64 / records);
    println!("| plain chain: walked and parsed, records a second of CPU time | {rate:.0} |");
    fs::remove_file(path).unwrap();
}

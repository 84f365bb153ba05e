//! What the journal's tests share: a configuration, a decision, a directory as the verifier reads it.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_audit_chain::frame::{Frames, push_frame};
use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::record::{DecisionEntry, Of, OutcomeDue, OutcomeEntry};
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_chain::{Hash, Head};
use aegis_audit_ship::{Journal, JournalConfig, RealDisk};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Options, Report};
use aegis_domain::{
    AgentId, DecisionId, Effect, MicroUsd, Reason, Region, TenantId, Timestamp, ToolName,
};

use crate::crews::agreed;

pub(crate) fn region_key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

pub(crate) fn config(dir: &Path) -> JournalConfig {
    JournalConfig {
        dir: dir.to_path_buf(),
        domain: "aegis.example".to_owned(),
        region: Region::parse("eu-west-1").unwrap(),
        writer: "gw-1".to_owned(),
        build: "aegis-gateway 0.1.0".to_owned(),
        config_sha256: Hash::of(b"config"),
        region_key: region_key(),
        clock: Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            Timestamp::from_unix_ns(since.as_nanos() as u64)
        }),
        disk: Arc::new(RealDisk),
        file_bytes: 256 * 1024,
        revoked: Vec::new(),
    }
}

pub(crate) fn decision(n: u64) -> DecisionEntry {
    let id = DecisionId::new(n, [3; 10]);
    let region = Region::parse("eu-west-1").unwrap();
    DecisionEntry {
        tenant: Some(TenantId::parse(["acme", "globex"][(n % 2) as usize]).unwrap()),
        agent: Some(AgentId::parse("spiffe://acme/agent/7").unwrap()),
        tool: Some(ToolName::parse("payments.create").unwrap()),
        est_cost: MicroUsd::new(1_500),
        eval_us: 87,
        outcome: OutcomeDue::Follows,
        ..DecisionEntry::new(id, region, Effect::Allow, Reason::Allowed)
    }
}

pub(crate) fn outcome(seq: u64, decision: &DecisionEntry) -> OutcomeEntry {
    OutcomeEntry {
        tenant: decision.tenant.clone(),
        of: Of { origin: None, seq, id: decision.id },
        agent: decision.agent.clone(),
        tool: decision.tool.clone(),
        status: Some(200),
        bytes: 512,
        sent: None,
        cost: MicroUsd::new(1_200),
        est_cost: decision.est_cost,
        dur_us: 41_000,
        reason: Reason::Allowed,
        usage: None,
        redactions: Vec::new(),
        sd: Vec::new(),
    }
}

/// A directory, as the verifier reads it.
pub(crate) struct DirSource(pub(crate) PathBuf);

impl LogSource for DirSource {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        let Ok(entries) = fs::read_dir(self.0.join(dir)) else { return Ok(Vec::new()) };
        Ok(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(why) => {
                Err(SourceError::Unreadable { path: path.to_owned(), why: why.to_string() })
            }
        }
    }
}

pub(crate) fn trust() -> Trust {
    Trust::of(region_key().verifier("aegis.example/eu-west-1/registry.gw-1/1")).unwrap()
}

pub(crate) fn verify(dir: &Path) -> Report {
    verify_with(dir, Vec::new())
}

pub(crate) fn verify_with(dir: &Path, remembered: Vec<Head>) -> Report {
    let options = Options { depth: Depth::Schema, remembered, witnessed_since: None };
    agreed(&DirSource(dir.to_path_buf()), &trust(), &options)
}

/// Writes `calls` decisions, each with its outcome, each durable before the next.
pub(crate) fn write_calls(journal: &Journal, calls: u64) {
    for n in 0..calls {
        let decision = decision(n);
        let pending = journal.append_blocking(decision.draft().unwrap()).unwrap();
        let sealed = pending.durable_blocking().unwrap();
        let outcome = outcome(sealed.position().seq, &decision);
        journal.append_blocking(outcome.draft().unwrap()).unwrap();
    }
}

/// The paths of a stream's log files, in order.
pub(crate) fn wals(dir: &Path, stream: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join(stream).join("wal")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Rewrites the records of a log file, with valid frames and checksums.
pub(crate) fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let bytes = fs::read(path).unwrap();
    let (header, frames) = Frames::open(&bytes).unwrap();
    let mut records: Vec<Vec<u8>> = frames.map(|frame| frame.unwrap().record.to_vec()).collect();
    change(&mut records);
    let mut out = header.encode();
    for record in &records {
        push_frame(&mut out, record);
    }
    fs::write(path, out).unwrap();
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

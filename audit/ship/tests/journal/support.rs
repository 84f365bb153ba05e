//! What the journal's tests share: a configuration, a decision, a directory as the verifier reads it.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_audit_chain::Hash;
use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::record::{DecisionEntry, Of, OutcomeDue, OutcomeEntry};
use aegis_audit_ship::{JournalConfig, RealDisk};
use aegis_domain::{
    AgentId, DecisionId, Effect, MicroUsd, Reason, Region, TenantId, Timestamp, ToolName,
};

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
        cost: MicroUsd::new(1_200),
        est_cost: decision.est_cost,
        dur_us: 41_000,
        reason: Reason::Allowed,
        usage: None,
        redactions: Vec::new(),
        sd: Vec::new(),
    }
}

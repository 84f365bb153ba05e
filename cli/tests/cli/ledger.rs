//! A journal as the gateway writes it, for the tests of `audit` and `cost`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aegis_audit_chain::Hash;
use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::record::{DecisionEntry, Draft, Of, OutcomeDue, OutcomeEntry, Usage};
use aegis_audit_ship::{
    Address, InclusionError, Journal, JournalConfig, Keep, RealDisk, ShipConfig, Shipper, start,
};
use aegis_audit_witness::{AnchorConfig, Anchors, Http, HttpRegistrar, WitnessConfig, Witnesses};
use aegis_domain::{
    AgentId, DecisionId, Effect, MicroUsd, Reason, Region, TenantId, Timestamp, ToolName,
};

use crate::support::Home;

/// One life of a gateway's journal in a data directory.
pub(crate) struct Ledger {
    journal: Journal,
    config: JournalConfig,
    next: u64,
}

impl Ledger {
    pub(crate) fn open(home: &Home) -> Self {
        Self::of(home, ("gw-1", [7; 32]), 1)
    }

    /// The same of a gateway with this name and this seed of its registry's key; its calls are numbered from `next`.
    pub(crate) fn of(home: &Home, (writer, seed): (&str, [u8; 32]), next: u64) -> Self {
        let region = Region::parse("local").unwrap();
        let registry = format!("aegis.localhost/local/registry.{writer}/1");
        let trust = SecretKey::from_seed(&seed).verifier(&registry);
        std::fs::create_dir_all(home.path("")).unwrap();
        std::fs::write(home.path("trust.txt"), format!("{trust}\n")).unwrap();
        let config = JournalConfig {
            dir: home.path("audit"),
            domain: "aegis.localhost".to_owned(),
            region,
            writer: writer.to_owned(),
            build: "test".to_owned(),
            config_sha256: Hash::of(b""),
            region_key: SecretKey::from_seed(&seed),
            clock: Arc::new(now),
            disk: Arc::new(RealDisk),
            file_bytes: 16 * 1_024,
            revoked: Vec::new(),
        };
        let (journal, _) = Journal::open(config.clone()).unwrap();
        Self { journal, config, next }
    }

    /// Begins to ship it to a folder.
    pub(crate) fn ship(&self, bucket: &Path) -> Shipper {
        let address = Address { url: format!("file://{}", bucket.display()), options: Vec::new() };
        start(ShipConfig::new(&self.config, address).unwrap(), &self.journal).unwrap()
    }

    /// Begins to show its heads to the voter behind a URL, and to keep what that says.
    pub(crate) fn shown(&self, url: &str, token: &str) -> (Anchors, Witnesses) {
        let (config, disk) = (&self.config, Arc::clone(&self.config.disk));
        let registry = config.registry().unwrap();
        let key = config.region_key.verifier(registry.as_str());
        let anchors = Anchors::start(AnchorConfig {
            dir: config.dir.clone(),
            registry: registry.clone(),
            key: key.clone(),
            newest: self.journal.newest_head(),
            home: Box::new(Http::new(&format!("{url}/v1/audit/witness"), None)),
            registrar: Box::new(HttpRegistrar::new(url, token, None)),
            ca: None,
            known: config.dir.with_extension("known"),
            disk: Arc::clone(&disk),
            disown: Box::new(|| std::process::abort()),
        });
        let anchors = anchors.unwrap();
        let witnesses = Witnesses::start(WitnessConfig {
            dir: config.dir.clone(),
            registry,
            region: key,
            disk,
            heads: vec![anchors.cosigned()],
            witnesses: Vec::new(),
            quorum: None,
        });
        (anchors, witnesses.unwrap())
    }

    /// The same, and deletes what it shipped of the first records.
    pub(crate) fn ship_and_delete(&self, bucket: &Path) -> Shipper {
        let keep = Keep { at_least: Duration::ZERO, is_read: Arc::new(|_, size| size < 60) };
        let address = Address::folder(bucket).unwrap();
        let every = Duration::from_millis(20);
        let ship = ShipConfig::new(&self.config, address).unwrap();
        start(ShipConfig { keep: Some(keep), every, ..ship }, &self.journal).unwrap()
    }

    /// Where a record stands, as an attestation names it.
    pub(crate) fn position(&self, seq: u64) -> (String, String) {
        let stream = Hash::of(self.journal.origin().as_str().as_bytes());
        let proof = loop {
            match self.journal.inclusion(stream, seq) {
                Err(InclusionError::Early) => std::thread::sleep(Duration::from_millis(20)),
                proof => break proof.unwrap(),
            }
        };
        (self.journal.origin().to_string(), Hash::leaf(&proof.record).to_string())
    }

    /// A call by `agent` and, when it was allowed, how it ended.
    pub(crate) fn call(&mut self, agent: &str, effect: Effect, cost: u64) -> DecisionId {
        self.call_of("acme", agent, (effect, cost))
    }

    /// The same, of any tenant.
    pub(crate) fn call_of(
        &mut self,
        tenant: &str,
        agent: &str,
        (effect, cost): (Effect, u64),
    ) -> DecisionId {
        let mut rest = [9; 10];
        rest[2..].copy_from_slice(&self.next.to_be_bytes());
        let id = DecisionId::new(now().unix_ms(), rest);
        self.next += 1;
        let reason = match effect {
            Effect::Allow => Reason::Allowed,
            Effect::Sanitize => Reason::Sanitized,
            Effect::ApprovalNeeded => Reason::ApprovalNeeded,
            Effect::Deny => Reason::DefaultDeny,
        };
        let sent = matches!(effect, Effect::Allow | Effect::Sanitize);
        let decision = DecisionEntry {
            tenant: Some(TenantId::parse(tenant).unwrap()),
            agent: Some(AgentId::parse(agent).unwrap()),
            tool: Some(ToolName::parse("llm.chat").unwrap()),
            est_cost: MicroUsd::new(cost * 2),
            outcome: if sent { OutcomeDue::Follows } else { OutcomeDue::None },
            ..DecisionEntry::new(id, Region::parse("local").unwrap(), effect, reason)
        };
        let seq = self.append(decision.draft().unwrap());
        if sent {
            let outcome = OutcomeEntry {
                tenant: decision.tenant.clone(),
                of: Of { origin: None, seq, id },
                agent: decision.agent.clone(),
                tool: decision.tool.clone(),
                status: Some(200),
                bytes: 10,
                sent: None,
                cost: MicroUsd::new(cost),
                est_cost: decision.est_cost,
                dur_us: 12_345,
                reason: Reason::Allowed,
                usage: Some(Usage { tokens_in: 3, tokens_out: 4 }),
                redactions: Vec::new(),
                sd: Vec::new(),
            };
            self.append(outcome.draft().unwrap());
        }
        id
    }

    pub(crate) fn append(&self, draft: Draft) -> u64 {
        let pending = self.journal.append_blocking(draft).unwrap();
        pending.durable_blocking().unwrap().position().seq
    }

    pub(crate) fn close(self) {
        self.journal.close().unwrap();
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_unix_ns(since.as_nanos().try_into().unwrap())
}

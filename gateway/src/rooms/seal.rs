//! Room 5: the decision becomes a durable record and, if it lets the call through, a `Permit`.
//!
//! Not here: the journal (`audit/ship`) and the record's bytes (`audit/chain`). Invariant: this is the only maker of a
//! `Permit`, and it makes one only after the record is on disk.

use aegis_audit_chain::record::{
    BodyDigest, BudgetHold, DecisionEntry, Dest, Of, OutcomeEntry, Redaction, Usage as TokensUsed,
};
use aegis_audit_chain::{Hash, Origin};
use aegis_audit_ship::{JournalError, Position, Sealed as OnDisk};
use aegis_decide::Usage;
use aegis_domain::{
    AgentId, Decision, DecisionId, Detector, Jti, MicroUsd, Reason, RuleId, TenantId, ToolName,
    Verdict,
};
use aegis_state::{BudgetScope, BudgetWindow, Hold};
use bytes::Bytes;

use crate::clock;
use crate::context::{Arrival, CallContext, Read};
use crate::rooms::read;
use crate::wire::Gateway;

/// Proof that an allowing decision is on record. Only `seal` can build one; only `forward` spends it.
#[must_use]
#[derive(Debug)]
pub struct Permit(OnDisk);

impl Permit {
    /// The number of the record that allows the call.
    pub fn seq(&self) -> u64 {
        self.0.position().seq
    }
}

/// A decision on record.
#[derive(Clone, Debug)]
pub struct Held {
    pub sealed: Sealed,
    /// The signed promise that the record is in the log (`typ` `aegis-att+jwt`).
    pub attestation: Option<String>,
}

/// What an outcome record needs to know of its decision.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub seq: u64,
    pub tenant: Option<TenantId>,
    pub agent: Option<AgentId>,
    pub tool: Option<ToolName>,
}

/// How a call that was let through ended.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub id: DecisionId,
    pub hold: &'a Hold,
    pub reason: Reason,
    pub status: Option<u16>,
    pub body_bytes: u64,
    pub cost: MicroUsd,
    pub usage: Option<Usage>,
    pub duration_us: u64,
}

/// The JWS type of an attestation.
pub const ATTESTATION_TYPE: &str = "aegis-att+jwt";
/// After this many seconds an attested record can be asked for with a proof (maximum merge delay).
const MERGE_DELAY_S: u64 = 60;
/// How long an attestation is worth showing to anyone.
const ATTESTATION_LIFE_S: u64 = 24 * 60 * 60;

/// Records a judged call; sets `ctx.permit` when it may go.
pub async fn seal(
    gateway: &Gateway,
    ctx: &mut CallContext,
    decision: Decision,
    arrival: &Arrival,
) -> Result<(), Reason> {
    let mut entry = DecisionEntry::of(&decision, gateway.config.region.clone());
    describe_caller(&mut entry, ctx)?;
    describe_call(&mut entry, ctx, arrival)?;
    if let Verdict::ApprovalNeeded(approval) = &decision.verdict {
        entry.approval_id = Some(approval.id);
    }
    record(gateway, ctx, decision, entry).await
}

/// Records the refusal of a call nobody could read.
pub async fn seal_unread(
    gateway: &Gateway,
    ctx: &mut CallContext,
    decision: Decision,
) -> Result<(), Reason> {
    let entry = DecisionEntry::of(&decision, gateway.config.region.clone());
    record(gateway, ctx, decision, entry).await
}

async fn record(
    gateway: &Gateway,
    ctx: &mut CallContext,
    decision: Decision,
    mut entry: DecisionEntry,
) -> Result<(), Reason> {
    entry.trace = Some(ctx.trace);
    entry.eval_us = ctx.clock.decision_us();
    entry.att_kid = Some(gateway.region_key.key_id().clone());
    let draft = entry.draft().map_err(|_| Reason::AuditUnavailable)?;
    let unavailable = |error: JournalError| {
        tracing::error!(decision = %decision.id, %error, "a decision could not be recorded");
        Reason::AuditUnavailable
    };
    let pending = gateway.journal.append(draft).await.map_err(unavailable)?;
    // Signed while the disk syncs, so it costs no time.
    let attestation = attest(gateway, &entry, &decision, pending.position());
    let proof = pending.durable().await.map_err(unavailable)?;
    let sealed = Sealed {
        seq: proof.position().seq,
        tenant: entry.tenant,
        agent: entry.agent,
        tool: entry.tool.or(entry.route),
    };
    ctx.sealed = Some(Held { sealed, attestation: Some(attestation) });
    ctx.permit = decision.verdict.lets_through().then_some(Permit(proof));
    ctx.decision = Some(decision);
    Ok(())
}

fn describe_caller(entry: &mut DecisionEntry, ctx: &CallContext) -> Result<(), Reason> {
    let Some(identified) = &ctx.identified else { return Ok(()) };
    let agent = &identified.agent;
    entry.tenant = Some(agent.tenant.clone());
    entry.org = Some(agent.org.clone());
    entry.agent = Some(agent.agent.clone());
    entry.parent_agent = agent.parent_agent.clone();
    entry.jti = Some(jti_digest(&agent.jti)?);
    entry.token_use = Some(agent.token_use);
    Ok(())
}

fn jti_digest(jti: &Jti) -> Result<Hash, Reason> {
    salted(jti.as_str().as_bytes())
}

fn salted(value: &[u8]) -> Result<Hash, Reason> {
    let salt = clock::random().map_err(|_| Reason::Unavailable)?;
    Ok(Hash::salted(&salt, value))
}

fn describe_call(
    entry: &mut DecisionEntry,
    ctx: &CallContext,
    arrival: &Arrival,
) -> Result<(), Reason> {
    let Some(Read { call, tool, body, received_bytes, .. }) = &ctx.read else {
        // Refused before it was read whole: the route is all that can be told.
        entry.route = read::route_of(&arrival.path);
        return Ok(());
    };
    entry.tool = tool.clone();
    entry.route = Some(call.route.clone());
    entry.kind = Some(call.kind);
    entry.dest = Some(Dest {
        host: call.host.clone(),
        port: call.port,
        method: arrival.method.clone(),
        path: salted(call.path.as_bytes())?,
    });
    entry.body_in = Some(BodyDigest {
        sha256: Hash::from_bytes(*call.params_hash.as_bytes()),
        size: *received_bytes,
    });
    if let Some(outgoing) = &ctx.outgoing {
        entry.body_out = outgoing.body.as_ref().map(|out| leaving(out, body, entry.body_in));
        entry.redactions = outgoing
            .redactions
            .iter()
            .filter_map(|(detector, count)| redaction(*detector, *count))
            .collect();
    }
    entry.budget = ctx.hold.as_ref().map(budget);
    Ok(())
}

/// The digest of what leaves; computed again only when it differs from what came.
fn leaving(out: &Bytes, body: &Bytes, came: Option<BodyDigest>) -> BodyDigest {
    let size = u64::try_from(out.len()).unwrap_or(u64::MAX);
    let is_same = out.as_ptr() == body.as_ptr() && out.len() == body.len();
    match came.filter(|came| is_same && came.size == size) {
        Some(came) => came,
        None => BodyDigest { sha256: Hash::of(out), size },
    }
}

fn redaction(detector: Detector, count: u32) -> Option<Redaction> {
    let rule = RuleId::parse(detector.as_str()).ok()?;
    Some(Redaction { rule, count })
}

fn budget(hold: &Hold) -> BudgetHold {
    let keys = hold.budgets.iter().map(|budget| {
        let window = match budget.key.window {
            BudgetWindow::Day => "day",
            BudgetWindow::Month => "month",
        };
        match &budget.key.scope {
            BudgetScope::Tenant => format!("tenant/{window}"),
            BudgetScope::Agent(agent) => format!("agent:{agent}/{window}"),
        }
    });
    BudgetHold { keys: keys.collect(), held: hold.estimate }
}

fn attest(
    gateway: &Gateway,
    entry: &DecisionEntry,
    decision: &Decision,
    position: &Position,
) -> String {
    let issued_s = position.ts.unix_s();
    let policy = decision.policy.as_ref();
    let claims = serde_json::json!({
        "iss": gateway.issuer,
        "sub": entry.agent.as_ref().map(AgentId::as_str),
        "tenant": entry.tenant.as_ref().map(TenantId::as_str),
        "iat": issued_s,
        "exp": issued_s.saturating_add(ATTESTATION_LIFE_S),
        "jti": decision.id.as_str(),
        "dec": decision.verdict.effect().as_str(),
        "reason": decision.verdict.reason().code(),
        "pv": policy.map(|policy| policy.version),
        "pbh": policy.map(|policy| policy.bundle_sha256.as_str()),
        "ph": decision.params_hash.map(|hash| hash.to_string()),
        "mode": entry.mode.as_str(),
        "log": Origin::as_str(&position.origin),
        "seq": position.seq.to_string(),
        "leaf": position.leaf.to_string(),
        "mmd": MERGE_DELAY_S,
    });
    gateway.region_key.sign(ATTESTATION_TYPE, claims.to_string().as_bytes())
}

/// Records how a call ended; returns once that is on disk.
pub async fn outcome(
    gateway: &Gateway,
    sealed: &Sealed,
    outcome: &Outcome<'_>,
) -> Result<(), JournalError> {
    let entry = OutcomeEntry {
        tenant: sealed.tenant.clone(),
        of: Of { origin: None, seq: sealed.seq, id: outcome.id },
        agent: sealed.agent.clone(),
        tool: sealed.tool.clone(),
        status: outcome.status,
        bytes: outcome.body_bytes,
        cost: outcome.cost,
        est_cost: outcome.hold.estimate,
        dur_us: outcome.duration_us,
        reason: outcome.reason,
        usage: outcome.usage.map(|usage| TokensUsed {
            tokens_in: usage.input_tokens,
            tokens_out: usage.output_tokens,
        }),
        redactions: Vec::new(),
        sd: Vec::new(),
    };
    let draft = entry.draft().map_err(JournalError::from)?;
    gateway.journal.append(draft).await?.durable().await.map(drop)
}

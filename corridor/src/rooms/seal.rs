//! Room 5: the decision becomes a durable record and, if it lets the call through, a `Permit`.
//!
//! Not here: the journal (`audit/ship`) and the record's bytes (`audit/chain`). Invariant: this is the only maker of a
//! `Permit`, and it makes one only after the record is on disk. Nobody waits longer for that than `limits.record_deadline`.

use aegis_audit_chain::disclosure::{Disclosure, INPUT};
use aegis_audit_chain::record::{
    BodyDigest, BudgetHold, DecisionEntry, Dest, Of, OutcomeEntry, Redaction, Usage as TokensUsed,
};
use aegis_audit_chain::{Hash, Origin};
use aegis_audit_ship::{Journal, JournalError, Position, Sealed as OnDisk};
use aegis_decide::Usage;
use aegis_domain::{
    AgentId, BudgetKey, Decision, DecisionId, MicroUsd, Reason, RuleId, TenantId, ToolName, Verdict,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::Corridor;
use crate::clock;
use crate::context::{Arrival, CallContext, Decoding, Read};
use crate::rooms::{read, unsent};

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
pub struct Outcome {
    pub id: DecisionId,
    pub estimate: MicroUsd,
    pub reason: Reason,
    pub status: Option<u16>,
    pub body_bytes: u64,
    /// Bytes sent upstream that nobody read.
    pub sent_bytes: Option<u64>,
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

const TOO_LATE: &str = "the disk did not answer in time";

/// Records a judged call; sets `ctx.permit` when it may go.
pub async fn seal(
    corridor: &Corridor,
    ctx: &mut CallContext,
    decision: Decision,
    arrival: &Arrival,
) -> Result<(), Reason> {
    // Before anything else is written to the same disk.
    is_answering(corridor, decision.id)?;
    let mut entry = DecisionEntry::of(&decision, corridor.config.region.clone());
    let mut told = Vec::new();
    describe_caller(&mut entry, ctx, &mut told)?;
    describe_call(&mut entry, ctx, arrival, &mut told)?;
    if let Some(seen) = ctx.seen.take() {
        // Last, which is where `aegisctl policy replay` looks first.
        entry.sd.push(salted(&mut told, INPUT, &seen)?);
    }
    keep(corridor, ctx, &told);
    entry.approval_id = match &decision.verdict {
        Verdict::ApprovalNeeded(approval) => Some(approval.id),
        Verdict::Allow | Verdict::Sanitize(_) | Verdict::Deny(_) => ctx.approval,
    };
    record(corridor, ctx, decision, entry).await
}

/// Records the refusal of a call nobody could read.
pub async fn seal_unread(
    corridor: &Corridor,
    ctx: &mut CallContext,
    decision: Decision,
) -> Result<(), Reason> {
    is_answering(corridor, decision.id)?;
    let entry = DecisionEntry::of(&decision, corridor.config.region.clone());
    record(corridor, ctx, decision, entry).await
}

/// While the disk is at what it was given for longer than anybody may wait, who comes now would only wait behind that.
fn is_answering(corridor: &Corridor, id: DecisionId) -> Result<(), Reason> {
    if corridor.journal.writing_for() <= corridor.config.limits.record_deadline {
        return Ok(());
    }
    tracing::error!(decision = %id, error = TOO_LATE, "a decision could not be recorded");
    Err(Reason::AuditUnavailable)
}

async fn record(
    corridor: &Corridor,
    ctx: &mut CallContext,
    decision: Decision,
    mut entry: DecisionEntry,
) -> Result<(), Reason> {
    entry.trace = Some(ctx.trace);
    entry.eval_us = ctx.clock.decision_us();
    entry.att_kid = Some(corridor.region_key.key_id().clone());
    let draft = entry.draft().map_err(|_| Reason::AuditUnavailable)?;
    let unrecorded = |error: &dyn std::fmt::Display| {
        tracing::error!(decision = %decision.id, %error, "a decision could not be recorded");
        Reason::AuditUnavailable
    };
    let deadline = Instant::now() + corridor.config.limits.record_deadline;
    let pending = match timeout_at(deadline, corridor.journal.append(draft)).await {
        Ok(placed) => placed.map_err(|error| unrecorded(&error))?,
        Err(_) => return Err(unrecorded(&TOO_LATE)),
    };
    // Signed while the disk syncs, so it costs no time.
    let attestation = attest(corridor, &entry, &decision, pending.position());
    let sealed = Sealed {
        seq: pending.position().seq,
        tenant: entry.tenant,
        agent: entry.agent,
        tool: entry.tool.or(entry.route),
    };
    let lets_through = decision.verdict.lets_through();
    let proof = match timeout_at(deadline, pending.durable()).await {
        Ok(Ok(proof)) => proof,
        Ok(Err(error)) => {
            if lets_through && matches!(error, JournalError::Failed(_)) {
                // The record may be on disk all the same: the next start looks, and settles the hold by what it finds.
                ctx.hold = None;
            }
            return Err(unrecorded(&error));
        }
        Err(_) => {
            if lets_through {
                unsent::settle(corridor, ctx, (&decision, sealed));
            }
            return Err(unrecorded(&TOO_LATE));
        }
    };
    ctx.sealed = Some(Held { sealed, attestation: Some(attestation) });
    ctx.permit = lets_through.then_some(Permit(proof));
    ctx.decision = Some(decision);
    Ok(())
}

/// Puts what the digests stand for where it can be erased. A digest that cannot be opened later is a loss, not a
/// reason to refuse the call.
fn keep(corridor: &Corridor, ctx: &CallContext, told: &[Disclosure]) {
    let Some(identified) = ctx.identified.as_ref().filter(|_| !told.is_empty()) else { return };
    let kept = corridor.disclosures.keep(&identified.tenant.id, ctx.arrived, ctx.id, told);
    if let Err(error) = kept {
        tracing::error!(decision = %ctx.id, %error, "disclosures could not be kept");
    }
}

/// A salted digest of a value; what opens it is added to `told`.
fn salted(told: &mut Vec<Disclosure>, name: &str, value: &Value) -> Result<Hash, Reason> {
    let salt = clock::random().map_err(|_| Reason::Unavailable)?;
    let disclosure = Disclosure::new(salt, name, value);
    let digest = disclosure.digest();
    told.push(disclosure);
    Ok(digest)
}

fn describe_caller(
    entry: &mut DecisionEntry,
    ctx: &CallContext,
    told: &mut Vec<Disclosure>,
) -> Result<(), Reason> {
    let Some(identified) = &ctx.identified else { return Ok(()) };
    let agent = &identified.agent;
    entry.tenant = Some(agent.tenant.clone());
    entry.org = Some(agent.org.clone());
    entry.agent = Some(agent.agent.clone());
    entry.parent_agent = agent.parent_agent.clone();
    entry.jti = Some(salted(told, "jti", &agent.jti.as_str().into())?);
    entry.token_use = Some(agent.token_use);
    Ok(())
}

fn describe_call(
    entry: &mut DecisionEntry,
    ctx: &CallContext,
    arrival: &Arrival,
    told: &mut Vec<Disclosure>,
) -> Result<(), Reason> {
    let Some(read) = &ctx.read else {
        // Refused before it was read whole: the route is all that can be told.
        entry.route = read::route_of(arrival);
        return Ok(());
    };
    let Read { call, tool, body, received_bytes, decoding, estimate, .. } = read;
    entry.tool = tool.clone();
    entry.route = Some(call.route.clone());
    entry.kind = Some(call.kind);
    entry.dest = Some(Dest {
        host: call.host.clone(),
        port: call.port,
        method: arrival.method.clone(),
        path: salted(told, "path", &call.path.as_str().into())?,
    });
    if let Some(query) = &call.query {
        entry.sd.push(salted(told, "query", &query.as_str().into())?);
    }
    entry.body_in = Some(BodyDigest {
        sha256: Hash::from_bytes(*call.params_hash.as_bytes()),
        size: *received_bytes,
    });
    if let Some(outgoing) = &ctx.outgoing {
        let came = entry.body_in.filter(|_| *decoding == Decoding::None);
        entry.body_out = outgoing.body.as_ref().map(|out| leaving(out, body, came));
        let blanked =
            outgoing.redactions.iter().map(|(detector, count)| (detector.as_str(), *count));
        let removed =
            [("attachments", outgoing.attachments_removed), ("fields", outgoing.fields_removed)];
        entry.redactions = blanked
            .chain(removed)
            .filter(|(_, count)| *count > 0)
            .filter_map(|(rule, count)| redaction(rule, count))
            .collect();
    }
    entry.budget = ctx.hold.as_ref().map(|hold| BudgetHold {
        keys: hold.budgets.iter().map(|budget| budget.key.to_string()).collect(),
        held: hold.estimate,
        estimate: *estimate,
        warned: ctx.warned.iter().map(BudgetKey::to_string).collect(),
    });
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

fn redaction(rule: &str, count: u32) -> Option<Redaction> {
    let rule = RuleId::parse(rule).ok()?;
    Some(Redaction { rule, count })
}

fn attest(
    corridor: &Corridor,
    entry: &DecisionEntry,
    decision: &Decision,
    position: &Position,
) -> String {
    let issued_s = position.ts.unix_s();
    let policy = decision.policy.as_ref();
    let claims = serde_json::json!({
        "iss": corridor.issuer,
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
    corridor.region_key.sign(ATTESTATION_TYPE, claims.to_string().as_bytes())
}

/// Records how a call ended; returns once that is on disk.
pub async fn outcome(
    journal: &Journal,
    sealed: &Sealed,
    outcome: &Outcome,
) -> Result<(), JournalError> {
    let entry = OutcomeEntry {
        tenant: sealed.tenant.clone(),
        of: Of { origin: None, seq: sealed.seq, id: outcome.id },
        agent: sealed.agent.clone(),
        tool: sealed.tool.clone(),
        status: outcome.status,
        bytes: outcome.body_bytes,
        sent: outcome.sent_bytes,
        cost: outcome.cost,
        est_cost: outcome.estimate,
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
    journal.append_unhurried(draft).await?.durable().await.map(drop)
}

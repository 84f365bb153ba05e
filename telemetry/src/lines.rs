//! One JSON line for each decision, each outcome and each budget that a call brought past its warning.
//!
//! Not here: what else a record holds; its place in the journal is in the line. Invariant: a line holds no host, path,
//! body, parameter, token or digest of one, and no line is glued to a torn one before it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;

use aegis_audit_chain::Origin;
use aegis_audit_chain::record::{ChangeEntry, DecisionEntry, Entry, Head, Mode, OutcomeEntry};
use aegis_domain::{CallKind, Degraded, EstimateKind, RuleId};
use serde::Serialize;

use crate::follow::{Event, Sink};

/// Writes the lines to one place.
pub struct JsonLines {
    out: Out,
    /// The last write may have ended inside a line.
    torn: bool,
    lines: Vec<u8>,
}

enum Out {
    Stdout(io::Stdout),
    File(File),
}

impl JsonLines {
    pub fn to_stdout() -> Self {
        Self { out: Out::Stdout(io::stdout()), torn: false, lines: Vec::new() }
    }

    /// Appends to a file, which is made if it is not there.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Self { out: Out::File(file), torn: last != *b"\n", lines: Vec::new() })
    }
}

impl Sink for JsonLines {
    fn tell(&mut self, batch: &[Event]) -> io::Result<()> {
        self.lines.clear();
        if self.torn {
            self.lines.push(b'\n');
        }
        for event in batch {
            write_line(&mut self.lines, event)?;
        }
        // Until all of it is known to be written, the rest of a line may be missing.
        self.torn = true;
        match &mut self.out {
            Out::Stdout(stdout) => {
                stdout.write_all(&self.lines)?;
                stdout.flush()?;
            }
            Out::File(file) => file.write_all(&self.lines)?,
        }
        self.torn = false;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match &self.out {
            // What reads the other end of a pipe cannot be made to sync.
            Out::Stdout(_) => Ok(()),
            Out::File(file) => file.sync_data(),
        }
    }
}

fn write_line(out: &mut Vec<u8>, event: &Event) -> io::Result<()> {
    let (origin, head) = (&event.origin, &event.record.head);
    match &event.record.entry {
        Entry::Decision(decision) => {
            serde_json::to_writer(&mut *out, &DecisionLine::of(origin, head, decision))?;
            let warned = decision.budget.iter().flat_map(|budget| &budget.warned);
            for budget in warned {
                out.push(b'\n');
                let line = WarningLine::of((origin, head), decision, budget);
                serde_json::to_writer(&mut *out, &line)?;
            }
        }
        Entry::Outcome(outcome) => {
            serde_json::to_writer(&mut *out, &OutcomeLine::of(origin, head, outcome))?;
        }
        Entry::Change(change) => {
            serde_json::to_writer(&mut *out, &ChangeLine::of(origin, head, change))?;
        }
        // What the journal says of itself is for its verifier.
        Entry::Genesis(_)
        | Entry::Clock(_)
        | Entry::AnchorRef(_)
        | Entry::TenantSeal(_)
        | Entry::Seal(_)
        | Entry::Close
        | Entry::Born(_)
        | Entry::Anchor(_)
        | Entry::Failed(_)
        | Entry::Revoked(_)
        | Entry::Closed(_)
        | Entry::Head(_)
        | Entry::Gap(_) => return Ok(()),
    }
    out.push(b'\n');
    Ok(())
}

#[derive(Serialize)]
struct DecisionLine<'a> {
    ts: String,
    event: &'static str,
    decision_id: &'a str,
    org: Option<&'a str>,
    tenant: Option<&'a str>,
    agent_id: Option<&'a str>,
    parent_agent_id: Option<&'a str>,
    tool: Option<&'a str>,
    kind: Option<&'static str>,
    region: &'a str,
    decision: &'static str,
    reason: &'static str,
    rules: Vec<&'a str>,
    policy_version: Option<u64>,
    mode: &'static str,
    degraded: &'static str,
    latency_us: u64,
    estimated_cost_usd: String,
    est_cost_microusd: u64,
    /// Said of estimates that are no ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<&'static str>,
    trace_id: Option<String>,
    span_id: Option<String>,
    stream: &'a str,
    seq: u64,
}

impl<'a> DecisionLine<'a> {
    fn of(origin: &'a Origin, head: &Head, entry: &'a DecisionEntry) -> Self {
        Self {
            ts: rfc3339(head.ts),
            event: "decision",
            decision_id: entry.id.as_str(),
            org: entry.org.as_ref().map(|org| org.as_str()),
            tenant: entry.tenant.as_ref().map(|tenant| tenant.as_str()),
            agent_id: entry.agent.as_ref().map(|agent| agent.as_str()),
            parent_agent_id: entry.parent_agent.as_ref().map(|agent| agent.as_str()),
            tool: entry.tool.as_ref().map(|tool| tool.as_str()),
            kind: entry.kind.map(CallKind::as_str),
            region: entry.region.as_str(),
            decision: entry.decision.as_str(),
            reason: entry.reason.code(),
            rules: entry.rules.iter().map(RuleId::as_str).collect(),
            policy_version: entry.policy.as_ref().map(|policy| policy.version),
            mode: Mode::as_str(entry.mode),
            degraded: match entry.degraded {
                Degraded::No => "no",
                Degraded::HotStateOutage => "hot_state_outage",
            },
            latency_us: entry.eval_us,
            estimated_cost_usd: entry.est_cost.to_string(),
            est_cost_microusd: entry.est_cost.micro_usd(),
            estimate: entry.budget.as_ref().and_then(|budget| match budget.estimate {
                EstimateKind::Ceiling => None,
                EstimateKind::Soft => Some("soft"),
            }),
            trace_id: entry.trace.map(|trace| trace.trace_id_hex()),
            span_id: entry.trace.map(|trace| trace.span_id_hex()),
            stream: origin.as_str(),
            seq: head.seq,
        }
    }
}

/// Somebody changed the region.
#[derive(Serialize)]
struct ChangeLine<'a> {
    ts: String,
    event: &'static str,
    tenant: Option<&'a str>,
    by: &'a str,
    act: &'a str,
    target: Option<&'a str>,
    revision: u64,
    stream: &'a str,
    seq: u64,
}

impl<'a> ChangeLine<'a> {
    fn of(origin: &'a Origin, head: &Head, entry: &'a ChangeEntry) -> Self {
        Self {
            ts: rfc3339(head.ts),
            event: "change",
            tenant: entry.tenant.as_ref().map(|tenant| tenant.as_str()),
            by: &entry.by,
            act: &entry.act,
            target: entry.target.as_deref(),
            revision: entry.revision,
            stream: origin.as_str(),
            seq: head.seq,
        }
    }
}

/// A budget is past its warning, or over a soft limit. Its name holds no more than the configuration's.
#[derive(Serialize)]
struct WarningLine<'a> {
    ts: String,
    event: &'static str,
    decision_id: &'a str,
    tenant: Option<&'a str>,
    agent_id: Option<&'a str>,
    budget: &'a str,
    stream: &'a str,
    seq: u64,
}

impl<'a> WarningLine<'a> {
    fn of((origin, head): (&'a Origin, &Head), entry: &'a DecisionEntry, budget: &'a str) -> Self {
        Self {
            ts: rfc3339(head.ts),
            event: "budget_warning",
            decision_id: entry.id.as_str(),
            tenant: entry.tenant.as_ref().map(|tenant| tenant.as_str()),
            agent_id: entry.agent.as_ref().map(|agent| agent.as_str()),
            budget,
            stream: origin.as_str(),
            seq: head.seq,
        }
    }
}

#[derive(Serialize)]
struct OutcomeLine<'a> {
    ts: String,
    event: &'static str,
    decision_id: &'a str,
    tenant: Option<&'a str>,
    agent_id: Option<&'a str>,
    tool: Option<&'a str>,
    status: Option<u16>,
    reason: &'static str,
    response_bytes: u64,
    /// What an unopened tunnel carried upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_bytes: Option<u64>,
    duration_us: u64,
    cost_usd: String,
    cost_microusd: u64,
    est_cost_microusd: u64,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    stream: &'a str,
    seq: u64,
}

impl<'a> OutcomeLine<'a> {
    fn of(origin: &'a Origin, head: &Head, entry: &'a OutcomeEntry) -> Self {
        Self {
            ts: rfc3339(head.ts),
            event: "outcome",
            decision_id: entry.of.id.as_str(),
            tenant: entry.tenant.as_ref().map(|tenant| tenant.as_str()),
            agent_id: entry.agent.as_ref().map(|agent| agent.as_str()),
            tool: entry.tool.as_ref().map(|tool| tool.as_str()),
            status: entry.status,
            reason: entry.reason.code(),
            response_bytes: entry.bytes,
            sent_bytes: entry.sent,
            duration_us: entry.dur_us,
            cost_usd: entry.cost.to_string(),
            cost_microusd: entry.cost.micro_usd(),
            est_cost_microusd: entry.est_cost.micro_usd(),
            tokens_in: entry.usage.map(|usage| usage.tokens_in),
            tokens_out: entry.usage.map(|usage| usage.tokens_out),
            stream: origin.as_str(),
            seq: head.seq,
        }
    }
}

/// RFC 3339 in UTC with all nine decimals, so that lines sort as text.
fn rfc3339(unix_ns: u64) -> String {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or_default();
    format!("{instant:.9}")
}

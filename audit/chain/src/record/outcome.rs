//! How a call that was let through ended, and what it cost.
//!
//! Not here: why it was let through (`decision`). Invariant: an outcome names exactly one decision, by stream,
//! number and id.

use aegis_domain::{AgentId, DecisionId, MicroUsd, Reason, TenantId, ToolName};

use super::decision::{Redaction, parse_reason, read_redactions, write_redactions, write_sd};
use super::json::{Reader, Writer};
use super::{DecisionEntry, Draft, Kind, RecordError};
use crate::{Hash, Origin};

/// The decision an outcome belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Of {
    /// The decision's stream, where it is not the outcome's own: after a crash.
    pub origin: Option<Origin>,
    pub seq: u64,
    pub id: DecisionId,
}

/// What a model was asked and answered, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub tokens_in: u64,
    pub tokens_out: u64,
}

/// The body of an `outcome` record.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeEntry {
    pub tenant: Option<TenantId>,
    pub of: Of,
    pub agent: Option<AgentId>,
    pub tool: Option<ToolName>,
    /// The upstream's status, if it gave one.
    pub status: Option<u16>,
    /// Response bytes passed on.
    pub bytes: u64,
    /// Bytes sent upstream that nobody read: those of a tunnel that was not opened.
    pub sent: Option<u64>,
    pub cost: MicroUsd,
    pub est_cost: MicroUsd,
    pub dur_us: u64,
    pub reason: Reason,
    pub usage: Option<Usage>,
    /// Redactions on the way back.
    pub redactions: Vec<Redaction>,
    pub sd: Vec<Hash>,
}

impl OutcomeEntry {
    /// The outcome of a decision whose process died before it knew: the estimate is charged.
    pub fn unknown(origin: &Origin, seq: u64, decision: &DecisionEntry) -> Self {
        Self {
            tenant: decision.tenant.clone(),
            of: Of { origin: Some(origin.clone()), seq, id: decision.id },
            agent: decision.agent.clone(),
            tool: decision.tool.clone(),
            status: None,
            bytes: 0,
            sent: None,
            cost: decision.est_cost,
            est_cost: decision.est_cost,
            dur_us: 0,
            reason: Reason::OutcomeUnknown,
            usage: None,
            redactions: Vec::new(),
            sd: Vec::new(),
        }
    }

    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Outcome);
        w.opt_text("tenant", self.tenant.as_ref().map(TenantId::as_str));
        w.opt_text("of_origin", self.of.origin.as_ref().map(Origin::as_str));
        w.wide("of", self.of.seq).text("id", self.of.id.as_str());
        w.opt_text("agent", self.agent.as_ref().map(AgentId::as_str));
        w.opt_text("tool", self.tool.as_ref().map(ToolName::as_str));
        w.opt_number("status", self.status.map(u64::from)).number("bytes", self.bytes);
        w.opt_number("sent", self.sent);
        w.number("cost_microusd", self.cost.micro_usd());
        w.number("est_cost_microusd", self.est_cost.micro_usd());
        w.number("dur_us", self.dur_us).text("reason", self.reason.code());
        if let Some(usage) = &self.usage {
            w.open("usage").number("tokens_in", usage.tokens_in);
            w.number("tokens_out", usage.tokens_out).close();
        }
        write_redactions(&mut w, &self.redactions);
        write_sd(&mut w, &self.sd)?;
        w.finish(Draft {
            tenant: self.tenant.clone(),
            cost: self.cost,
            ..Draft::empty(Kind::Outcome)
        })
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            tenant: r.opt("tenant", |text| TenantId::parse(text).ok())?,
            of: Of {
                origin: r.opt("of_origin", |text| Origin::parse(text).ok())?,
                seq: r.wide("of")?,
                id: r.parsed("id", |text| DecisionId::parse(text).ok())?,
            },
            agent: r.opt("agent", |text| AgentId::parse(text).ok())?,
            tool: r.opt("tool", |text| ToolName::parse(text).ok())?,
            status: read_status(r)?,
            bytes: r.number("bytes")?,
            sent: r.opt_number("sent")?,
            cost: MicroUsd::new(r.number("cost_microusd")?),
            est_cost: MicroUsd::new(r.number("est_cost_microusd")?),
            dur_us: r.number("dur_us")?,
            reason: r.parsed("reason", parse_reason)?,
            usage: r.object("usage", |r| {
                Ok(Usage { tokens_in: r.number("tokens_in")?, tokens_out: r.number("tokens_out")? })
            })?,
            redactions: read_redactions(r)?,
            sd: r.list("_sd", Hash::parse)?,
        })
    }
}

fn read_status(r: &mut Reader<'_>) -> Result<Option<u16>, RecordError> {
    let status = r.opt_number("status")?.map(u16::try_from).transpose();
    status.map_err(|_| r.bad("status"))
}

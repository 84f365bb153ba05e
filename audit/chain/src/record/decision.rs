//! What was decided about one call, and everything an auditor needs to see why.
//!
//! Not here: how the call ended (`outcome`). Invariant: no raw parameter, body, path, token or matched text is ever
//! a field; digests of what could be guessed are salted.

use aegis_domain::{
    AgentId, CallKind, Decision, DecisionId, Degraded, Effect, EstimateKind, Host, KeyId, Method,
    MicroUsd, OrgId, ParamsHash, PolicyRef, Reason, Region, RuleId, TenantId, TokenUse, ToolName,
    TraceContext,
};

use super::json::{LIST_MAX, Reader, Writer, cut};
use super::{Draft, Kind, RecordError};
use crate::Hash;

/// Whether the decision bound the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Enforce,
    /// What another policy version would have decided about the call of the same id; nothing came of it.
    Shadow,
    /// Asked for by `Aegis-Dry-Run` or a tool; nothing was sent.
    DryRun,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Shadow => "shadow",
            Mode::DryRun => "dry_run",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Mode::Enforce, Mode::Shadow, Mode::DryRun].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Whether an outcome record will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeDue {
    /// The call is sent from here, so its end is recorded here.
    Follows,
    /// Nothing is sent, or somebody else sends it (`ext_authz`).
    None,
}

impl OutcomeDue {
    pub fn as_str(self) -> &'static str {
        match self {
            OutcomeDue::Follows => "follows",
            OutcomeDue::None => "none",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [OutcomeDue::Follows, OutcomeDue::None].into_iter().find(|due| due.as_str() == text)
    }
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dest {
    pub host: Host,
    pub port: u16,
    pub method: Method,
    /// Salted digest of the path.
    pub path: Hash,
}

/// A body, by digest and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigest {
    pub sha256: Hash,
    pub size: u64,
}

/// How often a rule or detector blanked something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    pub rule: RuleId,
    pub count: u32,
}

/// What is held of which budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetHold {
    pub keys: Vec<String>,
    pub held: MicroUsd,
    /// Whether the call can cost more than is held.
    pub estimate: EstimateKind,
    /// Those of the budgets that this call was the first to bring past their warning, as far as the gateway knows.
    pub warned: Vec<String>,
}

/// The body of a `decision` record. A refusal may come before anyone knows who is calling, so most is optional.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionEntry {
    pub tenant: Option<TenantId>,
    pub id: DecisionId,
    pub trace: Option<TraceContext>,
    pub org: Option<OrgId>,
    pub region: Region,
    pub agent: Option<AgentId>,
    pub parent_agent: Option<AgentId>,
    /// Salted digest of the token's `jti`.
    pub jti: Option<Hash>,
    pub token_use: Option<TokenUse>,
    pub tool: Option<ToolName>,
    pub route: Option<ToolName>,
    pub dest: Option<Dest>,
    pub kind: Option<CallKind>,
    pub policy: Option<PolicyRef>,
    pub rules: Vec<RuleId>,
    pub would: Vec<RuleId>,
    /// Ids of the policy's exceptions without which another rule would have held the call.
    pub exceptions: Vec<RuleId>,
    pub mode: Mode,
    pub decision: Effect,
    pub reason: Reason,
    pub params: Option<ParamsHash>,
    /// The body as it came.
    pub body_in: Option<BodyDigest>,
    /// The body as it leaves.
    pub body_out: Option<BodyDigest>,
    pub redactions: Vec<Redaction>,
    pub approval_id: Option<DecisionId>,
    pub budget: Option<BudgetHold>,
    pub est_cost: MicroUsd,
    /// Decision latency, microseconds.
    pub eval_us: u64,
    /// The key that signs the attestation.
    pub att_kid: Option<KeyId>,
    pub degraded: Degraded,
    pub outcome: OutcomeDue,
    /// Digests of salted disclosures (RFC 9901 §4.2).
    pub sd: Vec<Hash>,
}

impl DecisionEntry {
    /// A decision of which nothing more is known; fill in what is.
    pub fn new(id: DecisionId, region: Region, decision: Effect, reason: Reason) -> Self {
        Self {
            tenant: None,
            id,
            trace: None,
            org: None,
            region,
            agent: None,
            parent_agent: None,
            jti: None,
            token_use: None,
            tool: None,
            route: None,
            dest: None,
            kind: None,
            policy: None,
            rules: Vec::new(),
            would: Vec::new(),
            exceptions: Vec::new(),
            mode: Mode::Enforce,
            decision,
            reason,
            params: None,
            body_in: None,
            body_out: None,
            redactions: Vec::new(),
            approval_id: None,
            budget: None,
            est_cost: MicroUsd::ZERO,
            eval_us: 0,
            att_kid: None,
            degraded: Degraded::No,
            outcome: OutcomeDue::None,
            sd: Vec::new(),
        }
    }

    /// Takes over what a judged call says of itself; an outcome follows when it lets the call through.
    pub fn of(decision: &Decision, region: Region) -> Self {
        let verdict = &decision.verdict;
        let follows = verdict.lets_through();
        Self {
            rules: decision.rules.clone(),
            would: decision.would.clone(),
            exceptions: decision.exceptions.clone(),
            policy: decision.policy.clone(),
            params: decision.params_hash,
            est_cost: decision.estimated_cost,
            degraded: decision.degraded,
            outcome: if follows { OutcomeDue::Follows } else { OutcomeDue::None },
            ..Self::new(decision.id, region, verdict.effect(), verdict.reason())
        }
    }

    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Decision);
        self.write_who(&mut w);
        self.write_what(&mut w);
        self.write_verdict(&mut w);
        write_sd(&mut w, &self.sd)?;
        w.finish(Draft {
            tenant: self.tenant.clone(),
            effect: Some(self.decision),
            ..Draft::empty(Kind::Decision)
        })
    }

    fn write_who(&self, w: &mut Writer) {
        w.opt_text("tenant", self.tenant.as_ref().map(TenantId::as_str));
        w.text("id", self.id.as_str());
        if let Some(trace) = &self.trace {
            w.text("trace", trace_text(trace).as_str());
        }
        w.opt_text("org", self.org.as_ref().map(OrgId::as_str));
        w.text("region", self.region.as_str());
        w.opt_text("agent", self.agent.as_ref().map(AgentId::as_str));
        w.opt_text("parent_agent", self.parent_agent.as_ref().map(AgentId::as_str));
        if let Some(jti) = &self.jti {
            w.hash("jti", jti);
        }
        w.opt_text("token_use", self.token_use.map(TokenUse::as_str));
    }

    fn write_what(&self, w: &mut Writer) {
        w.opt_text("tool", self.tool.as_ref().map(ToolName::as_str));
        w.opt_text("route", self.route.as_ref().map(ToolName::as_str));
        if let Some(dest) = &self.dest {
            w.open("dest").text("host", dest.host.as_str()).number("port", dest.port.into());
            w.text("method", dest.method.as_str()).hash("path", &dest.path).close();
        }
        w.opt_text("kind", self.kind.map(CallKind::as_str));
    }

    fn write_verdict(&self, w: &mut Writer) {
        if let Some(policy) = &self.policy {
            w.open("policy").text("revision", &policy.revision).wide("version", policy.version);
            w.text("bundle_sha256", &policy.bundle_sha256).close();
        }
        w.list("rules", self.rules.iter().map(RuleId::as_str));
        w.list("would", self.would.iter().map(RuleId::as_str));
        w.list("exceptions", self.exceptions.iter().map(RuleId::as_str));
        w.text("mode", self.mode.as_str());
        w.text("decision", self.decision.as_str());
        w.text("reason", self.reason.code());
        if let Some(params) = &self.params {
            let hash = Hash::from_bytes(*params.as_bytes());
            w.open("params").text("alg", "sha256").hash("hash", &hash).close();
        }
        write_body(w, "body_in", self.body_in);
        write_body(w, "body_out", self.body_out);
        write_redactions(w, &self.redactions);
        w.opt_text("approval_id", self.approval_id.as_ref().map(DecisionId::as_str));
        if let Some(budget) = &self.budget {
            w.open("budget").list("keys", budget.keys.iter().map(String::as_str));
            w.number("held_microusd", budget.held.micro_usd());
            w.opt_text("estimate", estimate_text(budget.estimate));
            w.list("warned", budget.warned.iter().map(String::as_str)).close();
        }
        w.number("est_cost_microusd", self.est_cost.micro_usd());
        w.number("eval_us", self.eval_us);
        w.opt_text("att_kid", self.att_kid.as_ref().map(KeyId::as_str));
        w.opt_text("degraded", degraded_text(self.degraded));
        w.text("outcome", self.outcome.as_str());
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            tenant: r.opt("tenant", |text| TenantId::parse(text).ok())?,
            id: r.parsed("id", |text| DecisionId::parse(text).ok())?,
            trace: r.opt("trace", parse_trace)?,
            org: r.opt("org", |text| OrgId::parse(text).ok())?,
            region: r.parsed("region", |text| Region::parse(text).ok())?,
            agent: r.opt("agent", |text| AgentId::parse(text).ok())?,
            parent_agent: r.opt("parent_agent", |text| AgentId::parse(text).ok())?,
            jti: r.opt("jti", Hash::parse)?,
            token_use: r.opt("token_use", parse_token_use)?,
            tool: r.opt("tool", |text| ToolName::parse(text).ok())?,
            route: r.opt("route", |text| ToolName::parse(text).ok())?,
            dest: r.object("dest", read_dest)?,
            kind: r.opt("kind", parse_call_kind)?,
            policy: r.object("policy", read_policy)?,
            rules: r.list("rules", |text| RuleId::parse(text).ok())?,
            would: r.list("would", |text| RuleId::parse(text).ok())?,
            exceptions: r.list("exceptions", |text| RuleId::parse(text).ok())?,
            mode: r.parsed("mode", Mode::parse)?,
            decision: r.parsed("decision", Effect::parse)?,
            reason: r.parsed("reason", parse_reason)?,
            params: r.object("params", read_params)?,
            body_in: r.object("body_in", read_body)?,
            body_out: r.object("body_out", read_body)?,
            redactions: read_redactions(r)?,
            approval_id: r.opt("approval_id", |text| DecisionId::parse(text).ok())?,
            budget: r.object("budget", read_budget)?,
            est_cost: MicroUsd::new(r.number("est_cost_microusd")?),
            eval_us: r.number("eval_us")?,
            att_kid: r.opt("att_kid", |text| KeyId::parse(text).ok())?,
            degraded: r.opt("degraded", parse_degraded)?.unwrap_or(Degraded::No),
            outcome: r.parsed("outcome", OutcomeDue::parse)?,
            sd: r.list("_sd", Hash::parse)?,
        })
    }
}

/// The `traceparent` form, without the formatting machinery: this is on the way of every call.
fn trace_text(trace: &TraceContext) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut text = String::with_capacity(55);
    let mut hex = |before: &str, bytes: &[u8]| {
        text.push_str(before);
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                text.extend(DIGITS.get(usize::from(nibble)));
            }
        }
    };
    hex("00-", &trace.trace_id);
    hex("-", &trace.span_id);
    hex("-", &[trace.flags]);
    text
}

pub(super) fn parse_trace(text: &str) -> Option<TraceContext> {
    let mut rest = text.strip_prefix("00-")?;
    let trace_id = take_hex::<16>(&mut rest)?;
    rest = rest.strip_prefix('-')?;
    let span_id = take_hex::<8>(&mut rest)?;
    rest = rest.strip_prefix('-')?;
    let [flags] = take_hex::<1>(&mut rest)?;
    let whole = rest.is_empty() && trace_id != [0; 16] && span_id != [0; 8];
    whole.then_some(TraceContext { trace_id, span_id, flags })
}

fn take_hex<const N: usize>(rest: &mut &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let mut bytes = rest.bytes();
    let mut out = [0; N];
    for slot in &mut out {
        *slot = (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?;
    }
    *rest = rest.get(N.checked_mul(2)?..)?;
    Some(out)
}

fn write_body(w: &mut Writer, key: &str, body: Option<BodyDigest>) {
    if let Some(body) = body {
        w.open(key).hash("sha256", &body.sha256).number("size", body.size).close();
    }
}

/// Redactions, cut like other lists: the last one then counts and names what was cut.
pub(super) fn write_redactions(w: &mut Writer, redactions: &[Redaction]) {
    let kept = if redactions.len() > LIST_MAX { LIST_MAX.saturating_sub(1) } else { LIST_MAX };
    let mut shown: Vec<(&str, u32)> = Vec::with_capacity(redactions.len().min(LIST_MAX));
    shown.extend(redactions.iter().take(kept).map(|one| (one.rule.as_str(), one.count)));
    let more = cut(redactions.iter().map(|one| one.rule.as_str()), kept);
    if let Some(more) = &more {
        let rest = redactions.iter().skip(kept).map(|one| one.count);
        shown.push((more, rest.fold(0, u32::saturating_add)));
    }
    w.objects("redactions", &shown, |w, (rule, count)| {
        w.text("rule", rule).number("count", u64::from(*count));
    });
}

/// Disclosure digests; unlike names they cannot be cut, so too many are refused.
pub(super) fn write_sd(w: &mut Writer, sd: &[Hash]) -> Result<(), RecordError> {
    if sd.len() > LIST_MAX {
        return Err(RecordError::TooLong);
    }
    let texts: Vec<String> = sd.iter().map(Hash::to_string).collect();
    w.list("_sd", texts.iter().map(String::as_str));
    Ok(())
}

fn read_dest(r: &mut Reader<'_>) -> Result<Dest, RecordError> {
    Ok(Dest {
        host: r.parsed("host", |text| Host::parse(text).ok())?,
        port: u16::try_from(r.number("port")?).map_err(|_| r.bad("port"))?,
        method: r.parsed("method", Method::parse)?,
        path: r.parsed("path", Hash::parse)?,
    })
}

fn read_policy(r: &mut Reader<'_>) -> Result<PolicyRef, RecordError> {
    Ok(PolicyRef {
        revision: r.text("revision")?.into_owned(),
        version: r.wide("version")?,
        bundle_sha256: r.text("bundle_sha256")?.into_owned(),
    })
}

fn read_params(r: &mut Reader<'_>) -> Result<ParamsHash, RecordError> {
    r.parsed("alg", |text| (text == "sha256").then_some(()))?;
    Ok(ParamsHash::from_bytes(*r.parsed("hash", Hash::parse)?.as_bytes()))
}

fn read_body(r: &mut Reader<'_>) -> Result<BodyDigest, RecordError> {
    Ok(BodyDigest { sha256: r.parsed("sha256", Hash::parse)?, size: r.number("size")? })
}

pub(super) fn read_redactions(r: &mut Reader<'_>) -> Result<Vec<Redaction>, RecordError> {
    r.objects("redactions", |r| {
        Ok(Redaction {
            rule: r.parsed("rule", |text| RuleId::parse(text).ok())?,
            count: u32::try_from(r.number("count")?).map_err(|_| r.bad("count"))?,
        })
    })
}

fn read_budget(r: &mut Reader<'_>) -> Result<BudgetHold, RecordError> {
    Ok(BudgetHold {
        keys: r.list("keys", |text| Some(text.to_owned()))?,
        held: MicroUsd::new(r.number("held_microusd")?),
        estimate: r.opt("estimate", parse_estimate)?.unwrap_or_default(),
        warned: r.list("warned", |text| Some(text.to_owned()))?,
    })
}

pub(super) fn parse_token_use(text: &str) -> Option<TokenUse> {
    [TokenUse::Bound, TokenUse::Once].into_iter().find(|one| one.as_str() == text)
}

pub(super) fn parse_call_kind(text: &str) -> Option<CallKind> {
    [CallKind::Read, CallKind::Write].into_iter().find(|kind| kind.as_str() == text)
}

pub(super) fn parse_reason(text: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.code() == text)
}

/// Written only when it is no ceiling.
fn estimate_text(kind: EstimateKind) -> Option<&'static str> {
    match kind {
        EstimateKind::Ceiling => None,
        EstimateKind::Soft => Some("soft"),
    }
}

pub(super) fn parse_estimate(text: &str) -> Option<EstimateKind> {
    (text == "soft").then_some(EstimateKind::Soft)
}

/// Written only when something was missing.
fn degraded_text(degraded: Degraded) -> Option<&'static str> {
    match degraded {
        Degraded::No => None,
        Degraded::HotStateOutage => Some("hot_state_outage"),
    }
}

pub(super) fn parse_degraded(text: &str) -> Option<Degraded> {
    (text == "hot_state_outage").then_some(Degraded::HotStateOutage)
}

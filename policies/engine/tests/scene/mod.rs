//! One call in its circumstances, all in order until a test says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use aegis_document::{Diagnostics, Document};
use aegis_domain::{
    AgentIdentity, CallKind, DlpFacts, EgressCall, MicroUsd, Params, ParamsHash, Region, RuleId,
    Scheme, Timestamp, TokenUse, ToolName,
};
use aegis_policy::{CompileContext, PolicyInput, PolicyOutcome, Snapshot};
use serde_json::Value;

pub(crate) fn compile(text: &str) -> Result<Snapshot, Diagnostics> {
    let document = Document::parse("policy.yaml", text)?;
    Snapshot::compile(&[document], CompileContext { version: 7 })
}

pub(crate) fn demo() -> Snapshot {
    compile(include_str!("../../../packs/demo.yaml")).unwrap()
}

/// A policy with one tool `pay`, to which the rules and parameters of a test are added.
pub(crate) fn one_tool(params: &str, rules: &str) -> String {
    format!(
        "apiVersion: aegis.dev/v1
kind: PolicySet
metadata: {{ tenant: demo, env: dev }}
calendars:
  hours: {{ tz: UTC, weekly: ['Mon-Sun 08:00-20:00'] }}
approvals:
  fin: {{ route: 'slack:#fin', expires: 15m }}
  fast: {{ route: 'slack:#fast', expires: 1m }}
obligations:
  blank: {{ redact: {{ detectors: [ssn], fields: [password] }} }}
  bare: {{ keep_fields: [id], strip_attachments: true }}
tools:
  pay:
    class: write
    match: {{ hosts: [api.test], methods: [POST], paths: [/pay] }}
    allow: {{ groups: [finance], scopes: [pay] }}
    params: {params}
    rules:
{rules}"
    )
}

#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) tool: ToolName,
    pub(crate) call: EgressCall,
    pub(crate) agent: AgentIdentity,
    pub(crate) region: Region,
    pub(crate) dlp: DlpFacts,
    pub(crate) now: Timestamp,
    pub(crate) budget_left: Option<MicroUsd>,
    pub(crate) approved: BTreeSet<RuleId>,
}

impl Scene {
    pub(crate) fn new(tool: &str, method: &str, host: &str, path: &str) -> Self {
        let tool: ToolName = tool.parse().unwrap();
        Self {
            call: EgressCall {
                route: tool.clone(),
                scheme: Scheme::Https,
                host: host.parse().unwrap(),
                port: 443,
                method: aegis_domain::Method::parse(method).unwrap(),
                path: path.to_owned(),
                query: None,
                kind: CallKind::Write,
                mcp: None,
                params: Params::new(),
                params_hash: ParamsHash::of(b""),
                body_bytes: 0,
                estimated_cost: MicroUsd::new(10),
            },
            tool,
            agent: AgentIdentity {
                org: "acme".parse().unwrap(),
                tenant: "demo".parse().unwrap(),
                agent: "agent-1".parse().unwrap(),
                parent_agent: None,
                scopes: ["pay", "payments:write"].map(str::to_owned).into(),
                groups: ["finance"].map(str::to_owned).into(),
                attributes: BTreeMap::new(),
                jti: "j".parse().unwrap(),
                key_id: "k".parse().unwrap(),
                token_use: TokenUse::Bound,
                expires_at: Timestamp::from_unix_s(2_000_000_000),
            },
            region: "eu-west-1".parse().unwrap(),
            dlp: DlpFacts::Scanned(BTreeMap::new()),
            // 2026-11-20T10:00:00Z, a Friday.
            now: Timestamp::from_unix_s(1_795_168_800),
            budget_left: Some(MicroUsd::new(500)),
            approved: BTreeSet::new(),
        }
    }

    pub(crate) fn pay() -> Self {
        Self::new("pay", "POST", "api.test", "/pay")
    }

    pub(crate) fn payout() -> Self {
        Self::new("payments.create", "POST", "api.payments.test", "/v1/payouts").with(&[
            ("amount", Value::from(4200)),
            ("currency", Value::from("USD")),
            ("destination", Value::from("acct_1A2b3C4d5E")),
        ])
    }

    pub(crate) fn with(mut self, params: &[(&str, Value)]) -> Self {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.call.params.extend(params);
        self
    }

    pub(crate) fn input(&self) -> PolicyInput<'_> {
        PolicyInput {
            tool: &self.tool,
            call: &self.call,
            agent: &self.agent,
            region: &self.region,
            dlp: &self.dlp,
            now: self.now,
            budget_left: self.budget_left,
            approved: &self.approved,
        }
    }

    pub(crate) fn ask(&self, snapshot: &Snapshot) -> PolicyOutcome {
        snapshot.evaluate(&self.input()).unwrap()
    }

    /// The outcome as one line: `deny schema.a,schema.b`.
    pub(crate) fn answer(&self, snapshot: &Snapshot) -> String {
        let outcome = self.ask(snapshot);
        let rules: Vec<&str> = outcome.rules.iter().map(RuleId::as_str).collect();
        format!("{} {}", outcome.effect.as_str(), rules.join(",")).trim_end().to_owned()
    }
}

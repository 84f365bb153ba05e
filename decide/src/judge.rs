//! The order of checks, once: facts first (replay, rates, budget, outage), then policy.
//!
//! Not here: reading policy (`policies/engine`) or carrying a verdict out (`corridor::rooms`).
//! Invariant: policy is asked only when the facts allow the call, and only policy can allow one.

use std::collections::BTreeSet;

use aegis_domain::{
    AgentIdentity, ApprovalRequest, Decision, DecisionId, Degraded, Effect, EgressCall, Facts,
    HotAnswer, HotRefusal, MicroUsd, Reason, Region, RuleId, Timestamp, ToolName, Ttl, Verdict,
};
use aegis_policy::{PolicyInput, PolicyOutcome, Snapshot};
use serde_json::Value;

use crate::outage::{HotFacts, OutageRule, without_facts};

/// How long a question to a human stands when the policy's route does not say.
const APPROVAL_TTL: Ttl = Ttl::from_s(15 * 60);

/// One call with all that is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub id: DecisionId,
    pub call: &'a EgressCall,
    /// The policy's tool for this call, when there is one.
    pub tool: Option<&'a ToolName>,
    pub agent: &'a AgentIdentity,
    pub facts: &'a Facts,
    pub region: &'a Region,
    pub outage: OutageRule,
    /// The rules that a person granted exactly this call.
    pub approved: &'a BTreeSet<RuleId>,
}

/// Nothing was granted.
pub static NO_APPROVALS: BTreeSet<RuleId> = BTreeSet::new();

/// Decides one call; checks run in the order an auditor reads them: replay, rates, budget, policy.
pub fn judge(case: &Case<'_>, policy: &Snapshot) -> Decision {
    let blank = Decision {
        policy: Some(policy.policy_ref().clone()),
        params_hash: Some(case.call.params_hash),
        estimated_cost: case.call.estimated_cost,
        ..refuse(case.id, Reason::DefaultDeny)
    };
    match check_facts(case, policy) {
        Err(reason) => Decision { verdict: Verdict::Deny(reason), ..blank },
        Ok((budget_left, degraded)) => {
            let judged = judge_policy(case, policy, budget_left, blank);
            match (degraded, &judged.verdict) {
                // Without hot state a call goes on untouched or not at all.
                (Degraded::HotStateOutage, Verdict::Sanitize(_) | Verdict::ApprovalNeeded(_)) => {
                    Decision { verdict: Verdict::Deny(Reason::StateUnavailable), ..judged }
                }
                (Degraded::HotStateOutage, Verdict::Allow | Verdict::Deny(_))
                | (Degraded::No, _) => Decision { degraded, ..judged },
            }
        }
    }
}

/// What the policy saw of the call, to be kept beside the record; `None` when it was not asked.
pub fn seen(case: &Case<'_>, policy: &Snapshot) -> Option<Value> {
    let (budget_left, _) = check_facts(case, policy).ok()?;
    Some(policy.projected_input(&policy_input(case, case.tool?, budget_left)))
}

/// A refusal reached before, or instead of, judging the call.
pub fn refuse(id: DecisionId, reason: Reason) -> Decision {
    Decision {
        id,
        verdict: Verdict::Deny(reason),
        rules: Vec::new(),
        detail: None,
        would: Vec::new(),
        exceptions: Vec::new(),
        policy: None,
        params_hash: None,
        estimated_cost: MicroUsd::ZERO,
        degraded: Degraded::No,
    }
}

fn check_facts(case: &Case<'_>, policy: &Snapshot) -> Result<(Option<MicroUsd>, Degraded), Reason> {
    match case.facts.hot {
        HotAnswer::Granted(grant) => Ok((Some(grant.budget_left), Degraded::No)),
        HotAnswer::Refused(HotRefusal::Replayed) => Err(Reason::TokenReplayed),
        HotAnswer::Refused(HotRefusal::Rate { .. }) => Err(Reason::RateLimited),
        HotAnswer::Refused(HotRefusal::Busy { .. }) => Err(Reason::TooManyInFlight),
        HotAnswer::Refused(HotRefusal::Budget { .. }) => Err(Reason::OutOfBudget),
        HotAnswer::Unanswered(outage) => {
            let is_free = case.call.estimated_cost == MicroUsd::ZERO;
            let is_known = case.tool.is_some_and(|tool| policy.may_degrade(tool));
            let facts = if is_free && is_known { HotFacts::Spare } else { HotFacts::Needed };
            let degraded = without_facts(case.outage, case.call.kind, facts, outage)?;
            Ok((None, degraded))
        }
    }
}

fn judge_policy(
    case: &Case<'_>,
    policy: &Snapshot,
    budget_left: Option<MicroUsd>,
    blank: Decision,
) -> Decision {
    let Some(tool) = case.tool else { return blank };
    match policy.evaluate(&policy_input(case, tool, budget_left)) {
        Err(_) => Decision { verdict: Verdict::Deny(Reason::PolicyEngine), ..blank },
        Ok(outcome) => decided(case, outcome, blank),
    }
}

fn policy_input<'a>(
    case: &Case<'a>,
    tool: &'a ToolName,
    budget_left: Option<MicroUsd>,
) -> PolicyInput<'a> {
    PolicyInput {
        tool,
        call: case.call,
        agent: case.agent,
        region: case.region,
        dlp: &case.facts.dlp,
        now: case.facts.now,
        budget_left,
        approved: case.approved,
    }
}

fn decided(case: &Case<'_>, outcome: PolicyOutcome, blank: Decision) -> Decision {
    let verdict = match outcome.effect {
        Effect::Allow => Verdict::Allow,
        Effect::Sanitize => Verdict::Sanitize(outcome.obligations),
        Effect::ApprovalNeeded => Verdict::ApprovalNeeded(ApprovalRequest {
            id: case.id,
            rules: outcome.rules.clone(),
            routes: outcome.approval_routes,
            params_hash: case.call.digest(&case.agent.agent),
            expires_at: expires_at(case.facts.now, outcome.approval_ttl),
        }),
        Effect::Deny => Verdict::Deny(denied_as(&outcome.rules)),
    };
    Decision {
        verdict,
        rules: outcome.rules,
        detail: outcome.detail,
        would: outcome.would,
        exceptions: outcome.exceptions,
        ..blank
    }
}

fn expires_at(now: Timestamp, ttl: Option<Ttl>) -> Timestamp {
    now.plus(ttl.unwrap_or(APPROVAL_TTL))
}

/// "Nothing grants this" and "a rule forbids this" are different things to repair.
fn denied_as(rules: &[RuleId]) -> Reason {
    let default = |rule: &RuleId| rule.as_str() == "egress.default-deny";
    if rules.iter().all(default) { Reason::DefaultDeny } else { Reason::PolicyDenied }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use aegis_document::Document;
    use aegis_domain::{
        AgentId, CallKind, DlpFacts, Host, Jti, KeyId, Method, OrgId, Outage, Params, ParamsHash,
        Scheme, TenantId, TokenUse,
    };
    use aegis_policy::CompileContext;

    use super::*;

    const POLICY: &str = "
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { name: t, tenant: acme, env: prod }
obligations: { slim: { keep_fields: [id] } }
tools:
  plain:
    class: read
    match: { hosts: [a.test], methods: [GET], paths: [/x] }
    allow: {}
  scanned:
    class: read
    match: { hosts: [a.test], methods: [GET], paths: [/x] }
    allow: {}
    rules: [{ id: secrets, effect: deny, when: { dlp: [secret] } }]
  slimmed:
    class: read
    match: { hosts: [a.test], methods: [GET], paths: [/x] }
    allow: {}
    rules: [{ id: slim, effect: sanitize, when: always, obligation: slim }]
  written:
    class: write
    match: { hosts: [a.test], methods: [GET], paths: [/x] }
    allow: {}
";

    /// What becomes of a read through this tool while the hot state is silent and the operator allows such reads.
    fn in_an_outage(tool: &str, cost: MicroUsd) -> Decision {
        let tool = ToolName::parse(tool).unwrap();
        let document = Document::parse("t.yaml", POLICY).unwrap();
        let policy = Snapshot::compile(&[document], CompileContext { version: 1 }).unwrap();
        let call = EgressCall {
            route: tool.clone(),
            scheme: Scheme::Https,
            host: Host::parse("a.test").unwrap(),
            port: 443,
            method: Method::parse("GET").unwrap(),
            path: "/x".to_owned(),
            query: None,
            kind: CallKind::Read,
            mcp: None,
            params: Params::new(),
            params_hash: ParamsHash::of(b""),
            body_bytes: 0,
            estimated_cost: cost,
        };
        let agent = AgentIdentity {
            org: OrgId::parse("acme").unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            agent: AgentId::parse("bot").unwrap(),
            parent_agent: None,
            scopes: BTreeSet::new(),
            groups: BTreeSet::new(),
            attributes: BTreeMap::new(),
            jti: Jti::parse("j").unwrap(),
            key_id: KeyId::parse("k").unwrap(),
            token_use: TokenUse::Bound,
            expires_at: Timestamp::from_unix_s(1),
        };
        let facts = Facts {
            now: Timestamp::from_unix_s(0),
            hot: HotAnswer::Unanswered(Outage::TimedOut),
            dlp: DlpFacts::Scanned(BTreeMap::new()),
        };
        let case = Case {
            id: DecisionId::new(1, [0; 10]),
            call: &call,
            tool: Some(&tool),
            agent: &agent,
            facts: &facts,
            region: &Region::parse("eu-west-1").unwrap(),
            outage: OutageRule::AllowFreeReads,
            approved: &NO_APPROVALS,
        };
        judge(&case, &policy)
    }

    #[test]
    fn without_hot_state_only_a_free_read_that_needs_no_fact_goes_on_and_says_so() {
        let plain = in_an_outage("plain", MicroUsd::ZERO);
        assert_eq!((plain.verdict, plain.degraded), (Verdict::Allow, Degraded::HotStateOutage));
        let paid = in_an_outage("plain", MicroUsd::new(1));
        assert_eq!(paid.verdict, Verdict::Deny(Reason::StateUnavailable));
        for tool in ["scanned", "slimmed", "written"] {
            let decision = in_an_outage(tool, MicroUsd::ZERO);
            assert_eq!(decision.verdict, Verdict::Deny(Reason::StateUnavailable), "{tool}");
            assert_eq!(decision.degraded, Degraded::No, "{tool}");
        }
    }
}

//! The order of checks, once: facts first (replay, rates, budget, outage), then policy.
//!
//! Not here: reading policy (`policies/engine`) or carrying a verdict out (`gateway::rooms`).
//! Invariant: policy is asked only when the facts allow the call, and only policy can allow one.

use std::collections::BTreeSet;

use aegis_domain::{
    AgentIdentity, ApprovalRequest, Decision, DecisionId, Degraded, Effect, EgressCall, Facts,
    HotAnswer, HotRefusal, MicroUsd, Reason, Region, RuleId, Timestamp, ToolName, Ttl, Verdict,
};
use aegis_policy::{PolicyInput, PolicyOutcome, Snapshot};

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
}

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

/// A refusal reached before, or instead of, judging the call.
pub fn refuse(id: DecisionId, reason: Reason) -> Decision {
    Decision {
        id,
        verdict: Verdict::Deny(reason),
        rules: Vec::new(),
        detail: None,
        would: Vec::new(),
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
    let input = PolicyInput {
        tool,
        call: case.call,
        agent: case.agent,
        region: case.region,
        dlp: &case.facts.dlp,
        now: case.facts.now,
        budget_left,
        approved: &BTreeSet::new(),
    };
    match policy.evaluate(&input) {
        Err(_) => Decision { verdict: Verdict::Deny(Reason::PolicyEngine), ..blank },
        Ok(outcome) => decided(case, outcome, blank),
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
            params_hash: case.call.params_hash,
            expires_at: expires_at(case.facts.now, outcome.approval_ttl),
        }),
        Effect::Deny => Verdict::Deny(denied_as(&outcome.rules)),
    };
    Decision {
        verdict,
        rules: outcome.rules,
        detail: outcome.detail,
        would: outcome.would,
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

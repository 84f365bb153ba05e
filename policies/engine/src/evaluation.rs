//! What the policy is asked about one call, and what it answers.
//!
//! Not here: how the answer is reached (`snapshot`, `rego`). Invariant: an outcome is well formed or it is an
//! `EngineError`, which means deny; there is no third thing.

use std::collections::BTreeSet;

use aegis_domain::{
    AgentIdentity, CallKind, DlpFacts, Effect, EgressCall, MicroUsd, Obligation, Region, RuleId,
    Timestamp, ToolName, Ttl,
};

/// Everything one evaluation may look at.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInput<'a> {
    /// The tool that `Snapshot::resolve` found for the call.
    pub tool: &'a ToolName,
    pub call: &'a EgressCall,
    pub agent: &'a AgentIdentity,
    /// The region of the gateway that judges the call.
    pub region: &'a Region,
    pub dlp: &'a DlpFacts,
    pub now: Timestamp,
    /// What is left of the budget before this call; `None` when the hot state did not answer.
    pub budget_left: Option<MicroUsd>,
    /// Rules that a verified one-time token has approved for exactly this call.
    pub approved: &'a BTreeSet<RuleId>,
}

/// What the policy says about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOutcome {
    pub effect: Effect,
    /// Ids of the rules and checks that fired at the winning level, sorted.
    pub rules: Vec<RuleId>,
    /// The `reason` of the first deny rule that fired and has one.
    pub detail: Option<String>,
    /// What must be done to the body, for `sanitize` and for `approval_needed`.
    pub obligations: Vec<Obligation>,
    /// Names of the approvals that are asked for, sorted.
    pub approval_routes: Vec<String>,
    /// The shortest validity of the approvals that are asked for.
    pub approval_ttl: Option<Ttl>,
    /// Ids of shadow rules that fired, sorted; they have no effect.
    pub would: Vec<RuleId>,
    /// Ids of the exceptions that lifted a rule which fired, sorted.
    pub exceptions: Vec<RuleId>,
}

/// What is fixed about a tool, whatever the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolInfo {
    pub name: ToolName,
    pub kind: CallKind,
    /// Names of the approvals that its rules can ask for, sorted.
    pub approvals: Vec<String>,
}

/// Why the engine gave no answer; the call is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("the policy program failed or ran into a limit")]
    Failed,
    #[error("the policy program gave no decision")]
    Undefined,
    #[error("the policy program gave a malformed decision")]
    Malformed,
}

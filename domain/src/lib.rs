//! The nouns of Aegis: ids, money, time, calls, facts, verdicts, decisions.
//!
//! Pure: no clock, no files, no sockets, no randomness; wire shapes live at the edges and convert.
//! Invariant: a value of one of these types has already passed the check its type stands for.
#![deny(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod agent;
mod approval;
mod budget;
mod call;
mod decision;
mod facts;
mod ids;
mod money;
mod reason;
mod secret;
mod time;
mod voters;

pub use agent::{AgentIdentity, TokenUse};
pub use approval::ApprovalRequest;
pub use budget::{BudgetKey, BudgetNameError, BudgetScope, BudgetWindow, Hours, Overrun};
pub use call::{CallKind, EgressCall, McpCall, Method, Params, ParamsHash, Scheme};
pub use decision::{Decision, Degraded, Effect, Obligation, PolicyRef, Verdict};
pub use facts::{
    CountScope, DlpFacts, Facts, Grant, HotAnswer, HotRefusal, Outage, RateLeft, RateWindow,
};
pub use ids::{
    AgentId, DecisionId, Detector, Host, IdError, Jti, KeyId, McpTool, OrgId, Region, RuleId,
    TeamId, TenantId, ToolName, TraceContext,
};
pub use money::{EstimateKind, MicroUsd, MoneyError};
pub use reason::{Fault, Reason};
pub use secret::Secret;
pub use time::{Timestamp, Ttl};
pub use voters::VoterUrls;

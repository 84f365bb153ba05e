//! What was decided about one call, and under which policy.
//!
//! Not here: how it is reached (`decide`) or written down (`audit/chain`). Invariant: a `Decision` names the
//! policy version it was reached under, also when the policy was never asked.

use crate::{ApprovalRequest, DecisionId, Detector, MicroUsd, ParamsHash, Reason, RuleId};

/// The four effects, weakest first; the strongest that fires wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    Allow,
    Sanitize,
    ApprovalNeeded,
    Deny,
}

impl Effect {
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Allow => "allow",
            Effect::Sanitize => "sanitize",
            Effect::ApprovalNeeded => "approval_needed",
            Effect::Deny => "deny",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Effect::Allow, Effect::Sanitize, Effect::ApprovalNeeded, Effect::Deny]
            .into_iter()
            .find(|effect| effect.as_str() == text)
    }
}

/// What must be done to a body before it may leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Obligation {
    /// Blank what these detectors find.
    Redact { detectors: Vec<Detector> },
    /// Blank these JSON or form fields whatever they hold, at any depth.
    RedactFields { fields: Vec<String> },
    /// Drop every top-level JSON or form field but these.
    KeepFields { fields: Vec<String> },
    /// Remove file parts from multipart bodies.
    StripAttachments,
}

/// The policy version a decision was reached under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRef {
    /// `<tenant>/<env>@<version>+<digest>`.
    pub revision: String,
    pub version: u64,
    /// SHA-256 of the bundle without its signature, lower-case hex.
    pub bundle_sha256: String,
}

/// The answer to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// Send it, but only after these have been carried out.
    Sanitize(Vec<Obligation>),
    ApprovalNeeded(ApprovalRequest),
    Deny(Reason),
}

impl Verdict {
    pub fn effect(&self) -> Effect {
        match self {
            Verdict::Allow => Effect::Allow,
            Verdict::Sanitize(_) => Effect::Sanitize,
            Verdict::ApprovalNeeded(_) => Effect::ApprovalNeeded,
            Verdict::Deny(_) => Effect::Deny,
        }
    }

    /// Whether the call may be sent.
    pub fn lets_through(&self) -> bool {
        match self {
            Verdict::Allow | Verdict::Sanitize(_) => true,
            Verdict::ApprovalNeeded(_) | Verdict::Deny(_) => false,
        }
    }

    /// The stable code that a record, a log line and a refusal carry.
    pub fn reason(&self) -> Reason {
        match self {
            Verdict::Allow => Reason::Allowed,
            Verdict::Sanitize(_) => Reason::Sanitized,
            Verdict::ApprovalNeeded(_) => Reason::ApprovalNeeded,
            Verdict::Deny(reason) => *reason,
        }
    }
}

/// One judged call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub id: DecisionId,
    pub verdict: Verdict,
    /// Ids of the rules and checks that fired at the winning level, sorted.
    pub rules: Vec<RuleId>,
    /// What a person wrote beside the deny rule that fired, if anything.
    pub detail: Option<String>,
    /// Ids of shadow rules that would have fired.
    pub would: Vec<RuleId>,
    /// Ids of the policy's exceptions without which another rule would have held the call.
    pub exceptions: Vec<RuleId>,
    pub policy: Option<PolicyRef>,
    /// `None` when the call was refused before its body was read.
    pub params_hash: Option<ParamsHash>,
    pub estimated_cost: MicroUsd,
    /// True when a fact was missing and policy let a read go on without it.
    pub degraded: Degraded,
}

/// Whether a decision was reached with all its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Degraded {
    No,
    /// The hot state did not answer and the policy lets such reads through.
    HotStateOutage,
}

//! What a person is asked to approve.
//!
//! Not here: how they are asked, and how a grant is consumed. Invariant: an approval is bound to the digest
//! of the exact call and to the rule ids that asked for it.

use crate::{DecisionId, ParamsHash, RuleId, Timestamp};

/// One question to a human, named after the decision that raised it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    pub id: DecisionId,
    pub rules: Vec<RuleId>,
    /// Names of the approval routes of the policy, such as `fin`.
    pub routes: Vec<String>,
    /// The digest of the whole call, as `EgressCall::digest` has it.
    pub params_hash: ParamsHash,
    pub expires_at: Timestamp,
}

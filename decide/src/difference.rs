//! How a candidate version would have decided otherwise, in the five ways that people ask about.
//!
//! Not here: reaching either verdict (`judge`), counting and recording (`gateway::shadow`). Invariant: equal verdicts
//! have no difference, and whatever a candidate would let through that is refused now is `NewlyAllowed`.

use std::collections::BTreeSet;

use aegis_domain::{ApprovalRequest, Verdict};

/// What changes for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    NewlyDenied,
    /// The one to be woken for: the candidate no longer refuses.
    NewlyAllowed,
    ApprovalAdded,
    ApprovalRemoved,
    ObligationsChanged,
}

impl Difference {
    pub const ALL: [Difference; 5] = [
        Difference::NewlyDenied,
        Difference::NewlyAllowed,
        Difference::ApprovalAdded,
        Difference::ApprovalRemoved,
        Difference::ObligationsChanged,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Difference::NewlyDenied => "newly_denied",
            Difference::NewlyAllowed => "newly_allowed",
            Difference::ApprovalAdded => "approval_added",
            Difference::ApprovalRemoved => "approval_removed",
            Difference::ObligationsChanged => "obligations_changed",
        }
    }

    /// From the enforced verdict to the candidate's. Two denials are alike whatever their reasons.
    pub fn between(enforced: &Verdict, candidate: &Verdict) -> Option<Self> {
        match (enforced, candidate) {
            (Verdict::Deny(_), Verdict::Deny(_)) | (Verdict::Allow, Verdict::Allow) => None,
            (_, Verdict::Deny(_)) => Some(Difference::NewlyDenied),
            // Also where a human is asked first: a refusal that could not be talked over now can be.
            (Verdict::Deny(_), _) => Some(Difference::NewlyAllowed),
            (Verdict::ApprovalNeeded(before), Verdict::ApprovalNeeded(after)) => {
                approvals(before, after)
            }
            (_, Verdict::ApprovalNeeded(_)) => Some(Difference::ApprovalAdded),
            (Verdict::ApprovalNeeded(_), _) => Some(Difference::ApprovalRemoved),
            (Verdict::Sanitize(before), Verdict::Sanitize(after)) => {
                (before != after).then_some(Difference::ObligationsChanged)
            }
            (Verdict::Allow, Verdict::Sanitize(_)) | (Verdict::Sanitize(_), Verdict::Allow) => {
                Some(Difference::ObligationsChanged)
            }
        }
    }
}

/// Where both ask, it counts who is asked; asking one more outweighs asking one less.
fn approvals(before: &ApprovalRequest, after: &ApprovalRequest) -> Option<Difference> {
    let before: BTreeSet<&String> = before.routes.iter().collect();
    let after: BTreeSet<&String> = after.routes.iter().collect();
    if !after.is_subset(&before) {
        Some(Difference::ApprovalAdded)
    } else if before != after {
        Some(Difference::ApprovalRemoved)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::{DecisionId, Obligation, ParamsHash, Reason, Timestamp};

    use super::*;

    fn asks(routes: &[&str]) -> Verdict {
        Verdict::ApprovalNeeded(ApprovalRequest {
            id: DecisionId::new(1, [0; 10]),
            rules: Vec::new(),
            routes: routes.iter().map(ToString::to_string).collect(),
            params_hash: ParamsHash::of(b""),
            expires_at: Timestamp::from_unix_s(1),
        })
    }

    #[test]
    fn every_pair_of_effects_has_its_class() {
        use Difference::{
            ApprovalAdded, ApprovalRemoved, NewlyAllowed, NewlyDenied, ObligationsChanged,
        };
        let verdicts = [
            Verdict::Allow,
            Verdict::Sanitize(vec![Obligation::StripAttachments]),
            asks(&["chief"]),
            Verdict::Deny(Reason::PolicyDenied),
        ];
        let expected = [
            [None, Some(ObligationsChanged), Some(ApprovalAdded), Some(NewlyDenied)],
            [Some(ObligationsChanged), None, Some(ApprovalAdded), Some(NewlyDenied)],
            [Some(ApprovalRemoved), Some(ApprovalRemoved), None, Some(NewlyDenied)],
            [Some(NewlyAllowed), Some(NewlyAllowed), Some(NewlyAllowed), None],
        ];
        for (enforced, row) in verdicts.iter().zip(expected) {
            for (candidate, class) in verdicts.iter().zip(row) {
                assert_eq!(
                    Difference::between(enforced, candidate),
                    class,
                    "{enforced:?} {candidate:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_asked_and_what_is_done_counts_and_a_reason_does_not() {
        let between = |before: &Verdict, after: &Verdict| Difference::between(before, after);
        let (one, two) = (asks(&["chief"]), asks(&["chief", "privacy"]));
        assert_eq!(between(&one, &two), Some(Difference::ApprovalAdded));
        assert_eq!(between(&two, &one), Some(Difference::ApprovalRemoved));
        assert_eq!(between(&one, &asks(&["privacy"])), Some(Difference::ApprovalAdded));
        let fields = |name: &str| {
            Verdict::Sanitize(vec![Obligation::KeepFields { fields: vec![name.to_owned()] }])
        };
        assert_eq!(between(&fields("id"), &fields("name")), Some(Difference::ObligationsChanged));
        let (default, rule) =
            (Verdict::Deny(Reason::DefaultDeny), Verdict::Deny(Reason::PolicyDenied));
        assert_eq!(between(&default, &rule), None);
    }
}

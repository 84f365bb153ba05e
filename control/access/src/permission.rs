//! What can be permitted, and which roles have it: the one table of both.
//!
//! Not here: which route asks for which (`control`). Invariant: `admin` has every permission, and a new one is had by nobody
//! else until it says so here.

use std::fmt;

use crate::Role;

/// One kind of act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    AgentsRead,
    AgentsWrite,
    ApprovalsRead,
    /// Granting and denying.
    ApprovalsAnswer,
    /// Granting a call that did not ask.
    ApprovalsOverride,
    /// Asking, and using up what was granted: a gateway's part.
    ApprovalsUse,
    /// Which audit logs the region witnesses, and how far.
    AuditRead,
    /// Having a log witnessed.
    AuditWrite,
    BudgetsRead,
    BudgetsWrite,
    ClusterRead,
    ClusterWrite,
    FeedRead,
    FleetRead,
    /// Telling what a gateway runs.
    FleetReport,
    KeysRead,
    KeysWrite,
    /// Who holds which session.
    PeopleRead,
    PeopleWrite,
    PoliciesRead,
    /// Pushing a version.
    PoliciesWrite,
    /// Putting a version into force, in stages or at once.
    PoliciesActivate,
    /// Having a policy that is enforced merely watch.
    PolicyDowngrade,
    RevocationsRead,
    RevocationsWrite,
    ToolsRead,
    /// Defining tools.
    ToolsWrite,
    /// Defining those that have a price, a budget, a credential or a client certificate.
    ToolsEntrust,
}

/// All people, whatever else they are.
const PEOPLE: &[Role] = &[Role::Viewer, Role::Approver, Role::Author, Role::Operator];

impl Permission {
    pub const ALL: [Permission; 28] = [
        Permission::AgentsRead,
        Permission::AgentsWrite,
        Permission::ApprovalsRead,
        Permission::ApprovalsAnswer,
        Permission::ApprovalsOverride,
        Permission::ApprovalsUse,
        Permission::AuditRead,
        Permission::AuditWrite,
        Permission::BudgetsRead,
        Permission::BudgetsWrite,
        Permission::ClusterRead,
        Permission::ClusterWrite,
        Permission::FeedRead,
        Permission::FleetRead,
        Permission::FleetReport,
        Permission::KeysRead,
        Permission::KeysWrite,
        Permission::PeopleRead,
        Permission::PeopleWrite,
        Permission::PoliciesRead,
        Permission::PoliciesWrite,
        Permission::PoliciesActivate,
        Permission::PolicyDowngrade,
        Permission::RevocationsRead,
        Permission::RevocationsWrite,
        Permission::ToolsRead,
        Permission::ToolsWrite,
        Permission::ToolsEntrust,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Permission::AgentsRead => "agents:read",
            Permission::AgentsWrite => "agents:write",
            Permission::ApprovalsRead => "approvals:read",
            Permission::ApprovalsAnswer => "approvals:answer",
            Permission::ApprovalsOverride => "approvals:override",
            Permission::ApprovalsUse => "approvals:use",
            Permission::AuditRead => "audit:read",
            Permission::AuditWrite => "audit:write",
            Permission::BudgetsRead => "budgets:read",
            Permission::BudgetsWrite => "budgets:write",
            Permission::ClusterRead => "cluster:read",
            Permission::ClusterWrite => "cluster:write",
            Permission::FeedRead => "feed:read",
            Permission::FleetRead => "fleet:read",
            Permission::FleetReport => "fleet:report",
            Permission::KeysRead => "keys:read",
            Permission::KeysWrite => "keys:write",
            Permission::PeopleRead => "people:read",
            Permission::PeopleWrite => "people:write",
            Permission::PoliciesRead => "policies:read",
            Permission::PoliciesWrite => "policies:write",
            Permission::PoliciesActivate => "policies:activate",
            Permission::PolicyDowngrade => "policy:downgrade",
            Permission::RevocationsRead => "revocations:read",
            Permission::RevocationsWrite => "revocations:write",
            Permission::ToolsRead => "tools:read",
            Permission::ToolsWrite => "tools:write",
            Permission::ToolsEntrust => "tools:entrust",
        }
    }

    /// The roles that have it, beside `admin`.
    pub(crate) const fn roles(self) -> &'static [Role] {
        match self {
            Permission::AgentsRead
            | Permission::ApprovalsRead
            | Permission::AuditRead
            | Permission::BudgetsRead
            | Permission::ClusterRead
            | Permission::FleetRead
            | Permission::KeysRead
            | Permission::PoliciesRead
            | Permission::RevocationsRead
            | Permission::ToolsRead => PEOPLE,
            Permission::ApprovalsAnswer | Permission::ApprovalsOverride => &[Role::Approver],
            Permission::PoliciesWrite | Permission::ToolsWrite => &[Role::Author],
            Permission::AgentsWrite
            | Permission::BudgetsWrite
            | Permission::PoliciesActivate
            | Permission::RevocationsWrite => &[Role::Operator],
            Permission::AuditWrite => &[Role::Operator, Role::Follower],
            Permission::FeedRead | Permission::FleetReport | Permission::ApprovalsUse => {
                &[Role::Follower]
            }
            Permission::ClusterWrite
            | Permission::KeysWrite
            | Permission::PeopleRead
            | Permission::PeopleWrite
            | Permission::PolicyDowngrade
            | Permission::ToolsEntrust => &[],
        }
    }
}

impl Role {
    pub fn has(self, permission: Permission) -> bool {
        self == Role::Admin || permission.roles().contains(&self)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! The roles of people and machines, by name.
//!
//! Not here: what a role may do (`permission`). Invariant: a name that is no role's is an error, never a lesser role.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What someone is to the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Answers calls that wait for a person.
    Approver,
    /// Writes policy versions, and puts none into force.
    Author,
    /// Puts versions into force; runs agents, budgets and revocations.
    Operator,
    /// Everything: also keys, the cluster, and people.
    Admin,
    /// A machine: a gateway that follows the region.
    Follower,
}

/// A text names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, approver, author, operator, admin or follower")]
pub struct UnknownRole;

impl Role {
    pub const ALL: [Role; 6] =
        [Role::Viewer, Role::Approver, Role::Author, Role::Operator, Role::Admin, Role::Follower];

    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Approver => "approver",
            Role::Author => "author",
            Role::Operator => "operator",
            Role::Admin => "admin",
            Role::Follower => "follower",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

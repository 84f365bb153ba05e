//! What may be asked of the registry, and what happened when it was.
//!
//! Not here: whether it may happen (`decide`). Invariant: an event holds whatever is needed to repeat it, so that a log of
//! events is the registry.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{AgentId, BudgetKey, DecisionId, KeyId, OrgId, TenantId, Timestamp, Ttl};
use serde::{Deserialize, Serialize};

use crate::clients::Origin;
use crate::{
    Actor, Adjustment, Agent, AgentKey, AgentName, Attribute, Budget, BudgetTerms, Code, CodeHash,
    Correction, Defined, Definition, DefinitionText, Group, Limits, Mode, PublicJwk, Purpose,
    Revocation, Scope, Standing, Target, TokenKey, Why, budget, instant, mode,
};

/// A wish, numbered by whoever has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    pub origin: Origin,
    /// On whose behalf.
    pub by: Actor,
    pub action: Action,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    Register {
        agent: Box<NewAgent>,
        code: Option<NewCode>,
    },
    Amend {
        agent: AgentName,
        seen: Option<u64>,
        amendment: Box<Amendment>,
    },
    SetStanding {
        agent: AgentName,
        seen: Option<u64>,
        standing: Standing,
    },
    /// Hands out a code in place of any that was not spent.
    IssueCode {
        agent: AgentName,
        seen: Option<u64>,
        code: NewCode,
    },
    Enrol {
        code: CodeHash,
        key: AgentKey,
    },
    /// The key signs after `lead`; what this signer's key before it signed counts for `overlap` more.
    AddKey {
        key: PublicJwk,
        signer: u64,
        #[serde(with = "instant::length")]
        lead: Ttl,
        #[serde(with = "instant::length")]
        overlap: Ttl,
    },
    RetireKey {
        id: KeyId,
        seen: Option<u64>,
    },
    /// A signer is gone for good: its keys sign no more, and what they signed lives out.
    EndKeys {
        signer: u64,
    },
    /// What it names and was issued up to now, or up to `issued`: a clock that was ahead wrote later instants into tokens.
    Revoke {
        target: Target,
        #[serde(with = "instant::maybe")]
        issued: Option<Timestamp>,
    },
    /// Sets what a budget allows, or takes that back.
    SetBudget {
        #[serde(with = "budget::key")]
        budget: BudgetKey,
        seen: Option<u64>,
        terms: Option<BudgetTerms>,
    },
    /// Defines a tool or the limits of a tenant, or withdraws that.
    Define {
        of: Defined,
        seen: Option<u64>,
        text: Option<DefinitionText>,
    },
    /// Orders that a budget's spend be corrected by hand.
    Adjust {
        #[serde(with = "budget::key")]
        budget: BudgetKey,
        correction: Correction,
        purpose: Purpose,
        reason: Why,
    },
    /// Notes that the hot state did what was ordered.
    NoteAdjusted {
        id: DecisionId,
    },
}

impl Action {
    /// Whether it takes something away from somebody, which must be possible also where nothing more fits.
    pub fn takes_back(&self) -> bool {
        match self {
            Action::Revoke { .. }
            | Action::SetStanding { .. }
            | Action::RetireKey { .. }
            | Action::EndKeys { .. }
            | Action::Define { text: None, .. } => true,
            Action::Register { .. }
            | Action::Amend { .. }
            | Action::IssueCode { .. }
            | Action::Enrol { .. }
            | Action::AddKey { .. }
            | Action::SetBudget { .. }
            | Action::Define { text: Some(_), .. }
            | Action::Adjust { .. }
            | Action::NoteAdjusted { .. } => false,
        }
    }
}

/// An agent to register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAgent {
    pub tenant: TenantId,
    pub id: AgentId,
    pub org: OrgId,
    pub parent: Option<AgentId>,
    pub scopes: BTreeSet<Scope>,
    pub groups: BTreeSet<Group>,
    pub attributes: BTreeMap<Box<str>, Attribute>,
    #[serde(with = "mode")]
    pub mode: Mode,
    pub limits: Limits,
    pub key: Option<AgentKey>,
}

/// What about an agent changes; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Amendment {
    pub scopes: Option<BTreeSet<Scope>>,
    pub groups: Option<BTreeSet<Group>>,
    pub attributes: Option<BTreeMap<Box<str>, Attribute>>,
    #[serde(with = "mode::maybe")]
    pub mode: Option<Mode>,
    pub limits: Option<Limits>,
}

/// A code to hand out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCode {
    pub hash: CodeHash,
    #[serde(with = "instant::length")]
    pub ttl: Ttl,
    /// For how long the key it replaces goes on counting.
    #[serde(with = "instant::length")]
    pub overlap: Ttl,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Counts events from one.
    pub serial: u64,
    #[serde(with = "instant")]
    pub at: Timestamp,
    pub by: Actor,
    pub changes: Vec<Change>,
}

impl Event {
    /// The same without what followers of the registry need not know, and those of the version before could not read:
    /// enrolment codes, who corrected a budget, and definitions.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.changes.retain(|change| match change {
            Change::Agent(_)
            | Change::Key(_)
            | Change::Revoked(_)
            | Change::Budget(_)
            | Change::BudgetGone(_) => true,
            Change::Code(_) | Change::CodeGone(_) | Change::Adjustment(_) => false,
            Change::Definition(_) | Change::DefinitionGone(_) => false,
        });
        self
    }

    /// The same with nothing but what it says of definitions.
    #[must_use]
    pub fn of_definitions(mut self) -> Self {
        let is_told = |it: &Change| matches!(it, Change::Definition(_) | Change::DefinitionGone(_));
        self.changes.retain(is_told);
        self
    }
}

/// One thing as it is from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Agent(Box<Agent>),
    Key(TokenKey),
    Revoked(Revocation),
    Code(Code),
    CodeGone(CodeHash),
    Budget(Budget),
    BudgetGone(#[serde(with = "budget::key")] BudgetKey),
    Adjustment(Box<Adjustment>),
    Definition(Box<Definition>),
    DefinitionGone(Defined),
}

/// An event and the command it came from: what a log keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub origin: Origin,
    pub event: Event,
}

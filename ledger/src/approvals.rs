//! Approvals and one-time overrides: what a person granted for one exact call, and that it is used once.
//!
//! Not here: whom to ask, and what a grant does to a verdict (`decide`). Invariant: a grant is consumed at most once, by
//! the call whose parameters have its digest, and only for rules it names.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{DecisionId, ParamsHash, RuleId, TenantId, Timestamp, Ttl};
use aegis_registry::Actor;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::ledger::Desk;
use crate::wire::{instant, pairs, params};

const APPROVALS_MAX: usize = 100_000;
const RULES_MAX: usize = 64;
/// The longest a grant may wait for its call.
const LIFE_MAX: Ttl = Ttl::from_s(7 * 24 * 60 * 60);
/// For how long it can still be told what became of one that is over.
const KEPT: Ttl = Ttl::from_s(24 * 60 * 60);

/// Which approval: the decision that raised it, in its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalKey {
    pub tenant: TenantId,
    pub id: DecisionId,
}

/// What can be done about an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ApprovalAct {
    /// A call waits for a person.
    Ask {
        key: ApprovalKey,
        #[serde(with = "params")]
        params: ParamsHash,
        rules: BTreeSet<RuleId>,
        #[serde(with = "instant")]
        expires_at: Timestamp,
    },
    Grant {
        key: ApprovalKey,
    },
    Deny {
        key: ApprovalKey,
    },
    /// A person grants a call that did not ask: a one-time override.
    Override {
        key: ApprovalKey,
        #[serde(with = "params")]
        params: ParamsHash,
        rules: BTreeSet<RuleId>,
        #[serde(with = "instant")]
        expires_at: Timestamp,
    },
    /// The call is about to go out on it.
    Consume {
        key: ApprovalKey,
        #[serde(with = "params")]
        params: ParamsHash,
        /// The rules that would stop it otherwise.
        rules: BTreeSet<RuleId>,
    },
}

/// Why it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalRefusal {
    #[error("no approval of that id is known")]
    Unknown,
    #[error("an approval of that id is known")]
    Exists,
    #[error("the approval was answered before")]
    Answered,
    #[error("the approval has expired")]
    Expired,
    #[error("nobody granted it")]
    NotGranted,
    #[error("the grant was used")]
    Used,
    #[error("the grant is for another call")]
    OtherCall,
    #[error("the grant does not name a rule that stops the call")]
    OtherRule,
    #[error("a grant names 1 to 64 rules")]
    Rules,
    #[error("a grant waits for a week at most")]
    TooLong,
    #[error("the region holds all the approvals it can")]
    Full,
}

/// Where an approval stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    Open,
    Granted {
        by: Actor,
    },
    Denied {
        by: Actor,
    },
    Consumed {
        by: Actor,
        #[serde(with = "instant")]
        at: Timestamp,
    },
}

/// One approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    #[serde(with = "params")]
    pub params: ParamsHash,
    pub rules: BTreeSet<RuleId>,
    #[serde(with = "instant")]
    pub expires_at: Timestamp,
    pub state: ApprovalState,
}

/// All that are open, or were until a day ago.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approvals(#[serde(with = "pairs")] BTreeMap<ApprovalKey, Approval>);

impl Approvals {
    pub fn get(&self, key: &ApprovalKey) -> Option<&Approval> {
        self.0.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ApprovalKey, &Approval)> {
        self.0.iter()
    }

    pub(crate) fn act(
        &mut self,
        act: &ApprovalAct,
        desk: &Desk<'_>,
    ) -> Result<Outcome, ApprovalRefusal> {
        let by = desk.by.clone();
        match act {
            ApprovalAct::Ask { key, params, rules, expires_at } => {
                let (rules, expires_at, state) = (rules.clone(), *expires_at, ApprovalState::Open);
                self.open(key, Approval { params: *params, rules, expires_at, state }, desk.at)
            }
            ApprovalAct::Override { key, params, rules, expires_at } => {
                let (rules, expires_at) = (rules.clone(), *expires_at);
                let state = ApprovalState::Granted { by };
                self.open(key, Approval { params: *params, rules, expires_at, state }, desk.at)
            }
            ApprovalAct::Grant { key } => self.answer(key, desk.at, ApprovalState::Granted { by }),
            ApprovalAct::Deny { key } => self.answer(key, desk.at, ApprovalState::Denied { by }),
            ApprovalAct::Consume { key, params, rules } => self.consume(key, params, rules, desk),
        }
    }

    fn open(
        &mut self,
        key: &ApprovalKey,
        approval: Approval,
        at: Timestamp,
    ) -> Result<Outcome, ApprovalRefusal> {
        if self.0.contains_key(key) {
            return Err(ApprovalRefusal::Exists);
        }
        if !(1..=RULES_MAX).contains(&approval.rules.len()) {
            return Err(ApprovalRefusal::Rules);
        }
        if approval.expires_at <= at {
            return Err(ApprovalRefusal::Expired);
        }
        if approval.expires_at > at.plus(LIFE_MAX) {
            return Err(ApprovalRefusal::TooLong);
        }
        if self.0.len() >= APPROVALS_MAX {
            self.0.retain(|_, known| at < known.expires_at.plus(KEPT));
        }
        if self.0.len() >= APPROVALS_MAX {
            return Err(ApprovalRefusal::Full);
        }
        self.0.insert(key.clone(), approval);
        Ok(Outcome::Done)
    }

    fn alive(
        &mut self,
        key: &ApprovalKey,
        at: Timestamp,
    ) -> Result<&mut Approval, ApprovalRefusal> {
        let approval = self.0.get_mut(key).ok_or(ApprovalRefusal::Unknown)?;
        if approval.expires_at <= at { Err(ApprovalRefusal::Expired) } else { Ok(approval) }
    }

    fn answer(
        &mut self,
        key: &ApprovalKey,
        at: Timestamp,
        answer: ApprovalState,
    ) -> Result<Outcome, ApprovalRefusal> {
        let approval = self.alive(key, at)?;
        match approval.state {
            ApprovalState::Open => {
                approval.state = answer;
                Ok(Outcome::Done)
            }
            ApprovalState::Granted { .. }
            | ApprovalState::Denied { .. }
            | ApprovalState::Consumed { .. } => Err(ApprovalRefusal::Answered),
        }
    }

    fn consume(
        &mut self,
        key: &ApprovalKey,
        params: &ParamsHash,
        rules: &BTreeSet<RuleId>,
        desk: &Desk<'_>,
    ) -> Result<Outcome, ApprovalRefusal> {
        let approval = self.0.get_mut(key).ok_or(ApprovalRefusal::Unknown)?;
        match approval.state {
            ApprovalState::Granted { .. } => {}
            ApprovalState::Consumed { .. } => return Err(ApprovalRefusal::Used),
            ApprovalState::Open | ApprovalState::Denied { .. } => {
                return Err(ApprovalRefusal::NotGranted);
            }
        }
        if approval.expires_at <= desk.at {
            return Err(ApprovalRefusal::Expired);
        }
        if approval.params != *params {
            return Err(ApprovalRefusal::OtherCall);
        }
        if !rules.is_subset(&approval.rules) {
            return Err(ApprovalRefusal::OtherRule);
        }
        approval.state = ApprovalState::Consumed { by: desk.by.clone(), at: desk.at };
        Ok(Outcome::Done)
    }
}

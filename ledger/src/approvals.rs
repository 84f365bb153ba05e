//! Approvals and one-time overrides: what a person granted for one exact call, and that it is used once.
//!
//! Not here: whom to ask, and what a grant does to a verdict (`decide`). Invariant: a grant is consumed at most once, by
//! the call whose parameters have its digest, and only for rules it names; nobody answers what they asked themselves.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{AgentId, DecisionId, ParamsHash, RuleId, TenantId, Timestamp, ToolName, Ttl};
use aegis_registry::Actor;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::ledger::{Desk, MAKES_ROOM};
use crate::wire::{instant, pairs, params};

pub(crate) const APPROVALS_MAX: usize = 100_000;
/// So that no tenant, whatever its agents ask, takes the room of the others.
pub(crate) const TENANT_MAX: usize = 10_000;
const RULES_MAX: usize = 64;
const ROUTES_MAX: usize = 16;
const ROUTE_BYTES_MAX: usize = 64;
/// The longest a grant may wait for its call.
const LIFE_MAX: Ttl = Ttl::from_s(7 * 24 * 60 * 60);
/// For how long it can still be told what became of one that is over.
const KEPT: Ttl = Ttl::from_s(24 * 60 * 60);

/// Stands for the machine on which a ledger was taken over.
const VOIDS: &str = "local machine";

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
        call: WaitingCall,
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

/// What people are told of a call that waits for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingCall {
    pub agent: AgentId,
    pub tool: ToolName,
    /// Where the policy says that people are asked, such as `fin`.
    pub routes: BTreeSet<Box<str>>,
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
    #[error("who asks does not answer")]
    OwnRequest,
    #[error("a grant names 1 to 64 rules")]
    Rules,
    #[error("a call names at most 16 routes of at most 64 bytes")]
    Routes,
    #[error("a grant waits for a week at most")]
    TooLong,
    #[error("the region, or the tenant, has all the approvals it can")]
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
        granted_by: Actor,
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
    /// Who asked, or granted without being asked.
    pub raised_by: Actor,
    #[serde(with = "instant")]
    pub raised_at: Timestamp,
    /// `None` for an override, which no call asked for.
    pub call: Option<WaitingCall>,
    /// The revision that last changed it.
    pub changed: u64,
}

/// All that are open, or were until a day ago.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approvals(#[serde(with = "pairs")] BTreeMap<ApprovalKey, Approval>);

impl Approvals {
    pub fn get(&self, key: &ApprovalKey) -> Option<&Approval> {
        self.0.get(key)
    }

    /// By tenant and id, from the one after `after` on.
    pub fn iter(
        &self,
        after: Option<&ApprovalKey>,
    ) -> impl Iterator<Item = (&ApprovalKey, &Approval)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |key| Excluded(key.clone()));
        self.0.range((from, Unbounded))
    }

    /// The rules that a call may pass by an approval at an instant: none, unless it was granted for this very call and
    /// not used.
    pub fn granted(
        &self,
        key: &ApprovalKey,
        params: &ParamsHash,
        now: Timestamp,
    ) -> BTreeSet<RuleId> {
        let approval = self.get(key).filter(|approval| {
            approval.params == *params
                && approval.expires_at > now
                && matches!(approval.state, ApprovalState::Granted { .. })
        });
        approval.map(|approval| approval.rules.clone()).unwrap_or_default()
    }

    /// Whoever shows one that was open or granted is told that it was denied.
    pub(crate) fn void(&mut self) {
        let Ok(by) = Actor::parse(VOIDS) else {
            // Not reached; nobody passes on what is not there either.
            return self.0.clear();
        };
        for approval in self.0.values_mut() {
            if matches!(approval.state, ApprovalState::Open | ApprovalState::Granted { .. }) {
                approval.state = ApprovalState::Denied { by: by.clone() };
            }
        }
    }

    pub(crate) fn act(
        &mut self,
        act: &ApprovalAct,
        desk: &Desk<'_>,
    ) -> Result<Outcome, ApprovalRefusal> {
        let by = || desk.by.clone();
        match act {
            ApprovalAct::Ask { key, params, rules, expires_at, call } => {
                let mut lengths = call.routes.iter().map(|route| route.len());
                let fits = |length| (1..=ROUTE_BYTES_MAX).contains(&length);
                if call.routes.len() > ROUTES_MAX || !lengths.all(fits) {
                    return Err(ApprovalRefusal::Routes);
                }
                let call = Some(call.clone());
                self.open(key, (*params, rules, *expires_at), (ApprovalState::Open, call), desk)
            }
            ApprovalAct::Override { key, params, rules, expires_at } => {
                let state = ApprovalState::Granted { by: by() };
                self.open(key, (*params, rules, *expires_at), (state, None), desk)
            }
            ApprovalAct::Grant { key } => {
                self.answer(key, desk, ApprovalState::Granted { by: by() })
            }
            ApprovalAct::Deny { key } => self.answer(key, desk, ApprovalState::Denied { by: by() }),
            ApprovalAct::Consume { key, params, rules } => self.consume(key, params, rules, desk),
        }
    }

    fn open(
        &mut self,
        key: &ApprovalKey,
        (params, rules, expires_at): (ParamsHash, &BTreeSet<RuleId>, Timestamp),
        (state, call): (ApprovalState, Option<WaitingCall>),
        desk: &Desk<'_>,
    ) -> Result<Outcome, ApprovalRefusal> {
        let at = desk.at;
        if self.0.contains_key(key) {
            return Err(ApprovalRefusal::Exists);
        }
        if !(1..=RULES_MAX).contains(&rules.len()) {
            return Err(ApprovalRefusal::Rules);
        }
        if expires_at <= at {
            return Err(ApprovalRefusal::Expired);
        }
        if expires_at > at.plus(LIFE_MAX) {
            return Err(ApprovalRefusal::TooLong);
        }
        if !self.has_room(&key.tenant, desk) {
            self.0.retain(|_, known| at < known.expires_at.plus(KEPT));
        }
        if desk.level >= MAKES_ROOM && !self.has_room(&key.tenant, desk) {
            self.0.retain(|_, known| at < known.expires_at);
        }
        if !self.has_room(&key.tenant, desk) {
            return Err(ApprovalRefusal::Full);
        }
        let (raised_by, raised_at, changed) = (desk.by.clone(), at, desk.revision);
        let rules = rules.clone();
        let approval =
            Approval { params, rules, expires_at, state, raised_by, raised_at, call, changed };
        self.0.insert(key.clone(), approval);
        Ok(Outcome::Done)
    }

    fn has_room(&self, tenant: &TenantId, desk: &Desk<'_>) -> bool {
        if self.0.len() >= APPROVALS_MAX {
            return false;
        }
        if desk.level < MAKES_ROOM {
            return true;
        }
        let first = ApprovalKey { tenant: tenant.clone(), id: DecisionId::new(0, [0; 10]) };
        let own = self.0.range(first..).take_while(|(key, _)| key.tenant == *tenant);
        own.take(TENANT_MAX).count() < TENANT_MAX
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
        desk: &Desk<'_>,
        answer: ApprovalState,
    ) -> Result<Outcome, ApprovalRefusal> {
        let approval = self.alive(key, desk.at)?;
        if approval.raised_by == *desk.by {
            return Err(ApprovalRefusal::OwnRequest);
        }
        match approval.state {
            ApprovalState::Open => {
                (approval.state, approval.changed) = (answer, desk.revision);
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
        let granted_by = match &approval.state {
            ApprovalState::Granted { by } => by.clone(),
            ApprovalState::Consumed { .. } => return Err(ApprovalRefusal::Used),
            ApprovalState::Open | ApprovalState::Denied { .. } => {
                return Err(ApprovalRefusal::NotGranted);
            }
        };
        if approval.expires_at <= desk.at {
            return Err(ApprovalRefusal::Expired);
        }
        if approval.params != *params {
            return Err(ApprovalRefusal::OtherCall);
        }
        if !rules.is_subset(&approval.rules) {
            return Err(ApprovalRefusal::OtherRule);
        }
        approval.state = ApprovalState::Consumed { granted_by, by: desk.by.clone(), at: desk.at };
        approval.changed = desk.revision;
        Ok(Outcome::Done)
    }
}

//! The sessions of people: who was let in, as what, until when, and by whom.
//!
//! Not here: the signed text that its bearer shows (`identity`). Invariant: a session counts only while it stands here, so
//! that taking it out ends it, whoever still holds its text.

use std::collections::BTreeMap;

use aegis_access::Principal;
use aegis_domain::{Jti, Timestamp, Ttl};
use aegis_identity::SESSION_TTL_MAX;
use aegis_registry::Actor;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::ledger::Desk;
use crate::wire::{instant, pairs};

const SESSIONS_MAX: usize = 10_000;

/// What can be done about sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SessionAct {
    Open { jti: Jti, principal: Principal, ttl_s: u32 },
    End { jti: Jti },
}

/// Why it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum SessionRefusal {
    #[error("no session of that id is open")]
    Unknown,
    #[error("a session of that id was opened before")]
    Exists,
    #[error("a session lasts from a second to 12 hours")]
    Length,
    #[error("a session has at least one role")]
    NoRole,
    #[error("the region holds all the sessions it can")]
    Full,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub principal: Principal,
    pub opened_by: Actor,
    #[serde(with = "instant")]
    pub opened_at: Timestamp,
    #[serde(with = "instant")]
    pub expires_at: Timestamp,
}

/// All that are open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sessions(#[serde(with = "pairs")] BTreeMap<Jti, Session>);

impl Sessions {
    /// One that is open at an instant.
    pub fn get(&self, jti: &Jti, now: Timestamp) -> Option<&Session> {
        self.0.get(jti).filter(|session| now < session.expires_at)
    }

    /// By their ids, from the one after `after` on.
    pub fn iter(
        &self,
        after: Option<&Jti>,
        now: Timestamp,
    ) -> impl Iterator<Item = (&Jti, &Session)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |jti| Excluded(jti.clone()));
        self.0.range((from, Unbounded)).filter(move |(_, session)| now < session.expires_at)
    }

    pub(crate) fn end_all(&mut self) {
        self.0.clear();
    }

    pub(crate) fn act(
        &mut self,
        act: &SessionAct,
        desk: &Desk<'_>,
    ) -> Result<Outcome, SessionRefusal> {
        match act {
            SessionAct::Open { jti, principal, ttl_s } => {
                let ttl = Ttl::from_s(u64::from(*ttl_s));
                if ttl < Ttl::from_s(1) || ttl > SESSION_TTL_MAX {
                    return Err(SessionRefusal::Length);
                }
                if principal.roles.is_empty() {
                    return Err(SessionRefusal::NoRole);
                }
                if self.get(jti, desk.at).is_some() {
                    return Err(SessionRefusal::Exists);
                }
                if self.iter(None, desk.at).count() >= SESSIONS_MAX {
                    return Err(SessionRefusal::Full);
                }
                self.0.retain(|_, session| desk.at < session.expires_at);
                let (opened_by, opened_at) = (desk.by.clone(), desk.at);
                let expires_at = opened_at.plus(ttl);
                let principal = principal.clone();
                let session = Session { principal, opened_by, opened_at, expires_at };
                self.0.insert(jti.clone(), session);
            }
            SessionAct::End { jti } => {
                self.get(jti, desk.at).ok_or(SessionRefusal::Unknown)?;
                self.0.remove(jti);
            }
        }
        Ok(Outcome::Done)
    }
}

//! The ledger itself: its parts, and the one way into them.
//!
//! Not here: the rules of a part (its own module). Invariant: a refusal changes nothing but the memory that it was given;
//! time never goes back, whoever leads.

use aegis_audit_chain::Hash;
use aegis_domain::Timestamp;
use aegis_registry::Registry;
use serde::{Deserialize, Serialize};

use crate::clients::{Clients, Pressing};
use crate::wire::{hash, instant};
use crate::{
    Action, Answer, Approvals, Batch, Command, Outcome, Refusal, Releases, Sessions, Streams,
    Tenants, Voters,
};

/// What this version of the ledger can do. A command that an older voter could not read waits until the level is raised.
///
/// 2: takes the releases of another region. 3: takes definitions of tools and of limits. 4: clients give way to others, and
/// approvals of one tenant leave room for those of the next. 5: keeps audit heads of unequal size that contradict
/// each other, and lets epochs overtake those that gateways hold.
pub const FEATURE_LEVEL: u32 = 5;
/// From here on what is full makes room by itself.
pub(crate) const MAKES_ROOM: u32 = 4;
/// From here on the proof that comes with an audit head is evidence too.
pub const WEIGHS_PROOFS: u32 = 5;
/// From here on a line's epoch may be stepped past those that gateways hold.
pub(crate) const OVERTAKES: u32 = 5;
/// How many commands lie between two looks for clients that may be forgotten.
const FORGET_EVERY: u64 = 1_024;

/// The state machine. Its serde form is its snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Counts the commands that were applied.
    revision: u64,
    /// The revision that last changed what is released where: a release, or where a tenant may be.
    released: u64,
    #[serde(with = "instant")]
    latest: Timestamp,
    registry: Registry,
    releases: Releases,
    approvals: Approvals,
    #[serde(default)]
    sessions: Sessions,
    tenants: Tenants,
    streams: Streams,
    voters: Voters,
    clients: Clients,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            revision: 0,
            released: 0,
            latest: Timestamp::from_unix_ns(0),
            registry: Registry::default(),
            releases: Releases::default(),
            approvals: Approvals::default(),
            sessions: Sessions::default(),
            tenants: Tenants::default(),
            streams: Streams::default(),
            voters: Voters::default(),
            clients: Clients::default(),
        }
    }
}

/// The hash of the state after an entry of the log; voters compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub index: u64,
    #[serde(with = "hash")]
    pub hash: Hash,
}

/// Who asks, and when.
pub(crate) struct Desk<'a> {
    pub(crate) by: &'a aegis_registry::Actor,
    pub(crate) at: Timestamp,
    pub(crate) revision: u64,
    /// What all voters can read.
    pub(crate) level: u32,
}

impl Ledger {
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision that last changed what is released where. It is the same on every voter, so a follower may go from one
    /// to another.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// The time of the last command.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    /// Applies the commands of one entry, in order.
    pub fn apply(&mut self, batch: &Batch) -> Vec<Answer> {
        batch.commands.iter().map(|command| self.apply_one(command, batch.at)).collect()
    }

    fn apply_one(&mut self, command: &Command, at: Timestamp) -> Answer {
        if let Some(answer) = self.clients.answer(&command.origin) {
            return answer;
        }
        let now = self.latest.max(at);
        if !self.clients.have_room_for(&command.origin.client) {
            self.make_room(command, now);
            if !self.clients.have_room_for(&command.origin.client) {
                return Err(Refusal::ClientsFull);
            }
        }
        self.latest = now;
        self.revision = self.revision.saturating_add(1);
        let answer = self.act(command);
        self.clients.remember(&command.origin, &answer, self.latest);
        if self.revision.is_multiple_of(FORGET_EVERY) {
            self.clients.forget(self.latest);
        }
        answer
    }

    /// Voters of before did not, and must come to the same.
    fn make_room(&mut self, command: &Command, now: Timestamp) {
        if self.voters.level() >= MAKES_ROOM {
            let pressing = if command.action.takes_back() { Pressing::Yes } else { Pressing::No };
            self.clients.give_way(now, pressing);
        }
    }

    fn act(&mut self, command: &Command) -> Answer {
        let Self { latest, revision, .. } = *self;
        let desk = Desk { by: &command.by, at: latest, revision, level: self.voters.level() };
        match &command.action {
            Action::Registry(_)
                if desk.level < MAKES_ROOM && self.registry.is_crowded(&command.origin.client) =>
            {
                Err(Refusal::Registry(aegis_registry::Refusal::Full))
            }
            Action::Registry(action) => {
                let command = aegis_registry::Command {
                    origin: command.origin.clone(),
                    by: command.by.clone(),
                    action: action.as_ref().clone(),
                };
                let event = self.registry.apply(&command, latest).map_err(Refusal::Registry)?;
                Ok(Outcome::Registry(Box::new(event)))
            }
            Action::Release(act) => {
                let outcome = self.releases.act(act, &desk)?;
                self.released = revision;
                Ok(outcome)
            }
            Action::Approval(act) => Ok(self.approvals.act(act, &desk)?),
            Action::Session(act) => Ok(self.sessions.act(act, &desk)?),
            Action::Tenant(act) => {
                let outcome = self.tenants.act(act, &desk)?;
                self.released = revision;
                Ok(outcome)
            }
            Action::Stream(act) => Ok(self.streams.act(act, &desk)?),
            Action::Voter(act) => Ok(self.voters.act(act, latest)?),
        }
    }

    /// Takes the ledger out of the hands of a cluster that is lost: one voter of a new one goes on with it. No command,
    /// because nobody is left to agree.
    ///
    /// The lost cluster may have gone further: used a grant that is unused here, ended a session that is open here. No grant counts on,
    /// no session is open, and whoever was to be asked is asked anew.
    ///
    /// It may have told so to those who follow. What they hold must not be taken for numbers of
    /// this one, so its own begin where no earlier one came to: at the milliseconds of now.
    pub fn take_over(&mut self, (id, address): (u64, &str), now: Timestamp) {
        self.voters.alone(id, address, self.latest);
        self.approvals.void();
        self.sessions.end_all();
        let begins = now.unix_ms();
        self.registry.begin_at(begins);
        self.revision = begins.max(self.revision.saturating_add(1));
        self.released = self.revision;
    }

    /// What tells whether two voters hold the same.
    pub fn hash(&self) -> Hash {
        // Maps are ordered and nothing in the state fails to be written.
        Hash::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

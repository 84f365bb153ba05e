//! The registry itself: a view, the codes that are out, what was corrected by hand, what is defined, and who commanded what
//! last.
//!
//! Not here: what may happen (`decide`). Invariant: two registries with the same hash hold the same state, and registries
//! that committed the same entries have the same hash.

use std::collections::BTreeMap;
use std::fmt;

use aegis_domain::{DecisionId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clients::Last;
use crate::decide::CLIENTS_MAX;
use crate::listed::{self, Listed as _, file};
use crate::{
    Adjustment, Change, ClientId, Code, CodeHash, Command, Decided, Defined, Definition,
    Definitions, Entry, Event, Part, Refusal, View,
};

/// Why an event cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("event {wanted} comes next, not {found}, or its time goes back")]
    OutOfOrder { wanted: u64, found: u64 },
}

/// The state machine. Its serde form is its snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    pub(crate) view: View,
    #[serde(with = "listed")]
    pub(crate) codes: BTreeMap<CodeHash, Code>,
    #[serde(default, with = "listed")]
    pub(crate) adjustments: BTreeMap<DecisionId, Adjustment>,
    /// Unwritten while empty: voters of the version before, which know no definitions, then have the same hash.
    #[serde(default, with = "listed", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) definitions: BTreeMap<Defined, Definition>,
    #[serde(with = "listed")]
    pub(crate) clients: BTreeMap<ClientId, Last>,
}

impl Registry {
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Goes on behind a number that events had which are lost; whoever follows is then told everything.
    pub fn begin_at(&mut self, serial: u64) {
        self.view.begin_at(serial);
    }

    /// The codes that were handed out and not spent; some may have expired.
    pub fn codes(&self) -> impl Iterator<Item = &Code> {
        self.codes.values()
    }

    pub fn adjustment(&self, id: &DecisionId) -> Option<&Adjustment> {
        self.adjustments.get(id)
    }

    /// What was corrected by hand, from the one after `after` on, in the order of their times.
    pub fn adjustments(&self, after: Option<DecisionId>) -> impl Iterator<Item = &Adjustment> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.adjustments.range((from, Unbounded)).map(|(_, adjustment)| adjustment)
    }

    pub fn definition(&self, of: &Defined) -> Option<&Definition> {
        self.definitions.get(of)
    }

    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values()
    }

    /// All that is defined, as it is told to gateways.
    pub fn defined(&self) -> Definitions {
        Definitions { serial: self.view.serial(), definitions: self.definitions.clone() }
    }

    /// What one tenant has defined: its limits, then its tools by name, from the one after `after` on.
    pub fn definitions_of<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<&Part>,
    ) -> impl Iterator<Item = &'a Definition> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let of = |part| Defined { tenant: tenant.clone(), part };
        let from = after.map_or(Included(of(Part::Limits)), |it| Excluded(of(it.clone())));
        let definitions = self.definitions.range((from, Unbounded)).map(|(_, it)| it);
        definitions.take_while(move |it| it.of.tenant == *tenant)
    }

    /// Does what a command asks for, once. A refusal changes nothing.
    pub fn apply(&mut self, command: &Command, now: Timestamp) -> Result<Event, Refusal> {
        match self.decide(command, now)? {
            Decided::Before(event) => Ok(event),
            Decided::Now(entry) => {
                self.commit(&entry).map_err(|_| Refusal::Full)?;
                Ok(entry.event)
            }
        }
    }

    /// Moves on by what was decided, here or elsewhere.
    pub fn commit(&mut self, entry: &Entry) -> Result<(), RegistryError> {
        let event = &entry.event;
        self.view.apply(event)?;
        for change in &event.changes {
            match change {
                Change::Code(code) => file(&mut self.codes, code.clone()),
                Change::CodeGone(hash) => {
                    self.codes.remove(hash);
                }
                Change::Adjustment(adjustment) => {
                    file(&mut self.adjustments, adjustment.as_ref().clone());
                }
                Change::Definition(definition) => {
                    file(&mut self.definitions, definition.as_ref().clone());
                }
                Change::DefinitionGone(of) => {
                    self.definitions.remove(of);
                }
                Change::Agent(_)
                | Change::Key(_)
                | Change::Revoked(_)
                | Change::Budget(_)
                | Change::BudgetGone(_) => {}
            }
        }
        self.codes.retain(|_, code| event.at < code.expires_at);
        self.adjustments.retain(|_, adjustment| !adjustment.is_over(event.at));
        self.clients.retain(|_, last| !last.is_over(event.at));
        file(&mut self.clients, Last::new(&entry.origin, event.clone()));
        // Whoever decided has seen that it may.
        while self.clients.len() > CLIENTS_MAX {
            let oldest = self.clients.values().min_by_key(|last| last.age()).map(Last::name);
            oldest.and_then(|client| self.clients.remove(&client));
        }
        Ok(())
    }

    /// What tells whether two voters hold the same.
    pub fn hash(&self) -> StateHash {
        // Maps are ordered and nothing in the state fails to be written.
        StateHash(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into())
    }
}

/// SHA-256 over the snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateHash([u8; 32]);

impl StateHash {
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

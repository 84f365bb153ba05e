//! Who commanded what last, and what came of it, so that a command that reaches the log twice is applied once.
//!
//! Not here: how commands are numbered (`raft-store`). Invariant: refusals are remembered as well: a command that was
//! refused, and whose copy comes later, stays refused, though by then it could be done.

use std::collections::BTreeMap;

use aegis_domain::{Timestamp, Ttl};
use aegis_registry::{ClientId, Fingerprint, Origin};
use serde::{Deserialize, Serialize};

use crate::wire::{instant, pairs};
use crate::{Answer, Refusal};

/// For how long at least a command sent again is known again.
const REMEMBERED: Ttl = Ttl::from_s(24 * 60 * 60);
const CLIENTS_MAX: usize = 100_000;

/// The last command of every client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Clients(#[serde(with = "pairs")] BTreeMap<ClientId, Last>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    serial: u64,
    request: Fingerprint,
    answer: Answer,
    #[serde(with = "instant")]
    at: Timestamp,
}

impl Clients {
    /// What came of the command, if it is one that was applied.
    pub(crate) fn answer(&self, origin: &Origin) -> Option<Answer> {
        let Some(last) = self.0.get(&origin.client) else {
            return (self.0.len() >= CLIENTS_MAX).then_some(Err(Refusal::ClientsFull));
        };
        match origin.serial.cmp(&last.serial) {
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Less => Some(Err(Refusal::Stale)),
            std::cmp::Ordering::Equal if origin.request == last.request => {
                Some(last.answer.clone())
            }
            std::cmp::Ordering::Equal => Some(Err(Refusal::SerialReused)),
        }
    }

    pub(crate) fn remember(&mut self, origin: &Origin, answer: &Answer, at: Timestamp) {
        let Origin { client, serial, request } = origin.clone();
        self.0.insert(client, Last { serial, request, answer: answer.clone(), at });
    }

    /// Looks at every client, so it is not called with every command.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, last| now < last.at.plus(REMEMBERED));
    }
}

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

/// For how long a command sent again is known again, as long as there is room.
const REMEMBERED: Ttl = Ttl::from_s(24 * 60 * 60);
/// And for how long at least, where there is none: longer than any copy is on its way, or anybody sends again unasked.
const REMEMBERED_LEAST: Ttl = Ttl::from_s(10 * 60);
pub(crate) const CLIENTS_MAX: usize = 100_000;
/// How many give way at once, so that not every newcomer has all of them looked at.
const GIVE_WAY: usize = CLIENTS_MAX / 10;

/// Whether a newcomer's command must be possible also where there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressing {
    Yes,
    No,
}

/// The last command of every client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Clients {
    #[serde(with = "pairs")]
    last: BTreeMap<ClientId, Last>,
    #[serde(skip)]
    due: Due,
}

/// Before then no client gives way. Found by looking, so it is no part of the state: without it one would look again and find the
/// same.
#[derive(Clone, Copy, Debug)]
struct Due(Timestamp);

impl Default for Due {
    fn default() -> Self {
        Self(Timestamp::from_unix_ns(0))
    }
}

impl PartialEq for Due {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Due {}

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
        let last = self.last.get(&origin.client)?;
        match origin.serial.cmp(&last.serial) {
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Less => Some(Err(Refusal::Stale)),
            std::cmp::Ordering::Equal if origin.request == last.request => {
                Some(last.answer.clone())
            }
            std::cmp::Ordering::Equal => Some(Err(Refusal::SerialReused)),
        }
    }

    /// Whether what becomes of a command can be remembered.
    pub(crate) fn have_room_for(&self, client: &ClientId) -> bool {
        self.last.len() < CLIENTS_MAX || self.last.contains_key(client)
    }

    /// Forgets those that asked for nothing for the longest, but nobody before their time; one, whatever its time, where
    /// `is_pressing`.
    pub(crate) fn give_way(&mut self, now: Timestamp, is_pressing: Pressing) {
        if is_pressing == Pressing::No && now < self.due.0 {
            return;
        }
        let mut by_age: Vec<_> = self.last.iter().map(|(client, last)| (last.at, client)).collect();
        by_age.sort_unstable();
        let is_over = |at: Timestamp| at.plus(REMEMBERED_LEAST) <= now;
        let over = by_age.iter().take(GIVE_WAY).take_while(|(at, _)| is_over(*at)).count();
        let least = match is_pressing {
            Pressing::Yes => 1,
            Pressing::No => 0,
        };
        let gone: Vec<_> =
            by_age.iter().take(over.max(least)).map(|(_, client)| (*client).clone()).collect();
        if let (true, Some((oldest, _))) = (gone.is_empty(), by_age.first()) {
            self.due = Due(oldest.plus(REMEMBERED_LEAST));
        }
        for client in gone {
            self.last.remove(&client);
        }
    }

    pub(crate) fn remember(&mut self, origin: &Origin, answer: &Answer, at: Timestamp) {
        let Origin { client, serial, request } = origin.clone();
        self.last.insert(client, Last { serial, request, answer: answer.clone(), at });
    }

    /// Looks at every client, so it is not called with every command.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.last.retain(|_, last| now < last.at.plus(REMEMBERED));
    }
}

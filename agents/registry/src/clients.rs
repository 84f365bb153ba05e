//! Who commanded what last, so that a command sent twice is applied once.
//!
//! Not here: how a client numbers its commands (`control`). Invariant: of each client the last command is remembered for a
//! day, and a number that was used is never applied again within it.

use std::fmt;

use aegis_domain::{Timestamp, Ttl};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::listed::Listed;
use crate::{Command, Event, Refusal, instant};

/// For how long a command sent again is known again.
pub(crate) const REMEMBERED: Ttl = Ttl::from_s(24 * 60 * 60);
/// For how long at least, where others want its place: longer than any copy is on its way, or anybody sends again unasked.
const REMEMBERED_LEAST: Ttl = Ttl::from_s(10 * 60);

/// Who numbers commands: a process, or one `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(Box<str>);

impl ClientId {
    /// The client that these bytes name, by their SHA-256.
    pub fn of(bytes: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)).into())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 over what was asked for, which tells a command sent again from another under the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Box<str>);

impl Fingerprint {
    pub fn of(request: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(request)).into())
    }
}

/// The last command of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Last {
    client: ClientId,
    serial: u64,
    request: Fingerprint,
    event: Event,
    #[serde(with = "instant")]
    at: Timestamp,
}

impl Last {
    pub(crate) fn new(command: &Origin, event: Event) -> Self {
        let Origin { client, serial, request } = command.clone();
        Self { client, serial, request, at: event.at, event }
    }

    /// What became of the command, if it is this one.
    pub(crate) fn answer(&self, command: &Command) -> Result<Option<&Event>, Refusal> {
        let Origin { client: _, serial, request } = &command.origin;
        match serial.cmp(&self.serial) {
            std::cmp::Ordering::Greater => Ok(None),
            std::cmp::Ordering::Less => Err(Refusal::Stale),
            std::cmp::Ordering::Equal if *request == self.request => Ok(Some(&self.event)),
            std::cmp::Ordering::Equal => Err(Refusal::SerialReused),
        }
    }

    /// When it was sent, and by whom, to put them in order.
    pub(crate) fn age(&self) -> (Timestamp, &ClientId) {
        (self.at, &self.client)
    }

    pub(crate) fn gives_way(&self, now: Timestamp) -> bool {
        self.at.plus(REMEMBERED_LEAST) <= now
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.at.plus(REMEMBERED) <= now
    }
}

impl Listed for Last {
    type Name = ClientId;

    fn name(&self) -> ClientId {
        self.client.clone()
    }
}

/// Which command of whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    pub client: ClientId,
    pub serial: u64,
    pub request: Fingerprint,
}

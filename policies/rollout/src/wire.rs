//! How a rollout stands in the ledger, in the API and in files of stages.
//!
//! Not here: what it means. Invariant: a rollout that was read has kept the rules of one that was made.

use aegis_domain::Ttl;
use serde::Deserialize;

use crate::{Rollout, RolloutError, Stage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRollout {
    id: Box<str>,
    stages: Vec<Stage>,
}

impl TryFrom<RawRollout> for Rollout {
    type Error = RolloutError;

    fn try_from(raw: RawRollout) -> Result<Self, RolloutError> {
        Rollout::new(&raw.id, raw.stages)
    }
}

/// A stage that names no time may end at once.
pub(crate) fn no_time() -> Ttl {
    Ttl::from_s(0)
}

/// Whole seconds.
pub(crate) mod seconds {
    use aegis_domain::Ttl;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(ttl: &Ttl, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(ttl.ms() / 1_000)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ttl, D::Error> {
        u64::deserialize(from).map(Ttl::from_s)
    }
}

/// Nanoseconds since the epoch.
pub(crate) mod instant {
    use aegis_domain::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.unix_ns())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp::from_unix_ns)
    }
}

//! How instants and lengths of time stand in what is kept and sent: nanoseconds and milliseconds, as integers.
//!
//! Not here: how people read them (`control`). Invariant: reading what was written gives the same instant.

use aegis_domain::Timestamp;
use serde::{Deserialize, Deserializer, Serializer};

pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(at.unix_ns())
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    u64::deserialize(from).map(Timestamp::from_unix_ns)
}

/// The same for an instant that may not be set.
pub mod maybe {
    use super::*;

    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.serialize_some(&at.unix_ns()),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Timestamp::from_unix_ns))
    }
}

/// The same for a length of time.
pub mod length {
    use aegis_domain::Ttl;

    use super::*;

    pub fn serialize<S: Serializer>(length: &Ttl, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(length.ms())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ttl, D::Error> {
        u64::deserialize(from).map(Ttl::from_ms)
    }
}

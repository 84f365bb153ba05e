//! How an agent's mode stands in what is kept and sent: by its name.
//!
//! Not here: what the modes are (`identity`). Invariant: a name nobody knows is refused, not taken for the weakest.

use aegis_identity::Mode;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(mode.as_str())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
    let name = String::deserialize(from)?;
    Mode::parse(&name)
        .ok_or_else(|| serde::de::Error::custom("a mode is bound, once, proof or mtls"))
}

/// The same for a mode that may not be set.
pub(crate) mod maybe {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(mode: &Option<Mode>, to: S) -> Result<S::Ok, S::Error> {
        match mode {
            Some(mode) => super::serialize(mode, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Mode>, D::Error> {
        super::deserialize(from).map(Some)
    }
}

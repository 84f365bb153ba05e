//! How an agent's mode stands in what is kept and sent: by its name.
//!
//! Not here: what the modes are (`identity`). Invariant: a name nobody knows is refused, not taken for the weakest.

use aegis_identity::Mode;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(mode.as_str())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
    parse(&String::deserialize(from)?)
}

fn parse<E: serde::de::Error>(name: &str) -> Result<Mode, E> {
    Mode::parse(name).ok_or_else(|| E::custom("a mode is bound, once, proof or mtls"))
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
        Option::<String>::deserialize(from)?.map(|name| parse(&name)).transpose()
    }
}

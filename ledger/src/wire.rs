//! How values of other crates stand in commands and snapshots: instants as nanoseconds, hashes as text, maps as lists.
//!
//! Not here: what they mean. Invariant: a value has one spelling, so equal states have equal bytes.

pub(crate) use aegis_registry::instant;

/// 43 characters of base64url.
pub(crate) mod hash {
    use aegis_audit_chain::Hash;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(hash)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(from)?;
        Hash::parse(&text).ok_or_else(|| D::Error::custom("a hash is 43 characters of base64url"))
    }

    /// Many of them.
    pub(crate) mod list {
        use super::*;

        pub(crate) fn serialize<S: Serializer>(all: &[Hash], to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(all.iter().map(Hash::to_string))
        }

        pub(crate) fn deserialize<'de, D>(from: D) -> Result<Vec<Hash>, D::Error>
        where
            D: Deserializer<'de>,
        {
            let texts = Vec::<String>::deserialize(from)?;
            let hashes = texts.iter().map(|text| Hash::parse(text));
            hashes.collect::<Option<_>>().ok_or_else(|| D::Error::custom("not a list of hashes"))
        }
    }
}

/// The digest of a call's parameters, as a hash.
pub(crate) mod params {
    use aegis_audit_chain::Hash;
    use aegis_domain::ParamsHash;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(params: &ParamsHash, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(params)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ParamsHash, D::Error> {
        super::hash::deserialize(from).map(|hash: Hash| ParamsHash::from_bytes(*hash.as_bytes()))
    }
}

/// Bytes as base64url.
pub(crate) mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: From<Vec<u8>>,
    {
        let bytes = URL_SAFE_NO_PAD.decode(String::deserialize(from)?).map_err(D::Error::custom)?;
        Ok(bytes.into())
    }
}

/// A map as a list of pairs in order, because a key of JSON is a text.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K, V, S>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        to.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let mut map = BTreeMap::new();
        for (key, value) in Vec::<(K, V)>::deserialize(from)? {
            if map.insert(key, value).is_some() {
                return Err(D::Error::custom("two things of one name"));
            }
        }
        Ok(map)
    }
}

//! Things with a name of their own, in order of it: a map in memory, a list in what is kept and sent.
//!
//! Not here: the things. Invariant: a list with two things of one name is refused, so a map and its list say the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A thing that says what it is filed under.
pub(crate) trait Listed {
    type Name: Ord + Clone;

    fn name(&self) -> Self::Name;
}

/// A thing filed under its name.
pub(crate) fn file<T: Listed>(things: &mut BTreeMap<T::Name, T>, thing: T) {
    things.insert(thing.name(), thing);
}

pub(crate) fn serialize<T, S>(things: &BTreeMap<T::Name, T>, to: S) -> Result<S::Ok, S::Error>
where
    T: Listed + Serialize,
    S: Serializer,
{
    to.collect_seq(things.values())
}

pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<BTreeMap<T::Name, T>, D::Error>
where
    T: Listed + Deserialize<'de>,
    D: Deserializer<'de>,
{
    let mut things = BTreeMap::new();
    for thing in Vec::<T>::deserialize(from)? {
        if things.insert(thing.name(), thing).is_some() {
            return Err(serde::de::Error::custom("two things of one name"));
        }
    }
    Ok(things)
}

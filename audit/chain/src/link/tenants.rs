//! The chains of tenants within one stream: how far each reaches, by name.
//!
//! Not here: what their records say of it (`link`, `amid`). Invariant: the text of a leaf hash is always that of the leaf hash.

use std::collections::HashMap;

use crate::Hash;
use crate::tree::TEXT_BYTES;

/// A leaf hash, and the text that a record which links to it bears: made once, compared often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    leaf: Hash,
    text: [u8; TEXT_BYTES],
}

/// What a record that belongs to no tenant bears: `Hash::ZERO`.
pub(super) const NOBODYS: Link = Link { leaf: Hash::ZERO, text: [b'A'; TEXT_BYTES] };

impl Link {
    pub(super) fn to(leaf: Hash) -> Self {
        Self { leaf, text: leaf.text() }
    }

    pub(super) fn leaf(&self) -> Hash {
        self.leaf
    }

    pub(super) fn is(&self, text: &[u8; TEXT_BYTES]) -> bool {
        self.text == *text
    }
}

/// Where one tenant's next record goes.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) name: Box<str>,
    pub(super) next: u64,
    pub(super) last: Link,
}

/// Every tenant seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tenants {
    reached: Vec<Reached>,
    places: HashMap<Box<str>, usize>,
    /// The one looked at last: records of one tenant often stand together.
    latest: usize,
}

impl Tenants {
    pub(super) fn get(&self, name: &str) -> Option<(usize, &Reached)> {
        let place = match self.reached.get(self.latest) {
            Some(latest) if *latest.name == *name => self.latest,
            _ => *self.places.get(name)?,
        };
        self.reached.get(place).map(|reached| (place, reached))
    }

    pub(super) fn at(&self, place: usize) -> Option<&Reached> {
        self.reached.get(place)
    }

    /// Goes on behind a tenant's record, whose place `get` told.
    pub(super) fn advance(&mut self, (place, name): (Option<usize>, &str), next: u64, last: Link) {
        match place.and_then(|place| Some((place, self.reached.get_mut(place)?))) {
            Some((place, reached)) => {
                (reached.next, reached.last, self.latest) = (next, last, place);
            }
            None => {
                self.latest = self.reached.len();
                self.places.insert(name.into(), self.latest);
                self.reached.push(Reached { name: name.into(), next, last });
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Reached> {
        self.reached.iter()
    }
}

//! What of a region can be followed: its registry, and what it defines of tools and limits.
//!
//! Not here: how it is followed (`feed`). Invariant: each kind of page has a type and a file of its own, so that none is taken
//! for another.

use std::fmt::Debug;

use aegis_registry::{Definitions, Event, RegistryError, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// `typ` of a page of the registry, so that nothing else the region signs is taken for one.
pub const FEED_TYPE: &str = "aegis-feed+jwt";
/// `typ` of a page of definitions.
pub const DEFINITIONS_TYPE: &str = "aegis-definitions+jwt";

/// A state that begins empty or whole, and moves on by the registry's events.
pub trait Followed:
    Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// `typ` of its pages.
    const TYPE: &'static str;
    /// Where the control API tells of it.
    const PATH: &'static str;
    /// What its files are called.
    const NAME: &'static str;

    /// The number of the last event.
    fn serial(&self) -> u64;

    fn apply(&mut self, event: &Event) -> Result<(), RegistryError>;
}

impl Followed for View {
    const TYPE: &'static str = FEED_TYPE;
    const PATH: &'static str = "/v1/feed";
    const NAME: &'static str = "registry";

    fn serial(&self) -> u64 {
        self.serial()
    }

    fn apply(&mut self, event: &Event) -> Result<(), RegistryError> {
        self.apply(event)
    }
}

impl Followed for Definitions {
    const TYPE: &'static str = DEFINITIONS_TYPE;
    const PATH: &'static str = "/v1/definitions";
    const NAME: &'static str = "definitions";

    fn serial(&self) -> u64 {
        self.serial()
    }

    fn apply(&mut self, event: &Event) -> Result<(), RegistryError> {
        self.apply(event)
    }
}

//! What of a region can be followed: its registry, and what it defines of tools and limits.
//!
//! Not here: how it is followed (`feed`), and told (`control`). Invariant: each kind of page has a type and a file of its own, so that none is taken
//! for another.

use std::fmt::Debug;

use aegis_registry::{Definitions, Event, Registry, RegistryError, View};
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

    /// All that is told of it to whoever holds nothing.
    fn of(registry: &Registry) -> Self;

    /// What an event says of it, and no more.
    fn narrowed(event: Event) -> Event;

    /// The number of the last event.
    fn serial(&self) -> u64;

    fn apply(&mut self, event: &Event) -> Result<(), RegistryError>;
}

impl Followed for View {
    const TYPE: &'static str = FEED_TYPE;
    const PATH: &'static str = "/v1/feed";
    const NAME: &'static str = "registry";

    fn of(registry: &Registry) -> Self {
        registry.view().clone()
    }

    fn narrowed(event: Event) -> Event {
        event.public()
    }

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

    fn of(registry: &Registry) -> Self {
        registry.defined()
    }

    fn narrowed(event: Event) -> Event {
        event.of_definitions()
    }

    fn serial(&self) -> u64 {
        self.serial()
    }

    fn apply(&mut self, event: &Event) -> Result<(), RegistryError> {
        self.apply(event)
    }
}

//! What is followed from afar: the registry of a region and what it defines, for gateways; and the keys of foreign issuers, for the token
//! service.
//!
//! Not here: serving the feed (`control`), and what the registry means (`agents/registry`). Invariant: nothing that was
//! fetched counts before its signature was checked, and nothing that fails to come replaces what is held.

mod feed;
mod fetch;
mod followed;
mod keep;
mod key_sources;

#[cfg(test)]
mod tests;

pub use feed::{FeedConfig, FeedError, Follower, Page, SILENCE_MAX};
pub use fetch::FetchError;
pub use followed::{DEFINITIONS_TYPE, FEED_TYPE, Followed};
pub use key_sources::{KeySource, KeySources};

//! Hosts and addresses that cannot be tricked: what an authority says, and which addresses may be dialled.
//!
//! Pure: names are resolved by `resolve`, which dials nothing. The rules as people read them: `docs/spec/addresses.md`.
//! Invariant: a host has one reading, an address has one class, and whatever is odd is refused, never repaired.
#![deny(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod authority;
mod class;
mod dialable;
mod embedded;
mod host;
mod metadata_name;
mod ourselves;
mod registry;

mod url;

pub use authority::{Authority, AuthorityError};
pub use class::{AddressClass, classify, may_dial};
pub use dialable::{Dialable, Undialable};
pub use host::{HostError, parse_host};
pub use metadata_name::is_metadata_name;
pub use ourselves::is_ourselves;
pub use registry::{Block, blocks};
pub use url::{HttpUrl, UrlError};

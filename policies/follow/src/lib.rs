//! What a gateway follows of its region's policy releases: what decides where, signed, with the bundles it names; kept on
//! disk, and told of back.
//!
//! Not here: serving releases (`control`), and what makes a bundle fit to decide (`policies/engine`). Invariant: a release
//! counts only when the region signed it for this region, each bundle has the digest it was named by, and its epoch is not
//! older than what is held.

mod at_once;
mod error;
mod export;
mod follow;
mod http;
mod keep;
mod release;
mod report;
mod source;
mod wire;

#[cfg(test)]
mod tests;

pub use error::FollowError;
pub use export::{Export, ExportError, Generations};
pub use follow::{FollowConfig, Follower, Installer, Lack, Ready};
pub use http::Http;
pub use release::{Release, ReleaseError, written};
pub use source::{Scope, Source, SourceError};
pub use wire::{
    Authored, LineReport, Page, RELEASE_TYPE, RELEASES_TYPE, Refused, Report, RolloutReport,
    Statement, UnusableReport,
};

//! The commands of `aegisctl` for those who are handed evidence: tenants, auditors, analysts.
//!
//! Not here: writing to a terminal, and verifying whole logs (`cli`). Invariant: no log is ever written to, and a file that
//! is there is never overwritten.

mod answer;
mod disclose;
mod erase;
mod error;
mod export;
mod filter;
mod follow;
mod groups;
mod instant;
mod interrupt;
mod joined;
mod kept;
mod log;
mod named;
mod promise;
mod prove;
mod query;
mod records;
mod remembered;
mod revoke;
mod serve;
mod tenant;
mod threads;
mod tiles;

pub use answer::{Answer, Outcome, Table};
pub use disclose::{DiscloseArgs, check_disclosures};
pub use erase::EraseArgs;
pub use error::EvidenceError;
pub use export::ExportArgs;
pub use filter::FilterArgs;
pub use follow::{Follower, Looked};
pub use instant::{show, show_ms};
pub use interrupt::Interrupt;
pub use joined::TrustArgs;
pub use kept::kept_line;
pub use log::{LogArgs, StoreOption, load_trust, open_log, store_option};
pub use promise::promised;
pub use prove::{CheckArgs, ProveArgs, is_about};
pub use query::QueryArgs;
pub use remembered::{cosigned_heads, memorise, recall};
pub use revoke::RevokeArgs;
pub use serve::{ServeArgs, Server};
pub use tenant::{TenantArgs, check_package};
pub use threads::Threads;

/// Told how many more bytes were read, for whoever waits.
pub type Progress<'p> = &'p mut dyn FnMut(usize);

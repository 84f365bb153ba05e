//! The audit journal read for people and machines: JSON lines and metrics.
//!
//! Not here: writing the journal (`audit/ship`) and serving what is rendered (`gateway`). Invariant: everything told
//! comes from records in the journal, each told at least once, and nothing is told that the records do not hold.

mod anchoring;
mod cursor;
mod definitions;
mod follow;
mod lines;
mod metrics;
mod policy;
mod shipping;
mod streams;
mod voters;

pub use anchoring::{Anchored, Witnessed};
pub use cursor::CursorError;
pub use definitions::{DefinitionGauges, DefinitionMetrics};
pub use follow::{Durable, Event, FollowError, Follower, FollowerConfig, Saved, Sink};
pub use lines::JsonLines;
pub use metrics::{Metrics, Readiness};
pub use policy::PolicyMetrics;
pub use shipping::Shipped;
pub use voters::{AuthorGauges, VoterGauges, VoterMetrics};

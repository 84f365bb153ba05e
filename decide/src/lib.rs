//! judge(): the one function that turns a call, an identity, facts and a snapshot into a decision.
//!
//! Pure: facts are gathered before (`state`, `dlp`) and acted on after (`corridor::rooms`).
//! Invariant: whatever is unknown, missing or malformed ends in a refusal with a reason.
#![deny(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod difference;
mod judge;
mod outage;
mod price;
mod usage;

pub use difference::Difference;
pub use judge::{Case, NO_APPROVALS, judge, refuse, seen};
pub use outage::{BacklogRule, OutageRule};
pub use price::{Estimate, Price, Progress, TokenPrice, Usage};
pub use usage::UsageReader;

//! The registry of a region: its agents, the keys its tokens are signed with, what was revoked, what its budgets allow,
//! and how its tools are defined, as one state machine.
//!
//! Pure: time comes with every command and nothing is drawn at random, so that voters who apply the same commands hold the
//! same state. Not here: where it is kept (`agents/store`), and who may command (`control`).
//! Invariant: the state changes only by `Registry::commit`, and a command with one client id and serial changes it once.
#![deny(clippy::wildcard_enum_match_arm, clippy::as_conversions)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod adjustment;
mod agent;
mod budget;
mod clients;
mod code;
mod command;
mod decide;
mod definition;
pub mod instant;
mod key;
mod listed;
mod mode;
mod registry;
mod revocation;
mod token_key;
mod view;
mod words;

#[cfg(test)]
mod tests;

pub use adjustment::{Adjustment, Correction, Purpose, Why, WhyError};
pub use aegis_identity::Mode;
pub use agent::{Agent, AgentName, Limits, Retiring, Standing};
pub use budget::{Budget, BudgetTerms};
pub use clients::{ClientId, Fingerprint, Origin};
pub use code::{Code, CodeHash};
pub use command::{Action, Amendment, Change, Command, Entry, Event, NewAgent, NewCode};
pub use decide::{Decided, Limited, Refusal};
pub use definition::{Defined, Definition, DefinitionText, DefinitionTextError, Definitions, Part};
pub use key::{AgentKey, AgentKeyError, PublicJwk, certificate_id};
pub use registry::{Registry, RegistryError, StateHash};
pub use revocation::{Issued, REVOCATION_MARGIN, Revocation, Target};
pub use token_key::{KeyStanding, TokenKey};
pub use view::View;
pub use words::{Actor, Attribute, Group, Scope, WordError};

/// How long a token may live, whoever asks. A revocation of everything issued before an instant is kept this much longer.
pub const TOKEN_LIFE_MAX: aegis_domain::Ttl = aegis_domain::Ttl::from_s(15 * 60);

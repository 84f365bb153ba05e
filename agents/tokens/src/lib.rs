//! What the token endpoint answers: client credentials and token exchange, decided without a socket.
//!
//! Pure: the registry's view, foreign keys and the time are arguments. Not here: HTTP and signing (`control`), and who may
//! be registered (`agents/registry`). Invariant: a grant never says more than its agent is registered for, nor more than
//! any token it was exchanged for, and never outlives it.
#![deny(clippy::wildcard_enum_match_arm, clippy::as_conversions)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod client;
mod exchange;
mod form;
mod grant;
mod metadata;
mod refusal;
mod service;

#[cfg(test)]
mod tests;

pub use form::FormError;
pub use grant::{Grant, TokenType};
pub use metadata::{authorization_server, protected_resource};
pub use refusal::{OAuthError, Refusal};
pub use service::{FirstUse, Pending, Request, Service, World};

//! Who may do what on the control API: roles, the permissions they bring, and whose tenants someone may touch.
//!
//! Pure: how a caller proves who they are is `identity`'s, and which route asks for what is `control`'s. Agents are not here;
//! their rights are scopes. Invariant: a permission is had only through a role, and no role reaches past its bearer's tenants.
#![deny(clippy::wildcard_enum_match_arm, clippy::as_conversions)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod permission;
mod principal;
mod role;

#[cfg(test)]
mod tests;

pub use permission::Permission;
pub use principal::{Principal, Reach, Unpermitted};
pub use role::{Role, UnknownRole};

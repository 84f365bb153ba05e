//! One strict reading of what HTTP peers send: request heads, response heads, bodies, and how slow they may be.
//!
//! Pure: no sockets, no clock; bytes and elapsed times are arguments. Who may call what is `decide`'s question, and
//! whether an address may be dialled is not asked here either.
//! Invariant: what passes has exactly one meaning for every conforming reader, and `docs/spec/front-door.md` has a row
//! for each thing that does not pass.
#![deny(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects, clippy::as_conversions)]

mod authority;
mod body;
mod chunks;
mod connection;
mod fields;
mod frames;
mod hello;
mod http2;
mod limits;
mod lines;
mod method;
mod pace;
mod path;
mod refusal;
mod request;
mod response;
mod target;

pub use authority::Authority;
pub use body::{BodyGate, Progress};
pub use connection::{Persistence, Upgrade};
pub use fields::Framing;
pub use frames::{Flood, FrameGate};
pub use hello::{Hello, read_hello};
pub use http2::{Pseudo, check_http2};
pub use limits::Limits;
pub use pace::Pace;
pub use refusal::Refusal;
pub use request::{Head, HeadGate, Reading, Version};
pub use response::{
    Asked, ResponseBody, ResponseGate, ResponseHead, ResponseReading, check_response,
};
pub use target::{Resource, Scheme, Target};

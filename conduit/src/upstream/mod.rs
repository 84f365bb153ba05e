//! The way to upstreams: dialled, encrypted and read by us before Pingora sees any of it.
//!
//! Not here: which address may be dialled (`address`), and what is sent. Invariant: an HTTP/1 answer reaches Pingora
//! only through `Answers`.

mod answers;
mod dialler;
mod spoken;
mod trust;

pub use answers::announce;
pub use dialler::{Dialler, speaks_http2};
pub use spoken::Spoken;
pub use trust::{ClientIdentity, Speak, Trust, TrustError, Trusted};

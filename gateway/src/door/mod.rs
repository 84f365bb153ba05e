//! Every way in: sockets and HTTP versions are translated here into one `Arrival`, and answers back.
//!
//! Not here: deciding anything. Invariant: every door walks the same corridor.

mod allowance;
pub mod answer;
mod arrival;
mod body;
mod connect;
mod connection;
mod front;
mod http2;
mod intercept;
mod last_event;
mod listeners;
mod ops;
mod own;
mod passthrough;
mod policies;
mod target;
mod tool_route;

pub use intercept::{Intercept, InterceptError};
pub use listeners::{Listeners, check_tls};
pub use ops::Ops;
pub use tool_route::ToolRoute;

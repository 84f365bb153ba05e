//! Real Redis and Valkey servers on ports of their own: single, replicated under Sentinels, and as a Cluster.
//!
//! Not here: what is stored in them. Invariant: a server's process and files end with its value, and a server that is
//! not installed is told as absent, which fails the test where `CI` is set.

mod cluster;
mod network;
mod proxy;
mod sentinels;
mod server;

pub use cluster::Cluster;
pub use network::{Cut, Host, Network};
pub use proxy::Proxy;
pub use sentinels::Replicated;
pub use server::{Server, Software, free_port};

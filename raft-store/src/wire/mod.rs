//! How voters speak: frames over mutual TLS, and what is in them.
//!
//! Not here: what Raft makes of it (`node`). Invariant: a message is taken only from the node that its sender's certificate
//! names, of our cluster, and only if it is meant for us.

pub(crate) mod frame;
pub(crate) mod incoming;
pub(crate) mod message;
pub(crate) mod peers;
pub(crate) mod server;
pub(crate) mod tls;

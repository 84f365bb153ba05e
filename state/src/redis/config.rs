//! Which Redis holds the hot state, and how it is spoken to.
//!
//! Not here: reading this from `aegis.yaml` (`config`). Invariant: every wait has a bound here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use aegis_domain::{Secret, TenantId, Ttl};

/// One address to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    pub host: String,
    pub port: u16,
}

/// How the servers work together.
#[derive(Clone, Debug)]
pub enum Deployment {
    Single(Server),
    /// A primary that Sentinels name; only what most of them say counts.
    Sentinel {
        sentinels: Vec<Server>,
        name: String,
        /// For the Sentinels themselves; the primary has `RedisConfig::login`.
        login: Option<Login>,
    },
    /// Any nodes of a Cluster; the others are learnt from them.
    Cluster(Vec<Server>),
}

/// An ACL user; the rights it needs are in `docs/spec/hot-state.md`.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: Option<String>,
    pub password: Secret<String>,
}

/// TLS to every server and Sentinel; host names are checked.
#[derive(Clone, Debug, Default)]
pub struct RedisTls {
    /// PEM of the authorities to trust in the place of the system's.
    pub ca: Option<Vec<u8>>,
    /// PEM of a client certificate's chain and key.
    pub client: Option<(Vec<u8>, Secret<Vec<u8>>)>,
}

/// Whether the first use of a token that is good for one call must reach a replica before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    Never,
    /// `WAIT 1`: what is not confirmed within the deadline is not granted.
    OneReplica,
}

/// Whose clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The server's, so that gateways whose clocks differ agree.
    Server,
    /// The asks': for simulations and tests that bring their own time.
    Asked,
}

#[derive(Clone, Debug)]
pub struct RedisConfig {
    pub deployment: Deployment,
    pub login: Option<Login>,
    pub tls: Option<RedisTls>,
    /// Whose overdue holds are reaped; a tenant that is asked about joins them.
    pub tenants: BTreeSet<TenantId>,
    /// Where this gateway remembers which data it knows, so that it also notices a loss while it was down.
    pub memory: Option<PathBuf>,
    /// What one call of the trait may wait, everything included.
    pub deadline: Duration,
    /// Connections to each server.
    pub connections: usize,
    pub confirm_once: Confirm,
    /// How far the clocks of token issuers may be ahead of the servers'.
    pub issuer_skew: Ttl,
    pub clock: Clock,
}

impl RedisConfig {
    pub const DEADLINE: Duration = Duration::from_millis(20);
    pub const CONNECTIONS: usize = 2;

    pub fn new(deployment: Deployment) -> Self {
        Self {
            deployment,
            login: None,
            tls: None,
            tenants: BTreeSet::new(),
            memory: None,
            deadline: Self::DEADLINE,
            connections: Self::CONNECTIONS,
            confirm_once: Confirm::Never,
            issuer_skew: Ttl::from_s(30),
            clock: Clock::Server,
        }
    }
}

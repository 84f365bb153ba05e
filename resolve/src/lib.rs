//! Names to addresses: bounded, remembered by their own time to live, asked once however many wait.
//!
//! Not here: which addresses may be dialled (`address`), which the caller checks for every call. Invariant: an answer is
//! handed out whole or not at all, so nothing that was answered goes unchecked, and there is no second look-up between
//! check and connect.

mod limits;
mod memory;
mod servers;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use aegis_address::is_metadata_name;
use aegis_domain::{Host, Reason};
use hickory_resolver::TokioResolver;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};

pub use limits::Limits;
use memory::{Held, Memory};
use servers::Outcome;

/// Where names are asked for.
#[derive(Debug)]
enum Source {
    /// The system's name servers and its hosts file.
    System,
    Servers(Vec<SocketAddr>),
}

/// Asks name servers, on the runtime that first asks.
#[derive(Debug)]
pub struct Resolver {
    source: Source,
    limits: Limits,
    dns: OnceCell<TokioResolver>,
    memory: Mutex<Memory>,
    under_way: Semaphore,
}

impl Default for Resolver {
    /// Asks whom the system asks.
    fn default() -> Self {
        Self::new(Source::System, Limits::default())
    }
}

impl Resolver {
    /// Asks these name servers, over UDP and, where an answer does not fit, TCP; no hosts file.
    pub fn asking(servers: Vec<SocketAddr>, limits: Limits) -> Self {
        Self::new(Source::Servers(servers), limits)
    }

    fn new(source: Source, limits: Limits) -> Self {
        let under_way = Semaphore::new(limits.questions_max);
        let memory = Mutex::new(Memory::new(limits.names_max));
        Self { source, limits, dns: OnceCell::new(), memory, under_way }
    }

    /// Every address of a host, IPv4 first; an address is its own answer.
    pub async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, Reason> {
        if let Some(address) = host.address() {
            return Ok(vec![address]);
        }
        if is_metadata_name(host) {
            return Err(Reason::AddressForbidden);
        }
        let slot = self.memory.lock().slot(host, Instant::now());
        // Whoever comes first asks, the others wait for that answer; if the first hangs up, the next one asks.
        let held = slot.get_or_init(|| self.ask(host));
        let held = tokio::time::timeout(self.limits.deadline, held).await;
        held.map_err(|_| Reason::UpstreamUnresolved)?.addresses.clone()
    }

    /// One question, whose answer is held for as long as its kind deserves.
    async fn ask(&self, host: &Host) -> Held {
        let outcome = tokio::time::timeout(self.limits.deadline, self.question(host)).await;
        let outcome = outcome.unwrap_or(Outcome::Failed);
        let ends = Instant::now().checked_add(self.limits.life(&outcome));
        let addresses = match outcome {
            Outcome::Found { addresses, .. } if addresses.len() <= self.limits.addresses_max => {
                Ok(addresses)
            }
            Outcome::Found { addresses, .. } => {
                tracing::warn!(%host, addresses = addresses.len(), "a name has too many addresses");
                Err(Reason::UpstreamUnresolved)
            }
            Outcome::Absent { .. } | Outcome::Failed => Err(Reason::UpstreamUnresolved),
        };
        Held { addresses, ends }
    }

    async fn question(&self, host: &Host) -> Outcome {
        // The semaphore is never closed; were it, to ask nothing is the safe answer.
        let Ok(_turn) = self.under_way.acquire().await else { return Outcome::Failed };
        let dns = self.dns.get_or_try_init(|| async { servers::open(&self.source, &self.limits) });
        match dns.await {
            Ok(dns) => servers::ask(dns, host).await,
            Err(error) => {
                tracing::error!(%error, "the resolver's configuration cannot be used");
                Outcome::Failed
            }
        }
    }
}

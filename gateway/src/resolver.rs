//! Names to addresses, bounded and cached by their own time to live.
//!
//! Not here: which addresses may be dialled (`decide::address`). Invariant: an answer is used for the dial it was
//! asked for; there is no second look-up between check and connect.

use std::net::IpAddr;
use std::time::Duration;

use aegis_domain::{Host, Reason};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tokio::sync::OnceCell;

/// How long a look-up may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many names are remembered.
const NAMES_MAX: u64 = 4_096;

/// The system's resolver, made on the runtime that first asks.
#[derive(Default)]
pub struct Resolver(OnceCell<TokioResolver>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Every address of a host; an address is its own answer.
    pub async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, Reason> {
        if let Ok(address) = host.as_str().parse() {
            return Ok(vec![address]);
        }
        let resolver = self.0.get_or_try_init(|| async { system() }).await?;
        // The final dot keeps search domains out of it.
        let name = format!("{}.", host.as_str().trim_end_matches('.'));
        let lookup = tokio::time::timeout(DEADLINE, resolver.lookup_ip(name)).await;
        let answer = lookup.map_err(|_| Reason::UpstreamUnresolved)?;
        Ok(answer.map_err(|_| Reason::UpstreamUnresolved)?.iter().collect())
    }
}

fn system() -> Result<TokioResolver, Reason> {
    let mut builder = TokioResolver::builder_tokio().map_err(|error| {
        tracing::error!(%error, "the system's resolver configuration cannot be read");
        Reason::UpstreamUnresolved
    })?;
    builder.options_mut().cache_size = NAMES_MAX;
    // An IPv4-only host must not fail on the IPv6 address of a dual-stack name.
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(|_| Reason::UpstreamUnresolved)
}

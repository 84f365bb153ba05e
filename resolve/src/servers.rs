//! The one place that speaks to name servers, through hickory.
//!
//! Not here: what is remembered (`memory`); hickory's own cache is off, so there is one. Invariant: a name is asked for
//! as it stands, never below a search domain.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aegis_domain::Host;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};

use crate::{Limits, Source};

/// What came of a question.
#[derive(Debug)]
pub(crate) enum Outcome {
    Found {
        addresses: Vec<IpAddr>,
        ttl: Duration,
    },
    /// The name servers say that there is none.
    Absent {
        ttl: Duration,
    },
    /// They said nothing of use.
    Failed,
}

/// Who is asked, and how often.
pub(crate) fn open(source: &Source, limits: &Limits) -> Result<TokioResolver, NetError> {
    let mut builder = match source {
        Source::System => TokioResolver::builder_tokio()?,
        Source::Servers(servers) => {
            let servers = servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    // An IPv4-only host must not fail on the IPv6 address of a dual-stack name, so both are asked for.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // A server that stays silent leaves time for one more try within the deadline.
    options.timeout = limits.deadline / 3;
    options.attempts = 1;
    options.max_active_requests = limits.questions_max.saturating_mul(2);
    if matches!(source, Source::Servers(_)) {
        options.use_hosts_file = ResolveHosts::Never;
    }
    builder.build()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

pub(crate) async fn ask(dns: &TokioResolver, host: &Host) -> Outcome {
    // The final dot keeps search domains out of it.
    match dns.lookup_ip(format!("{host}.")).await {
        Ok(lookup) => {
            let mut addresses: Vec<IpAddr> = lookup.iter().collect();
            addresses.sort_by_key(IpAddr::is_ipv6);
            // Aliases on the way count too.
            let ttls = lookup.as_lookup().answers().iter().map(|record| record.ttl);
            let ttl = Duration::from_secs(ttls.min().unwrap_or(0).into());
            if addresses.is_empty() {
                Outcome::Absent { ttl }
            } else {
                Outcome::Found { addresses, ttl }
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let ttl = Duration::from_secs(none.negative_ttl.unwrap_or(0).into());
            Outcome::Absent { ttl }
        }
        Err(error) => {
            tracing::debug!(%host, %error, "a name could not be resolved");
            Outcome::Failed
        }
    }
}

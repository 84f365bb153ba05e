//! Where the hot state lives, as people write it in `aegis.yaml`.
//!
//! Not here: connecting to it (`state`). Invariant: a password is taken from a file or the environment, never from the
//! configuration text.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use aegis_document::{Mapping, Node, Problems};
use aegis_domain::{MicroUsd, Secret, Ttl};
use aegis_state::{Confirm, Deployment, Login, RedisConfig, RedisTls, Server};

use crate::read::{positive, usd};
use crate::read_tool::{Folder, secret};
use crate::{Leases, RedisHome, StateHome};

/// More is not a deadline: a call waits for it.
const DEADLINE_MAX: Duration = Duration::from_secs(1);
/// A gateway that dies leaves its leases held for as long.
const LEASE_TTL_MAX: Duration = Duration::from_secs(60);
const LEASE_TTL: Ttl = Ttl::from_s(10);

pub(super) fn state(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<StateHome> {
    let mut map = node.mapping(problems)?;
    let redis = map.required("redis", problems, |node, problems| redis(node, problems, folder));
    map.finish(problems);
    Some(StateHome::Redis(Box::new(redis?)))
}

fn redis(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<RedisHome> {
    let mut map = node.mapping(problems)?;
    let deployment = deployment(&mut map, problems, folder);
    let login = login(&mut map, problems, folder);
    let tls = map.optional("tls", problems, |node, problems| tls(node, problems, folder));
    let deadline = map.optional("deadline", problems, deadline);
    let connections = map.optional("connections", problems, |n, p| n.integer::<usize>(p, 1..=64));
    let confirm = map.optional("confirm_once", problems, Node::boolean);
    let issuer_skew = map.optional("issuer_skew", problems, Node::duration);
    let leases = map.optional("leases", problems, leases);
    map.finish(problems);
    let defaults = RedisConfig::new(deployment?);
    let servers = RedisConfig {
        login,
        tls,
        deadline: deadline.unwrap_or(defaults.deadline),
        connections: connections.unwrap_or(defaults.connections),
        confirm_once: match confirm {
            Some(true) => Confirm::OneReplica,
            Some(false) | None => Confirm::Never,
        },
        issuer_skew: issuer_skew.unwrap_or(defaults.issuer_skew),
        ..defaults
    };
    Some(RedisHome { servers, leases })
}

/// `{ amount_usd: "1", gateways: 4, ttl: 10s }`.
fn leases(node: &Node, problems: &mut Problems) -> Option<Leases> {
    let mut map = node.mapping(problems)?;
    let amount = map.required("amount_usd", problems, |node, problems| {
        let amount = usd(node, problems)?;
        if amount == MicroUsd::ZERO {
            problems.report(node.position(), "a lease of nothing pays for no call");
            return None;
        }
        Some(amount)
    });
    let gateways = map.required("gateways", problems, |n, p| n.integer::<u32>(p, 1..=1_024));
    let ttl = map.optional("ttl", problems, |node, problems| {
        let ttl = positive(node, problems)?;
        if !(Duration::from_secs(1)..=LEASE_TTL_MAX).contains(&ttl) {
            problems.report(node.position(), "a lease lasts from 1 s to 1 min");
        }
        node.duration(problems)
    });
    map.finish(problems);
    let gateways = NonZeroU32::new(gateways?)?;
    Some(Leases { amount: amount?, gateways, ttl: ttl.unwrap_or(LEASE_TTL) })
}

fn deployment(
    map: &mut Mapping<'_>,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<Deployment> {
    let position = map.position();
    let ways = ["server", "sentinel", "cluster"].map(|way| map.get(way));
    match ways {
        [Some(node), None, None] => Some(Deployment::Single(server(node, problems)?)),
        [None, Some(node), None] => sentinel(node, problems, folder),
        [None, None, Some(node)] => Some(Deployment::Cluster(servers(node, problems)?)),
        _ => {
            problems.report_with_help(
                position,
                "it must be said once where Redis is",
                "give one of `server`, `sentinel` and `cluster`",
            );
            None
        }
    }
}

fn sentinel(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Deployment> {
    let mut map = node.mapping(problems)?;
    let name = map.required("name", problems, Node::text);
    let sentinels = map.required("servers", problems, servers);
    let login = login(&mut map, problems, folder);
    map.finish(problems);
    Some(Deployment::Sentinel { sentinels: sentinels?, name: name?, login })
}

fn login(map: &mut Mapping<'_>, problems: &mut Problems, folder: &Folder) -> Option<Login> {
    let position = map.position();
    let username = map.optional("username", problems, Node::text);
    let password = map.get("password").map(|node| password(node, problems, folder));
    if username.is_some() && password.is_none() {
        problems.report(position, "a `username` needs a `password`");
    }
    Some(Login { username, password: password?? })
}

fn password(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Secret<String>> {
    let mut map = node.mapping(problems)?;
    let password = secret(&mut map, "a password", problems, folder);
    map.finish(problems);
    password
}

fn tls(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<RedisTls> {
    let mut map = node.mapping(problems)?;
    let file = |node: &Node, problems: &mut Problems| {
        let path = folder.path(node, problems)?;
        read(&path, node, problems)
    };
    let ca = map.optional("ca_file", problems, file);
    let certificate = map.optional("certificate", problems, file);
    let key = map.optional("key", problems, file);
    if map.get("certificate").is_some() != map.get("key").is_some() {
        problems.report(map.position(), "`certificate` and `key` belong together");
    }
    map.finish(problems);
    Some(RedisTls { ca, client: certificate.zip(key.map(Secret::new)) })
}

fn read(path: &PathBuf, node: &Node, problems: &mut Problems) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path);
    let told = bytes.map_err(|error| {
        problems.report(node.position(), format!("the file cannot be read: {error}"));
    });
    told.ok()
}

fn deadline(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let deadline = positive(node, problems)?;
    if deadline > DEADLINE_MAX {
        let max = Ttl::from_ms(1_000).ms();
        problems.report(node.position(), format!("a deadline is at most {max} ms"));
        return None;
    }
    Some(deadline)
}

fn servers(node: &Node, problems: &mut Problems) -> Option<Vec<Server>> {
    let servers = node.list(problems, server)?;
    if servers.is_empty() {
        problems.report(node.position(), "expected at least one address");
        return None;
    }
    Some(servers)
}

/// `host:port`, an IPv6 address in brackets.
fn server(node: &Node, problems: &mut Problems) -> Option<Server> {
    let text = node.text(problems)?;
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.parse::<aegis_domain::Host>().ok()?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        Some(Server { host: host.as_str().to_owned(), port })
    });
    if parts.is_none() {
        problems.report(node.position(), "expected an address such as `redis.internal:6379`");
    }
    parts
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;

    use super::*;

    fn read_from(text: &str) -> Result<RedisConfig, String> {
        home_from(text).map(|home| home.servers)
    }

    fn home_from(text: &str) -> Result<RedisHome, String> {
        let document = Document::parse("aegis.yaml", text).unwrap();
        let folder = Folder(PathBuf::from("/nowhere"));
        let home = document.decode(|root, problems| state(root, problems, &folder));
        match home.map_err(|diagnostics| diagnostics.to_string())? {
            StateHome::Redis(home) => Ok(*home),
            StateHome::Embedded => unreachable!("it was not asked for"),
        }
    }

    #[test]
    fn each_deployment_reads_as_it_is_documented() {
        let single = read_from("redis: { server: 'redis.internal:6379', deadline: 10ms }").unwrap();
        assert_eq!(single.deadline, Duration::from_millis(10));
        assert!(matches!(single.deployment, Deployment::Single(Server { port: 6_379, .. })));

        let text = "redis:\n  sentinel: { name: hot, servers: ['[::1]:26379', 'b:26379', 'c:26379'] }\n  confirm_once: true\n";
        let sentinel = read_from(text).unwrap();
        assert_eq!(sentinel.confirm_once, Confirm::OneReplica);
        let Deployment::Sentinel { sentinels, name, login } = sentinel.deployment else {
            panic!("another deployment");
        };
        assert_eq!((name.as_str(), sentinels.len(), login.is_none()), ("hot", 3, true));
        assert_eq!(sentinels[0].host, "::1");

        let cluster = read_from("redis: { cluster: ['a:7000', 'b:7000'] }").unwrap();
        assert!(matches!(cluster.deployment, Deployment::Cluster(nodes) if nodes.len() == 2));
    }

    #[test]
    fn leases_are_off_unless_they_are_written_down() {
        assert_eq!(home_from("redis: { server: 'a:1' }").unwrap().leases, None);
        let text = "redis: { server: 'a:1', leases: { amount_usd: '1', gateways: 4, ttl: 5s } }";
        let gateways = NonZeroU32::new(4).unwrap();
        let leases = Leases { amount: MicroUsd::new(1_000_000), gateways, ttl: Ttl::from_s(5) };
        assert_eq!(home_from(text).unwrap().leases, Some(leases));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        for (text, told) in [
            ("redis: {}", "1:8"),
            ("redis: { server: 'a:1', cluster: ['b:1'] }", "1:8"),
            ("redis: { server: 'a' }", "1:18"),
            ("redis: { server: 'a:0' }", "1:18"),
            ("redis: { cluster: [] }", "1:19"),
            ("redis: { server: 'a:1', deadline: 2s }", "1:35"),
            ("redis: { server: 'a:1', connections: 0 }", "1:38"),
            ("redis: { server: 'a:1', username: aegis }", "1:8"),
            ("redis: { server: 'a:1', password: secret }", "1:35"),
            ("redis: { server: 'a:1', password: { file: none } }", "1:43"),
            ("redis: { server: 'a:1', tls: { certificate: none } }", "1:45"),
            ("redis: { server: 'a:1', conections: 2 }", "1:25"),
            ("redis: { sentinel: { servers: ['a:1'] } }", "1:20"),
            ("redis: { server: 'a:1', leases: { gateways: 4 } }", "1:33"),
            ("redis: { server: 'a:1', leases: { amount_usd: '0', gateways: 4 } }", "1:47"),
            ("redis: { server: 'a:1', leases: { amount_usd: '1', gateways: 0 } }", "1:62"),
            ("redis: { server: 'a:1', leases: { amount_usd: '1', gateways: 4, ttl: 2m } }", "1:70"),
        ] {
            let mistakes = read_from(text).unwrap_err();
            assert!(mistakes.contains(&format!("aegis.yaml:{told}")), "{text}\n{mistakes}");
        }
    }
}

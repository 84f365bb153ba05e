//! The suite over Redis and Valkey: single, under Sentinels, as a Cluster, over TLS and as a user with few rights.
//!
//! Not here: the cases (`conformance`). Invariant: see `conformance`.

use std::time::Duration;

use aegis_domain::Secret;
use aegis_state::{Deployment, Login, RedisConfig, RedisTls, Server as Address};
use aegis_testkit::Authority;
use aegis_testkit::hot::{Cluster, Replicated, Server, Software};

use super::stand::{Gateway, Stand, address, make_old, on_single, patient, simulated};
use crate::conformance::{each_alone, hot_state_cases, one_after_the_other};

const TENANTS: [&str; 2] = ["acme", "other"];

mod redis {
    use super::*;
    hot_state_cases!(each_alone, Software::Redis.installed().map(on_single));
}

mod valkey {
    use super::*;
    hot_state_cases!(each_alone, Software::Valkey.installed().map(on_single));
}

/// Empties the servers and opens a home that never saw what was there.
fn fresh(config: &RedisConfig, keepers: &[&Server]) -> Stand<()> {
    for keeper in keepers {
        keeper.ask(&["FLUSHALL"]);
    }
    for tenant in TENANTS {
        let keeper = keepers.iter().find(|keeper| serves(keeper, tenant)).unwrap();
        make_old(keeper, tenant);
    }
    Stand::over(config.clone(), ())
}

fn serves(server: &Server, tenant: &str) -> bool {
    server
        .try_ask(&["GET", &format!("ag:{{{tenant}}}:e")])
        .is_some_and(|reply| !reply.starts_with('-'))
}

fn under_sentinels(software: Software) {
    let Some(program) = software.installed() else { return };
    let servers = Replicated::start(&program, Duration::from_secs(5), &[]);
    let config = simulated(super::stand::sentinels(&servers));
    hot_state_cases!(one_after_the_other, fresh(&config, &[&servers.servers[0]]));
}

#[test]
fn redis_under_sentinels_conforms() {
    under_sentinels(Software::Redis);
}

#[test]
fn valkey_under_sentinels_conforms() {
    under_sentinels(Software::Valkey);
}

fn as_a_cluster(software: Software) {
    let Some(program) = software.installed() else { return };
    let cluster = Cluster::start(&program, 3);
    // One node is told; the others are learnt.
    let config = simulated(Deployment::Cluster(vec![address(&cluster.nodes[0])]));
    let nodes: Vec<&Server> = cluster.nodes.iter().collect();
    hot_state_cases!(one_after_the_other, fresh(&config, &nodes));
}

#[test]
fn redis_as_a_cluster_conforms() {
    as_a_cluster(Software::Redis);
}

#[test]
fn valkey_as_a_cluster_conforms() {
    as_a_cluster(Software::Valkey);
}

/// The rights the documents name, by the line that grants them.
fn documented_rights() -> Vec<String> {
    let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spec/hot-state.md");
    let spec = std::fs::read_to_string(spec).unwrap();
    let line = spec.lines().find(|line| line.starts_with("user aegis on ")).unwrap();
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

/// Grants the documented rights, with a password, on the server.
fn add_user(server: &Server) -> Login {
    let rights = documented_rights();
    let mut command = vec!["ACL", "SETUSER"];
    command
        .extend(rights.iter().map(|right| if right.starts_with('#') { ">secret" } else { right }));
    server.ask(&command);
    Login { username: Some("aegis".to_owned()), password: Secret::new("secret".to_owned()) }
}

#[test]
fn the_documented_rights_are_enough() {
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let server = Server::start(&program, &[]);
        let login = Some(add_user(&server));
        let config = RedisConfig { login, ..simulated(Deployment::Single(address(&server))) };
        hot_state_cases!(one_after_the_other, fresh(&config, &[&server]));
    }
}

#[test]
fn the_documented_rights_are_enough_under_sentinels_and_in_a_cluster() {
    let Some(program) = Software::Redis.installed() else { return };
    let servers = Replicated::start(&program, Duration::from_secs(5), &[]);
    let logins: Vec<Login> = servers.servers.iter().map(add_user).collect();
    let config = RedisConfig {
        login: logins.first().cloned(),
        ..patient(super::stand::sentinels(&servers))
    };
    Gateway::open(config).grants_something();

    let cluster = Cluster::start(&program, 3);
    let logins: Vec<Login> = cluster.nodes.iter().map(add_user).collect();
    let deployment = Deployment::Cluster(vec![address(&cluster.nodes[0])]);
    Gateway::open(RedisConfig { login: logins.first().cloned(), ..patient(deployment) })
        .grants_something();
}

#[test]
fn a_user_with_the_documented_rights_can_do_nothing_else() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    add_user(&server);
    for command in [
        &["FLUSHALL"][..],
        &["CONFIG", "SET", "maxmemory", "1"],
        &["KEYS", "*"],
        &["GET", "another:key"],
        &["EVAL", "return 1", "0"],
        &["REPLICAOF", "NO", "ONE"],
        &["SHUTDOWN"],
        &["DEL", "ag:{acme}:e"],
    ] {
        let tried = [&["ACL", "DRYRUN", "aegis"], command].concat();
        assert_ne!(server.ask(&tried), "OK", "{command:?}");
    }
}

/// A server that speaks TLS alone, and asks for certificates.
fn with_tls(
    program: &std::path::Path,
    authority: &Authority,
) -> (Server, tempfile::TempDir, Address) {
    let folder = tempfile::tempdir().unwrap();
    let leaf = authority.leaf(&["localhost"]);
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let certificate = write("leaf.pem", &leaf.certificate);
    let (key, ca) = (write("leaf.key", &leaf.key), write("ca.pem", authority.pem()));
    let port = aegis_testkit::hot::free_port();
    let number = port.to_string();
    let options = ["--tls-port", &number, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let asks = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "yes"];
    let server = Server::start(program, &[&options[..], &asks].concat());
    (server, folder, Address { host: "localhost".to_owned(), port })
}

/// On Redis alone: the Valkey that can be had as a package is built without TLS.
#[test]
fn tls_trusts_the_authority_it_is_given_and_shows_its_own_certificate() {
    let Some(program) = Software::Redis.installed() else { return };
    let authority = Authority::default();
    let (server, _folder, address) = with_tls(&program, &authority);
    make_old(&server, "acme");
    let own = authority.leaf(&["gateway"]);
    let own = Some((own.certificate.into_bytes(), Secret::new(own.key.into_bytes())));
    let trusting = |ca: &Authority, client, host: &str| RedisConfig {
        tls: Some(RedisTls { ca: Some(ca.pem().as_bytes().to_vec()), client }),
        ..patient(Deployment::Single(Address { host: host.to_owned(), port: address.port }))
    };
    Gateway::open(trusting(&authority, own.clone(), "localhost")).grants_something();

    let stranger = Authority::default();
    Gateway::begin(trusting(&stranger, own.clone(), "localhost")).stays_unreachable();
    Gateway::begin(trusting(&authority, None, "localhost")).stays_unreachable();
    // The certificate is for another name.
    Gateway::begin(trusting(&authority, own, "127.0.0.1")).stays_unreachable();
}

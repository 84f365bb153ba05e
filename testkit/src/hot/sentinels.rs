//! A primary with two replicas and three Sentinels, on addresses or hosts of their own.
//!
//! Not here: how a host is cut off (`network`), and what a client makes of it. Invariant: it is handed out only when the
//! replicas follow and the Sentinels know each other.

use std::path::Path;
use std::time::Duration;

use super::network::{Cut, Host, Network};
use super::server::Server;

/// The name the Sentinels know the primary by.
const NAME: &str = "hot";

pub struct Replicated {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
}

impl Replicated {
    pub const NAME: &str = NAME;

    /// Starts them on addresses of loopback, with Sentinels that call the primary down after so long.
    pub fn start(program: &Path, down_after: Duration, options: &[&str]) -> Self {
        let net = crate::building::random::<2>();
        let host = |nth: usize| Host::here(&format!("127.{}.{}.{nth}", 64 + net[0] % 128, net[1]));
        Self::start_on((program, options), down_after, host)
    }

    /// The same, each on a host of its own, so that it can be cut off.
    pub fn start_apart(
        program: &Path,
        network: &Network,
        down_after: Duration,
        options: &[&str],
    ) -> Self {
        Self::start_on((program, options), down_after, |nth| network.host(nth))
    }

    fn start_on(
        (program, options): (&Path, &[&str]),
        down_after: Duration,
        host: impl Fn(usize) -> Host,
    ) -> Self {
        let mut servers: Vec<Server> = Vec::new();
        for nth in 1..=3 {
            let mut all = vec!["--repl-diskless-sync-delay", "0", "--repl-timeout", "5"];
            all.extend(options);
            let primary =
                servers.first().map(|primary| format!("{} {}", primary.ip(), primary.port()));
            if let Some(primary) = &primary {
                all.extend(["--replicaof", primary]);
            }
            let mut server = Server::prepare(program, host(nth), &all);
            server.start_again();
            servers.push(server);
        }
        let mut all = Self { servers, sentinels: Vec::new() };
        all.servers[0]
            .wait_until("both replicas follow", |primary| primary.info("connected_slaves") == "2");
        for replica in &all.servers[1..] {
            replica.wait_until("it has its data", |replica| {
                replica.info("master_link_status") == "up"
            });
        }
        for nth in 11..=13 {
            let sentinel = all.sentinel(program, host(nth), down_after);
            all.sentinels.push(sentinel);
        }
        for sentinel in &all.sentinels {
            sentinel.wait_until("the Sentinels know each other", |sentinel| {
                let master = sentinel.ask(&["SENTINEL", "MASTER", NAME]);
                let field = |name: &str| master.lines().skip_while(|line| *line != name).nth(1);
                field("num-other-sentinels") == Some("2") && field("num-slaves") == Some("2")
            });
        }
        all
    }

    fn sentinel(&self, program: &Path, host: Host, down_after: Duration) -> Server {
        let (primary, ms) = (&self.servers[0], down_after.as_millis());
        let ip = host.ip.clone();
        let mut sentinel = Server::prepare(program, host, &[]);
        let file = sentinel.folder().join("sentinel.conf");
        let text = format!(
            "bind-source-addr {ip}\n\
             protected-mode no\n\
             sentinel monitor {NAME} {} {} 2\n\
             sentinel down-after-milliseconds {NAME} {ms}\n\
             sentinel failover-timeout {NAME} 3000\n",
            primary.ip(),
            primary.port(),
        );
        std::fs::write(&file, text).unwrap();
        sentinel.configure(file.to_str().unwrap());
        sentinel.start_again();
        sentinel
    }

    /// The server the Sentinels name, by its place in `servers`.
    pub fn primary(&self) -> usize {
        let named = self.sentinels[0].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        let ip = named.lines().next().unwrap().to_owned();
        self.servers.iter().position(|server| server.ip() == ip).unwrap()
    }

    /// Waits until another server than `old` is primary, by its own word too.
    pub fn wait_for_another(&self, old: usize) -> usize {
        self.sentinels[0].wait_until("another primary", |_| {
            let primary = self.primary();
            primary != old && self.servers[primary].info("role") == "master"
        });
        self.primary()
    }

    /// Waits until both others follow the primary.
    pub fn wait_until_whole(&self) {
        self.sentinels[0].wait_until("both others follow", |_| {
            let primary = &self.servers[self.primary()];
            primary.try_ask(&["PING"]).is_some()
                && primary.info("connected_slaves") == "2"
                && primary.info("min_slaves_good_slaves").parse::<u32>().is_ok_and(|good| good >= 1)
        });
    }

    /// Cuts a server off from the other servers and the Sentinels; clients still reach it.
    pub fn cut(&self, nth: usize) -> Cut {
        let all = self.servers.iter().chain(&self.sentinels).map(Server::ip);
        let cut_off = &self.servers[nth];
        Cut::between(cut_off.host(), all.filter(|ip| *ip != cut_off.ip()))
    }

    /// Cuts a server off from everybody.
    pub fn isolate(&self, nth: usize) -> Cut {
        Cut::between(self.servers[nth].host(), ["0.0.0.0/0"].into_iter())
    }
}

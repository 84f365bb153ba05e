//! A primary with two replicas and three Sentinels, each on an address of its own, so that they can be cut off.
//!
//! Not here: what a client makes of it. Invariant: cuts are undone when their value goes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::server::Server;

/// The name the Sentinels know the primary by.
const NAME: &str = "hot";

pub struct Replicated {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
}

impl Replicated {
    pub const NAME: &str = NAME;

    /// Starts them with Sentinels that call the primary down after so long.
    pub fn start(program: &Path, down_after: Duration, options: &[&str]) -> Self {
        // A /24 of loopback for each test, so that a rule against an address hits nobody else.
        let net = crate::building::random::<2>();
        let ip = |host: usize| format!("127.{}.{}.{host}", 64 + net[0] % 128, net[1]);
        let mut servers: Vec<Server> = Vec::new();
        for nth in 0..3 {
            let mut all = vec!["--repl-diskless-sync-delay", "0", "--repl-timeout", "5"];
            all.extend(options);
            let primary =
                servers.first().map(|primary| format!("{} {}", primary.ip(), primary.port()));
            if let Some(primary) = &primary {
                all.extend(["--replicaof", primary]);
            }
            let mut server = Server::prepare(program, &ip(nth + 1), &all);
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
        for nth in 0..3 {
            let sentinel = all.sentinel(program, &ip(nth + 11), down_after);
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

    fn sentinel(&self, program: &Path, ip: &str, down_after: Duration) -> Server {
        let (primary, ms) = (&self.servers[0], down_after.as_millis());
        let mut sentinel = Server::prepare(program, ip, &[]);
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

    /// Cuts a server off from the other servers and the Sentinels; clients on 127.0.0.1 still reach it.
    /// `None` where packets may not be dropped here.
    pub fn cut(&self, nth: usize) -> Option<Cut> {
        let cut_off = self.servers[nth].ip();
        let others = self.servers.iter().chain(&self.sentinels).map(Server::ip);
        let mut cut = Cut { rules: Vec::new() };
        for other in others.filter(|ip| *ip != cut_off) {
            for (from, to) in [(cut_off, other), (other, cut_off)] {
                let rule = ["OUTPUT", "-s", from, "-d", to, "-j", "DROP"].map(str::to_owned);
                if !iptables("-A", &rule) {
                    return None;
                }
                cut.rules.push(rule);
            }
        }
        Some(cut)
    }
}

/// Dropped packets, until this is dropped itself.
pub struct Cut {
    rules: Vec<[String; 7]>,
}

impl Drop for Cut {
    fn drop(&mut self) {
        for rule in &self.rules {
            iptables("-D", rule);
        }
    }
}

fn iptables(what: &str, rule: &[String; 7]) -> bool {
    let done = Command::new("iptables").args(["-w", what]).args(rule).output();
    done.is_ok_and(|output| output.status.success())
}

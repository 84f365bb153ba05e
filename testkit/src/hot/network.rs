//! A network of a test's own: hosts in namespaces of the kernel, joined by one switch that this process is on as well.
//!
//! Not here: what runs on the hosts (`server`). Invariant: namespaces, links and cuts end with their values. It takes
//! root, `ip` of iproute2 and `iptables`.

use std::process::Command;
use std::sync::Arc;

/// Where a server runs.
#[derive(Clone, Debug)]
pub struct Host {
    pub ip: String,
    /// Where this process is reached from there.
    pub(crate) outside: String,
    /// The namespace it is alone in; `None` for this process's own.
    namespace: Option<Arc<Namespace>>,
}

impl Host {
    /// An address of loopback.
    pub fn here(ip: &str) -> Self {
        Self { ip: ip.to_owned(), outside: ip.to_owned(), namespace: None }
    }

    /// How a program is started there.
    pub fn command(&self, program: &std::path::Path) -> Command {
        match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &namespace.0]).arg(program);
                command
            }
        }
    }
}

/// One namespace, until it is dropped.
#[derive(Debug)]
struct Namespace(String);

impl Namespace {
    fn add(name: String) -> Option<Self> {
        ip(&format!("netns add {name}")).then_some(Self(name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

/// The switch, and the names of what is joined to it.
#[derive(Debug)]
pub struct Network {
    name: String,
    net: String,
    /// Alone in a namespace too, where no rule of this machine's firewall applies.
    switch: Namespace,
}

impl Network {
    /// `None`, after saying so, where no namespace can be had; where `CI` is set, that is a failure.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub fn new() -> Option<Self> {
        let made = Self::make();
        if made.is_none() {
            let wanted = std::env::var_os("CI").is_some();
            assert!(!wanted, "no network of namespaces can be had: it takes root, ip and iptables");
            eprintln!(
                "skipped: no network of namespaces can be had; it takes root, ip and iptables"
            );
        }
        made
    }

    fn make() -> Option<Self> {
        let has_iptables = Command::new("iptables").arg("--version").output();
        if !has_iptables.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let random = crate::building::random::<2>();
        let name = format!("ag{}", crate::building::hex(&random));
        // Benchmarks between networks have these addresses to themselves (RFC 2544 §C.2.2).
        let net = format!("198.{}.{}", 18 + random[0] % 2, random[1]);
        let switch = Namespace::add(format!("{name}s"))?;
        let network = Self { name, net, switch };
        let Self { name, switch: Namespace(inside), .. } = &network;
        let is_up = [
            format!("-n {inside} link add hub type bridge"),
            format!("-n {inside} link set hub up"),
            format!("link add {name}g type veth peer name gateways netns {inside}"),
            format!("-n {inside} link set gateways master hub up"),
            format!("addr add {}/24 dev {name}g", network.outside()),
            format!("link set {name}g up"),
        ];
        is_up.iter().all(|command| ip(command)).then_some(network)
    }

    /// The address of the `nth` host, whether it is there or not.
    pub fn ip(&self, nth: usize) -> String {
        format!("{}.{nth}", self.net)
    }

    /// This process's own address on it.
    pub fn outside(&self) -> String {
        format!("{}.254", self.net)
    }

    /// A host of its own at `.nth` of the network.
    pub fn host(&self, nth: usize) -> Host {
        let Self { name, switch: Namespace(inside), .. } = self;
        let namespace = Namespace::add(format!("{name}n{nth}")).unwrap();
        let (own, address) = (&namespace.0, self.ip(nth));
        for command in [
            format!("-n {inside} link add port{nth} type veth peer name eth0 netns {own}"),
            format!("-n {inside} link set port{nth} master hub up"),
            format!("-n {own} addr add {address}/24 dev eth0"),
            format!("-n {own} link set eth0 up"),
            format!("-n {own} link set lo up"),
        ] {
            assert!(ip(&command), "ip {command}");
        }
        Host { ip: address, outside: self.outside(), namespace: Some(Arc::new(namespace)) }
    }
}

fn ip(command: &str) -> bool {
    let done = Command::new("ip").args(command.split(' ')).output();
    done.is_ok_and(|output| output.status.success())
}

/// Packets between a host and others that are dropped without a word, until this is dropped itself.
#[derive(Debug)]
pub struct Cut {
    namespace: Arc<Namespace>,
}

impl Cut {
    /// Between `host` and those addresses.
    pub fn between<'a>(host: &Host, others: impl Iterator<Item = &'a str>) -> Self {
        Self::made(host, others, &[["INPUT", "-s"], ["OUTPUT", "-d"]])
    }

    /// From those addresses to `host`; the other way they still pass.
    pub fn towards<'a>(host: &Host, others: impl Iterator<Item = &'a str>) -> Self {
        Self::made(host, others, &[["INPUT", "-s"]])
    }

    fn made<'a>(host: &Host, others: impl Iterator<Item = &'a str>, ways: &[[&str; 2]]) -> Self {
        let namespace = host.namespace.clone().expect("hosts on loopback cannot be cut off");
        let cut = Self { namespace };
        for other in others {
            for [chain, side] in ways {
                assert!(cut.iptables(&["-A", chain, side, other, "-j", "DROP"]), "{chain} {other}");
            }
        }
        cut
    }

    fn iptables(&self, rule: &[&str]) -> bool {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace.0, "iptables", "-w"]).args(rule);
        command.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.iptables(&["-F"]);
    }
}

//! Three members of etcd on the same machine, asked for what our voters are asked for.
//!
//! Not here: what is measured (`figures`). Invariant: a write is a put over a connection that is kept, through etcd's own
//! JSON gateway, and counts when etcd answered 200.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use aegis_testkit::hot::{Host, Network};
use tempfile::TempDir;

use crate::cluster::resident_kib;

pub(crate) struct Etcd {
    members: Vec<(Host, TempDir, Option<Child>)>,
    _network: Network,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|nth| self.kill(nth));
    }
}

impl Etcd {
    /// `None` where it is not installed.
    pub(crate) fn found() -> Option<Self> {
        let installed = std::process::Command::new("etcd").arg("--version").output();
        if !installed.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let network = Network::new()?;
        let members = (1..=3).map(|nth| (network.host(nth), tempfile::tempdir().unwrap(), None));
        let mut etcd = Self { members: members.collect(), _network: network };
        (0..3).for_each(|nth| etcd.start(nth));
        let until = Instant::now() + Duration::from_secs(60);
        while etcd.talk(0).and_then(|mut talk| talk.put("first", "value")) != Some(true) {
            assert!(Instant::now() < until, "etcd does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(etcd)
    }

    pub(crate) fn start(&mut self, nth: usize) {
        let all = self.members.iter().enumerate();
        let all: Vec<_> = all.map(|(nth, it)| format!("m{nth}=http://{}:2380", it.0.ip)).collect();
        let (host, home, process) = &mut self.members[nth];
        let (peers, clients) =
            (format!("http://{}:2380", host.ip), format!("http://{}:2379", host.ip));
        let mut command = host.command(Path::new("etcd"));
        command.args(["--name", &format!("m{nth}"), "--initial-cluster", &all.join(",")]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.arg("--data-dir").arg(home.path()).stdout(Stdio::null()).stderr(Stdio::null());
        *process = Some(command.spawn().unwrap());
    }

    pub(crate) fn kill(&mut self, nth: usize) {
        let Some(mut process) = self.members[nth].2.take() else { return };
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub(crate) fn resident_kib(&self, nth: usize) -> u64 {
        resident_kib(self.members[nth].2.as_ref().unwrap().id())
    }

    pub(crate) fn ip(&self, nth: usize) -> String {
        self.members[nth].0.ip.clone()
    }

    pub(crate) fn talk(&self, nth: usize) -> Option<Talk> {
        Talk::with(&self.ip(nth))
    }

    pub(crate) fn leader(&self) -> usize {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            for nth in 0..self.members.len() {
                let status = self.talk(nth).and_then(|mut talk| talk.status());
                if status.is_some_and(|(own, leader)| own == leader) {
                    return nth;
                }
            }
            assert!(Instant::now() < until, "no member of etcd leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

pub(crate) struct Talk(BufReader<TcpStream>);

impl Talk {
    pub(crate) fn with(ip: &str) -> Option<Self> {
        let address = format!("{ip}:2379").parse().unwrap();
        let stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    fn post(&mut self, path: &str, body: &serde_json::Value) -> Option<(bool, serde_json::Value)> {
        let body = body.to_string();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all((head + &body).as_bytes()).ok()?;
        let (mut status, mut length) = (String::new(), 0);
        self.0.read_line(&mut status).ok()?;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).ok()?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status.contains(" 200 "), serde_json::from_slice(&body).ok()?))
    }

    /// `key` and `value` in base64's alphabet, which is how the gateway takes bytes.
    pub(crate) fn put(&mut self, key: &str, value: &str) -> Option<bool> {
        let pad = |text: &str| format!("{text:A<width$}", width = text.len().next_multiple_of(4));
        let body = serde_json::json!({ "key": pad(key), "value": pad(value) });
        self.post("/v3/kv/put", &body).map(|(is_done, _)| is_done)
    }

    /// Its own id and its leader's.
    fn status(&mut self) -> Option<(String, String)> {
        let (_, status) = self.post("/v3/maintenance/status", &serde_json::json!({}))?;
        let own = status["header"]["member_id"].as_str()?.to_owned();
        Some((own, status["leader"].as_str()?.to_owned()))
    }
}

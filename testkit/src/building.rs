//! One running gateway: the real binary, its data directory, and the signals it is stopped with.
//!
//! Not here: what it is configured with (`plan`). Invariant: the process never outlives the test, and what it said on
//! stderr is shown when the test fails.

use std::net::{IpAddr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Options, Report, verify_region};
use aegis_domain::{AgentId, TenantId};
use aegis_identity::{KeySet, SigningKey};
use aegis_state::{BudgetKey, BudgetScope, BudgetWindow};
use aegis_state_embedded::{EmbeddedConfig, EmbeddedState};
use parking_lot::Mutex;
use std::path::Path;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::journal::LogFiles;
use crate::{Agent, Authority, Journal, Plan, Raw, Upstream, Usage};

/// How long a debug build on a busy machine may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway and everything around it.
pub struct Building {
    binary: String,
    plan: Plan,
    running: Option<Child>,
    stderr: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

/// A gateway that ended instead of getting ready.
#[derive(Debug)]
pub struct NotStarted {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Plan {
    /// Starts the binary and waits until it is ready.
    pub async fn start(self, binary: &str) -> Building {
        let mut building = self.prepared(binary);
        building.start_again().await;
        building
    }

    /// Starts the binary and waits for nothing.
    pub async fn launch(self, binary: &str) -> Building {
        let mut building = self.prepared(binary);
        building.running = Some(building.spawn());
        building
    }

    /// For a plan that must not start: runs the binary to its end.
    pub async fn fails(self, binary: &str) -> (NotStarted, Building) {
        let mut building = self.prepared(binary);
        let mut child = building.spawn();
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        let status = status.expect("the gateway runs, though it should not").unwrap();
        building.heard().await;
        let stderr = building.stderr();
        (NotStarted { status, stderr }, building)
    }

    /// Lays everything out and starts nothing.
    pub fn prepared(self, binary: &str) -> Building {
        self.write_config();
        let (binary, stderr) = (binary.to_owned(), Arc::default());
        Building { binary, plan: self, running: None, stderr, listener: None }
    }
}

impl Building {
    fn spawn(&mut self) -> Child {
        let mut whole = self.plan.under.iter().chain([&self.binary]);
        let first = whole.next().unwrap();
        let mut child = Command::from(self.plan.host.command(Path::new(first)))
            .args(whole)
            .args(["run", "--config", "aegis.yaml"])
            .current_dir(self.plan.data.path())
            .envs(self.plan.clock.iter().flat_map(|clock| clock.environment()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard = Arc::clone(&self.stderr);
        self.listener = Some(tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut heard = heard.lock();
                heard.push_str(&line);
                heard.push('\n');
            }
        }));
        child
    }

    /// Waits until everything the ended process said was heard.
    async fn heard(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.await.unwrap();
        }
    }

    /// Starts the binary on the same data directory and ports, and waits until it is ready.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "the gateway is running");
        self.running = Some(self.spawn());
        let begun = tokio::time::Instant::now();
        while !self.is_ready().await {
            let ended = self.running.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended at once: {ended:?}");
            assert!(begun.elapsed() < PATIENCE, "the gateway does not get ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the binary again and waits for nothing.
    pub fn launch_again(&mut self) {
        assert!(self.running.is_none(), "the gateway is running");
        self.running = Some(self.spawn());
    }

    /// For one that must not start again: runs the binary to its end, which it says with this.
    pub async fn fails_again(&mut self, says: &str) {
        assert!(self.running.is_none(), "the gateway is running");
        self.running = Some(self.spawn());
        let status = self.ended().await;
        let stderr = self.stderr();
        assert!(!status.success() && stderr.contains(says), "{status} {stderr}");
    }

    /// What `/readyz` says, once it says anything.
    pub async fn readiness(&self) -> String {
        let begun = tokio::time::Instant::now();
        loop {
            if let Ok(mut line) = Raw::open(self.way_to(self.ops_port())).await {
                line.send(b"GET /readyz HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n").await;
                let said = line.rest().await;
                // Its doors open one after another.
                if !said.ends_with("starting\n") {
                    return said;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "the gateway says nothing");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether `/readyz` says yes.
    pub async fn is_ready(&self) -> bool {
        let Ok(mut line) = Raw::open(self.way_to(self.ops_port())).await else { return false };
        line.send(b"GET /readyz HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n").await;
        line.rest().await.starts_with("HTTP/1.1 200")
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends SIGKILL.
    pub fn shoot(&self) {
        self.signal("KILL");
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Its number, as the kernel counts.
    pub fn process(&self) -> u32 {
        self.running.as_ref().and_then(Child::id).unwrap()
    }

    /// Stops the process where it stands, until it is told to go on.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.running.as_ref().and_then(Child::id).unwrap().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.running.take().unwrap();
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        let status = status.expect("the gateway does not end").unwrap();
        self.heard().await;
        status
    }

    /// Sends SIGTERM and waits for the process to end in order.
    pub async fn stop(&mut self) {
        self.terminate();
        let status = self.ended().await;
        assert!(status.success(), "{status}");
    }

    /// Whether its clock can be set.
    pub fn has_own_clock(&self) -> bool {
        self.plan.clock.is_some()
    }

    /// Sets its wall clock, as an offset in seconds such as `+3600`.
    pub fn set_clock(&self, offset: &str) {
        self.plan.clock.iter().for_each(|clock| clock.set(offset));
    }

    /// Starts another build from now on.
    pub fn become_build(&mut self, binary: &str) {
        binary.clone_into(&mut self.binary);
    }

    /// What the process has used so far.
    pub fn usage(&self) -> Usage {
        Usage::of(self.running.as_ref().and_then(Child::id).unwrap())
    }

    /// What the gateway said on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().clone()
    }

    /// What the process has in memory (Linux).
    pub fn resident_bytes(&self) -> u64 {
        let id = self.running.as_ref().and_then(Child::id).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1_024
    }

    /// An agent of the tenant `acme`; `Agent::of` makes it one of another.
    pub fn agent(&self, name: &str) -> Agent<'_> {
        Agent::new(self, name)
    }

    pub fn port(&self) -> u16 {
        self.plan.ports.plain.number()
    }

    pub fn tls_port(&self) -> u16 {
        self.plan.ports.tls.number()
    }

    /// Where one of its ports is reached.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.plan.host.ip.parse().unwrap(), port)
    }

    /// From where its ports are reached.
    pub(crate) fn outside(&self) -> IpAddr {
        self.plan.host.outside.parse().unwrap()
    }

    pub(crate) fn way_to(&self, port: u16) -> (SocketAddr, IpAddr) {
        (self.at(port), self.outside())
    }

    pub(crate) fn ops_port(&self) -> u16 {
        self.plan.ports.metrics.number()
    }

    /// What it was built from, to change files while it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Changes a value of the configuration file, by JSON pointer; read at the next reload or start.
    pub fn reconfigure(&mut self, pointer: &str, value: serde_json::Value) {
        self.plan.set(pointer, value);
        self.plan.write_config();
    }

    /// The upstream that speaks TLS.
    pub fn upstream(&self) -> &Upstream {
        &self.plan.upstream
    }

    /// The upstream that does not.
    pub fn plain_upstream(&self) -> &Upstream {
        &self.plan.plain
    }

    pub fn authority(&self) -> &Authority {
        &self.plan.authority
    }

    /// The certificate of the authority in whose name the gateway opens tunnels, in PEM.
    pub fn region_authority(&self) -> String {
        let pem = std::fs::read_to_string(self.data().join("ca/authority.pem")).unwrap();
        let start = pem.find("-----BEGIN CERTIFICATE-----").unwrap();
        pem[start..].to_owned()
    }

    /// Signs the agents' tokens.
    pub fn issuer(&self) -> &SigningKey {
        &self.plan.issuer
    }

    pub fn data(&self) -> &Path {
        self.plan.data.path()
    }

    /// A connection on which anything may be said.
    pub async fn raw(&self) -> Raw {
        Raw::open(self.way_to(self.port())).await.unwrap()
    }

    /// A connection to the TLS port, on which nobody has shaken hands.
    pub async fn raw_tls(&self) -> Raw {
        Raw::open(self.way_to(self.tls_port())).await.unwrap()
    }

    pub fn journal(&self) -> Journal {
        Journal::new(self.data().join("audit"))
    }

    /// The keys the gateway publishes.
    pub async fn published_keys(&self) -> KeySet {
        let mut line = self.raw().await;
        let ask = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: gw\r\nconnection: close\r\n\r\n";
        line.send(ask).await;
        let answer = line.rest().await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        KeySet::from_jwks(body.as_bytes()).unwrap()
    }

    /// Verifies the audit log as an outsider would, from the files and the trust file alone.
    pub fn verify(&self) -> Report {
        let trust = std::fs::read_to_string(self.data().join("trust.txt")).unwrap();
        let trust = Trust::parse(&trust).unwrap();
        let options =
            Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
        verify_region(&LogFiles(self.data().join("audit")), &trust, &options, &mut |_| {})
    }

    /// The hot state of a gateway that is not running.
    pub fn state(&self) -> EmbeddedState {
        assert!(self.running.is_none(), "the gateway still has it");
        EmbeddedState::open(EmbeddedConfig::new(self.data().join("state"))).unwrap()
    }

    /// The name of an agent's budget, or of the whole tenant's.
    pub fn budget(tenant: &str, agent: Option<&str>, window: BudgetWindow) -> BudgetKey {
        let scope = match agent {
            Some(agent) => BudgetScope::Agent(AgentId::parse(agent).unwrap()),
            None => BudgetScope::Tenant,
        };
        BudgetKey { tenant: TenantId::parse(tenant).unwrap(), scope, window }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.stderr();
            // Shown by the test harness with the failure.
            drop(std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()));
        }
    }
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

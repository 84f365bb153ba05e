//! A redis home over real servers, as the tests hold it.
//!
//! Not here: cases. Invariant: a home is handed out connected, over data that have been there for long, so that no
//! quarantine of a beginning is in the way.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aegis_domain::TenantId;
use aegis_state::{Clock, Deployment, HotState as _, RedisConfig, RedisState, Server as Address};
use aegis_testkit::hot::Server;
use tokio::runtime::Runtime;

/// What a call may take where the test is not about time: the machine may be busy.
pub(crate) const PATIENT: Duration = Duration::from_secs(5);

pub(crate) fn address(server: &Server) -> Address {
    Address { host: server.ip().to_owned(), port: server.port() }
}

pub(crate) fn single(server: &Server) -> RedisConfig {
    patient(Deployment::Single(address(server)))
}

pub(crate) fn patient(deployment: Deployment) -> RedisConfig {
    let tenants = ["acme", "other"].map(|tenant| TenantId::parse(tenant).unwrap());
    RedisConfig { deadline: PATIENT, tenants: tenants.into(), ..RedisConfig::new(deployment) }
}

/// Data that have been on this server since long ago: nothing is in quarantine.
pub(crate) fn make_old(server: &Server, tenant: &str) {
    let epoch = format!("0123456789abcdef:{}:0::0", server.info("run_id"));
    server.ask(&["SET", &format!("ag:{{{tenant}}}:e"), &epoch]);
}

/// One gateway's state and the threads its connections live on.
pub(crate) struct Gateway {
    // Before the runtime, which must outlive it.
    pub(crate) state: RedisState,
    pub(crate) runtime: Runtime,
}

impl Gateway {
    /// Opens the home and waits until it is connected.
    pub(crate) fn open(config: RedisConfig) -> Self {
        let gateway = Self::begin(config);
        gateway.wait_until_well();
        gateway
    }

    pub(crate) fn begin(config: RedisConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self { state: RedisState::open(config, runtime.handle().clone()).unwrap(), runtime }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn wait_until_well(&self) {
        let start = Instant::now();
        while let Err(error) = self.run(self.state.health()) {
            assert!(start.elapsed() < Duration::from_secs(30), "not well in time: {error}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Deref for Gateway {
    type Target = RedisState;
    fn deref(&self) -> &RedisState {
        &self.state
    }
}

/// A home together with what it stands on.
pub(crate) struct Stand<S> {
    gateway: Gateway,
    _servers: S,
}

impl<S> Stand<S> {
    pub(crate) fn new(deployment: Deployment, servers: S) -> Self {
        let config = RedisConfig { clock: Clock::Asked, ..patient(deployment) };
        Self { gateway: Gateway::open(config), _servers: servers }
    }
}

impl<S> Deref for Stand<S> {
    type Target = RedisState;
    fn deref(&self) -> &RedisState {
        &self.gateway.state
    }
}

pub(crate) fn on_single(program: PathBuf) -> Stand<Server> {
    let server = Server::start(&program, &[]);
    make_old(&server, "acme");
    make_old(&server, "other");
    Stand::new(Deployment::Single(address(&server)), server)
}

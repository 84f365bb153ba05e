//! A redis home over real servers, as the tests hold it.
//!
//! Not here: cases. Invariant: a home is handed out connected, over data that have been there for long, so that no
//! quarantine of a beginning is in the way.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_domain::{HotAnswer, Outage, TenantId, Timestamp, Ttl};
use aegis_state::{
    Ask, Clock, Deployment, Hold, HotState as _, RedisConfig, RedisState, Server as Address,
    TokenCheck,
};
use aegis_state_embedded::HoldNotes;
use aegis_testkit::hot::{Replicated, Server};
use tokio::runtime::Runtime;

use crate::conformance::{ask, is_granted, tenant_day};

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
        let runtime = runtime();
        Self { state: RedisState::open(config, runtime.handle().clone()).unwrap(), runtime }
    }

    /// Opens one that notes what it holds there; also what an earlier life had open.
    pub(crate) fn noting(config: RedisConfig, folder: &Path) -> (Self, Vec<Hold>) {
        let runtime = runtime();
        let (notes, left) = HoldNotes::open(folder).unwrap();
        let handle = runtime.handle().clone();
        let state = RedisState::open_noting(config, Arc::new(notes), handle).unwrap();
        let gateway = Self { state, runtime };
        gateway.wait_until_well();
        (gateway, left)
    }

    /// Proves that decisions are granted.
    pub(crate) fn grants_something(&self) {
        let answer = self.decide_now(live(ask(u64::from(std::process::id()) << 20)));
        assert!(is_granted(&answer), "{answer:?}");
    }

    /// Proves that a server that must not be believed never becomes the state.
    pub(crate) fn stays_unreachable(&self) {
        for n in 0..10 {
            let answer = self.decide_now(live(ask(n)));
            assert_eq!(answer, HotAnswer::Unanswered(Outage::Unreachable));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn decide_now(&self, ask: Ask) -> HotAnswer {
        self.run(self.state.decide(&ask))
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

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
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
    servers: S,
}

impl Stand<Server> {
    pub(crate) fn server(&self) -> &Server {
        &self.servers
    }
}

impl<S> Stand<S> {
    pub(crate) fn over(config: RedisConfig, servers: S) -> Self {
        Self { gateway: Gateway::open(config), servers }
    }
}

impl<S> Deref for Stand<S> {
    type Target = RedisState;
    fn deref(&self) -> &RedisState {
        &self.gateway.state
    }
}

/// A home whose time the tests bring.
pub(crate) fn simulated(deployment: Deployment) -> RedisConfig {
    RedisConfig { clock: Clock::Asked, ..patient(deployment) }
}

pub(crate) fn on_single(program: PathBuf) -> Stand<Server> {
    let server = Server::start(&program, &[]);
    make_old(&server, "acme");
    make_old(&server, "other");
    Stand::over(simulated(Deployment::Single(address(&server))), server)
}

pub(crate) fn sentinels(servers: &Replicated) -> Deployment {
    let sentinels = servers.sentinels.iter().map(address).collect();
    Deployment::Sentinel { sentinels, name: Replicated::NAME.to_owned(), login: None }
}

/// The time now, as a gateway tells it.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap())
}

/// An ask of this moment with a token issued now.
pub(crate) fn live(ask: Ask) -> Ask {
    let now = now();
    let token =
        TokenCheck { issued_at: Some(now), expires_at: now.plus(Ttl::from_s(300)), ..ask.token };
    Ask { now, token, ..ask }
}

/// What the tenant has spent and holds today, once the gateway has met the server: one that has just come back is not
/// met at once.
pub(crate) fn counted(gateway: &Gateway) -> (u64, u64) {
    let began = Instant::now();
    loop {
        match gateway.run(gateway.spend(&tenant_day(), now())) {
            Ok(spend) => return (spend.spent.micro_usd(), spend.held.micro_usd()),
            Err(error) => assert!(began.elapsed() < PATIENT, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for what must become so, with a bound that no sound run comes near.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! Makes connections, watches them, and makes new ones when they fail or the primary moves.
//!
//! Not here: sending calls (`link`). Invariant: a line is offered only after every connection of it answered within
//! the deadline of a call, and withdrawn within a second of its server falling silent.

use std::sync::Arc;
use std::time::Duration;

use aegis_domain::Secret;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::BoxStream;
use redis::aio::ConnectionLike as _;
use redis::cluster::ClusterClientBuilder;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo as _, Msg, RedisConnectionInfo, RedisResult, TlsCertificates,
};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::config::{Confirm, Deployment, Login, RedisConfig, RedisTls, Server};
use super::link::{Failure, Line, Link, Wire};
use super::sentinel::Sentinels;
use super::tenant::fit_primary;

/// What making a connection may take.
const CONNECT: Duration = Duration::from_millis(300);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);
/// How often a quiet line is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// What a probe may take: a busy server is not a dead one.
const PROBE: Duration = Duration::from_millis(150);
/// Probes in a row without an answer after which a line is given up.
const MISSES_MAX: u32 = 2;
/// How often the Sentinels are asked although they told nothing.
const ASK_EVERY: Duration = Duration::from_millis(1_000);
/// Commands that may wait for their turn on one connection.
const PIPELINE: usize = 1_024;

pub(super) struct Keeper {
    pub(super) config: Arc<RedisConfig>,
    pub(super) link: Arc<Link>,
    servers: Servers,
    number: u64,
}

enum Servers {
    One(Client),
    Sentinels(Sentinels, ConnectionInfo),
    Cluster(redis::cluster::ClusterClient),
}

impl Keeper {
    pub(super) fn new(config: Arc<RedisConfig>, link: Arc<Link>) -> RedisResult<Self> {
        if config.tls.is_some() {
            // Somebody else's choice of a provider is as good.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let (login, tls) = (config.login.as_ref(), config.tls.as_ref());
        let servers = match &config.deployment {
            Deployment::Single(server) => Servers::One(client(server, login, tls)?),
            Deployment::Sentinel { sentinels, name, login: own } => {
                let clients = sentinels.iter().map(|server| client(server, own.as_ref(), tls));
                let clients = clients.collect::<RedisResult<Vec<_>>>()?;
                let none = Server { host: "localhost".to_owned(), port: 0 };
                Servers::Sentinels(
                    Sentinels::new(clients, name.clone()),
                    connection_info(&none, login, tls)?,
                )
            }
            Deployment::Cluster(nodes) => Servers::Cluster(cluster(nodes, &config)?),
        };
        Ok(Self { config, link, servers, number: 0 })
    }

    /// Works until the task is aborted.
    pub(super) async fn run(mut self) {
        let mut is_reported = false;
        loop {
            match self.connect().await {
                Ok((line, primary)) => {
                    info!(line = line.number, "the shared state is connected");
                    is_reported = false;
                    let line = Arc::new(line);
                    self.link.set(Some(Arc::clone(&line)));
                    self.watch(&line, primary).await;
                    // The lines of a Cluster lead to many servers, and some of them may be well.
                    if !matches!(self.servers, Servers::Cluster(_)) {
                        self.link.set(None);
                    }
                    warn!(line = line.number, "the shared state must be connected anew");
                }
                Err(cause) => {
                    self.link.set(None);
                    if !std::mem::replace(&mut is_reported, true) {
                        warn!(%cause, "the shared state cannot be connected");
                    }
                }
            }
            sleep(RETRY).await;
        }
    }

    async fn connect(&mut self) -> Result<(Line, Option<Server>), Failure> {
        self.number += 1;
        let waiting = match self.config.confirm_once {
            Confirm::Never => 0,
            Confirm::OneReplica => self.config.connections,
        };
        let primary = match &self.servers {
            Servers::Sentinels(sentinels, _) => {
                Some(sentinels.primary().await.ok_or(Failure::NotConnected)?)
            }
            Servers::One(_) | Servers::Cluster(_) => None,
        };
        let dialling = join_all((0..self.config.connections + waiting).map(|_| {
            let wire = self.wire(primary.as_ref());
            async { timeout(CONNECT, wire).await.unwrap_or(Err(Failure::TimedOut(CONNECT))) }
        }));
        let wires = tokio::select! {
            wires = dialling => wires,
            () = self.has_moved(primary.as_ref()) => return Err(Failure::NotConnected),
        };
        let mut wires = wires.into_iter().collect::<Result<Vec<_>, _>>()?;
        for wire in &mut wires {
            ping(wire, self.config.deadline).await?;
        }
        let waiting = wires.split_off(self.config.connections.min(wires.len()));
        Ok((Line::new(self.number, wires, waiting), primary))
    }

    /// Returns once the Sentinels name another primary: one that was cut off is not waited for any longer.
    async fn has_moved(&self, primary: Option<&Server>) {
        let (Servers::Sentinels(sentinels, _), Some(primary)) = (&self.servers, primary) else {
            return std::future::pending().await;
        };
        loop {
            sleep(RETRY).await;
            if sentinels.primary().await.is_some_and(|named| named != *primary) {
                return;
            }
        }
    }

    async fn wire(&self, primary: Option<&Server>) -> Result<Wire, Failure> {
        match (&self.servers, primary) {
            (Servers::Cluster(client), _) => {
                Ok(Wire::Cluster(client.get_async_connection().await?))
            }
            (Servers::One(client), _) => direct(client).await,
            (Servers::Sentinels(_, info), Some(server)) => {
                let info = info.clone().set_addr(at(info.addr(), server));
                direct(&Client::open(info)?).await
            }
            (Servers::Sentinels(..), None) => Err(Failure::NotConnected),
        }
    }

    /// Returns when the line is of no use any more.
    async fn watch(&self, line: &Line, primary: Option<Server>) {
        let mut misses = 0;
        let mut news = self.news().await;
        let mut ask_at = Instant::now() + ASK_EVERY;
        loop {
            let mut is_told = false;
            tokio::select! {
                () = self.link.told.notified() => {}
                _ = news.next() => is_told = true,
                () = sleep(PROBE_EVERY) => {
                    misses = if answers(line).await { 0 } else { misses + 1 };
                }
            }
            if self.link.has_failed(line) || misses >= MISSES_MAX {
                return;
            }
            if let (Servers::Sentinels(sentinels, _), Some(primary)) = (&self.servers, &primary)
                && (is_told || Instant::now() >= ask_at)
            {
                ask_at = Instant::now() + ASK_EVERY;
                if sentinels.primary().await.is_some_and(|named| named != *primary) {
                    return;
                }
            }
        }
    }

    async fn news(&self) -> BoxStream<'static, Msg> {
        match &self.servers {
            Servers::Sentinels(sentinels, _) => sentinels.news().await,
            Servers::One(_) | Servers::Cluster(_) => futures::stream::pending().boxed(),
        }
    }
}

/// Whether every connection of a line to one server answers. Those of a Cluster lead to many, and the breaker of each
/// tenant watches its own.
async fn answers(line: &Line) -> bool {
    let pings = line.all().map(|wire| async {
        match wire.clone() {
            Wire::Direct(_) => ping(&mut wire.clone(), PROBE).await.is_ok(),
            Wire::Cluster(_) => true,
        }
    });
    join_all(pings).await.into_iter().all(|is_alive| is_alive)
}

async fn ping(wire: &mut Wire, within: Duration) -> Result<(), Failure> {
    let command = redis::cmd("PING");
    let answer = async {
        match wire {
            Wire::Direct(connection) => connection.req_packed_command(&command).await,
            Wire::Cluster(connection) => connection.req_packed_command(&command).await,
        }
    };
    match timeout(within, answer).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::TimedOut(within)),
    }
}

/// Connects to one server and makes sure that it may be written to.
async fn direct(client: &Client) -> Result<Wire, Failure> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
    fit_primary(&info)?;
    Ok(Wire::Direct(connection))
}

fn client(server: &Server, login: Option<&Login>, tls: Option<&RedisTls>) -> RedisResult<Client> {
    Client::open(connection_info(server, login, tls)?)
}

fn connection_info(
    server: &Server,
    login: Option<&Login>,
    tls: Option<&RedisTls>,
) -> RedisResult<ConnectionInfo> {
    let Server { host, port } = server.clone();
    let address = match tls {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    };
    let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(Login { username, password }) = login {
        settings = settings.set_password(password.expose());
        if let Some(username) = username {
            settings = settings.set_username(username);
        }
    }
    let info = address.into_connection_info()?;
    let info = info.set_tcp_settings(no_delay()).set_redis_settings(settings);
    match tls {
        None => Ok(info),
        Some(tls) => {
            let client = Client::build_with_tls(info, certificates(tls))?;
            Ok(client.get_connection_info().clone())
        }
    }
}

/// Another server, reached the same way.
fn at(address: &ConnectionAddr, server: &Server) -> ConnectionAddr {
    let Server { host, port } = server.clone();
    match address.clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

fn cluster(nodes: &[Server], config: &RedisConfig) -> RedisResult<redis::cluster::ClusterClient> {
    let (login, tls) = (config.login.as_ref(), config.tls.as_ref());
    let infos = nodes.iter().map(|node| connection_info(node, login, tls));
    let mut builder = ClusterClientBuilder::new(infos.collect::<RedisResult<Vec<_>>>()?)
        // One more try follows a moved slot; a call that is sent twice counts once.
        .retries(1)
        .connection_timeout(CONNECT)
        .response_timeout(config.deadline)
        .tcp_settings(no_delay());
    if let Some(Login { username, password }) = login {
        builder = builder.password(password.expose());
        if let Some(username) = username {
            builder = builder.username(username);
        }
    }
    if let Some(tls) = tls {
        builder = builder.tls(redis::cluster::TlsMode::Secure).certs(certificates(tls));
    }
    builder.build()
}

/// Small commands must not wait for their neighbours; the library's default is to let them.
fn no_delay() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn certificates(tls: &RedisTls) -> TlsCertificates {
    let client_tls = tls.client.as_ref().map(|(chain, key): &(Vec<u8>, Secret<Vec<u8>>)| {
        ClientTlsConfig { client_cert: chain.clone(), client_key: key.expose().clone() }
    });
    TlsCertificates { client_tls, root_cert: tls.ca.clone() }
}

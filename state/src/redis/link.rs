//! The live connections to the servers, and the one way a command is sent.
//!
//! Not here: making and watching connections (`keeper`), and what an answer means (`scripts`). Invariant: no command
//! waits for a connection: there is one, or there is an outage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aegis_domain::Outage;
use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, Slot, SlotAddr};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::Notify;

/// Why a command has no answer that counts.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no server is connected")]
    NotConnected,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("an answer has an unknown shape")]
    Shape,
    #[error("not what this gateway knows: {0}")]
    Lost(&'static str),
    #[error("the server cannot keep the state: {0}")]
    Unfit(&'static str),
    #[error("a single-use token may have been used before the servers changed")]
    Quarantined,
    #[error("no replica confirmed the token's use")]
    Unconfirmed,
}

impl Failure {
    pub(super) fn outage(&self) -> Outage {
        match self {
            Failure::NotConnected => Outage::Unreachable,
            Failure::TimedOut(_) => Outage::TimedOut,
            Failure::Redis(error) if error.is_timeout() => Outage::TimedOut,
            Failure::Redis(error) => match error.kind() {
                ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => Outage::Unreachable,
                _ => Outage::Storage,
            },
            Failure::Shape
            | Failure::Lost(_)
            | Failure::Unfit(_)
            | Failure::Quarantined
            | Failure::Unconfirmed => Outage::Storage,
        }
    }

    pub(super) fn is_no_script(&self) -> bool {
        matches!(self, Failure::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }

    /// Whether another connection may do better: this one is broken, or its server is not the one to write to.
    pub(super) fn wants_another_server(&self) -> bool {
        let error = match self {
            Failure::Redis(error) => error,
            Failure::Unfit(_) => return true,
            _ => return false,
        };
        match error.kind() {
            ErrorKind::Io => !error.is_timeout(),
            ErrorKind::ClusterConnectionNotFound => true,
            ErrorKind::Server(kind) => matches!(
                kind,
                ServerErrorKind::ReadOnly
                    | ServerErrorKind::BusyLoading
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ClusterDown
            ),
            _ => false,
        }
    }

    /// Whether the command may have been carried out all the same.
    pub(super) fn is_doubt(&self) -> bool {
        match self {
            Failure::Redis(error) => !matches!(error.kind(), ErrorKind::Server(_)),
            Failure::TimedOut(_) | Failure::Shape | Failure::Unconfirmed => true,
            Failure::NotConnected | Failure::Lost(_) | Failure::Unfit(_) | Failure::Quarantined => {
                false
            }
        }
    }

    /// Whether the servers did not do their part in time: what a breaker counts.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self.outage(), Outage::TimedOut | Outage::Unreachable)
    }
}

/// One connection.
#[derive(Clone)]
pub(super) enum Wire {
    Direct(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Wire {
    /// Sends one command to the primary of the slot.
    pub(super) async fn send(&self, command: Cmd, slot: Slot) -> RedisResult<Value> {
        match self.clone() {
            Wire::Direct(mut connection) => connection.send_packed_command(&command).await,
            Wire::Cluster(mut connection) => {
                let route = RoutingInfo::SingleNode(primary_of(slot));
                connection.route_command(command, route).await
            }
        }
        .and_then(Value::extract_error)
    }

    /// Sends commands that must reach the same server one after the other, in one trip.
    pub(super) async fn send_all(&self, commands: Pipeline, slot: Slot) -> RedisResult<Vec<Value>> {
        let count = commands.len();
        let replies = match self.clone() {
            Wire::Direct(mut connection) => {
                connection.send_packed_commands(&commands, 0, count).await?
            }
            Wire::Cluster(mut connection) => {
                connection.route_pipeline(commands, 0, count, primary_of(slot)).await?
            }
        };
        replies.into_iter().map(Value::extract_error).collect()
    }
}

fn primary_of(slot: Slot) -> SingleNodeRoutingInfo {
    SingleNodeRoutingInfo::SpecificNode(Route::with_slot(slot, SlotAddr::Master))
}

/// Connections made together to the same server or Cluster.
pub(super) struct Line {
    /// Grows with every line, so that what was learnt over an old one is not believed of a new one.
    pub(super) number: u64,
    wires: Vec<Wire>,
    /// Where commands wait for replicas: a waiting connection holds up all that follows on it.
    waiting: Vec<Wire>,
    next: AtomicUsize,
}

impl Line {
    pub(super) fn new(number: u64, wires: Vec<Wire>, waiting: Vec<Wire>) -> Self {
        Self { number, wires, waiting, next: AtomicUsize::new(0) }
    }

    pub(super) fn wire(&self) -> Result<&Wire, Failure> {
        self.one_of(&self.wires)
    }

    pub(super) fn waiting(&self) -> Result<&Wire, Failure> {
        self.one_of(&self.waiting)
    }

    fn one_of<'a>(&self, wires: &'a [Wire]) -> Result<&'a Wire, Failure> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(wires.len());
        turn.and_then(|nth| wires.get(nth)).ok_or(Failure::NotConnected)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Wire> {
        self.wires.iter().chain(&self.waiting)
    }
}

/// Where the line of the moment is found.
#[derive(Default)]
pub(super) struct Link {
    line: ArcSwapOption<Line>,
    /// The number of the last line that somebody found wanting.
    failed: AtomicU64,
    pub(super) told: Notify,
}

impl Link {
    pub(super) fn line(&self) -> Result<Arc<Line>, Failure> {
        self.line.load_full().ok_or(Failure::NotConnected)
    }

    pub(super) fn set(&self, line: Option<Arc<Line>>) {
        self.line.store(line);
    }

    /// Asks for another line in the place of this one.
    pub(super) fn fail(&self, line: &Line) {
        self.failed.fetch_max(line.number, Ordering::Relaxed);
        self.told.notify_one();
    }

    pub(super) fn has_failed(&self, line: &Line) -> bool {
        self.failed.load(Ordering::Relaxed) >= line.number
    }
}

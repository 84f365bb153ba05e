//! The way to other voters: connections that are kept, and Raft's messages over them.
//!
//! Not here: what arrives (`server`). Invariant: a connection on which a question got no answer is never used again.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{
    Fatal as RaftFatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError,
    Unreachable,
};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frame::{self, FrameError, TAIL_BYTES_MAX};
use super::message::{Envelope, Request, Response};
use super::tls::{Current, Tls, identity};
use crate::disk::Identity;
use crate::state::Shared;
use crate::types::{Snapshot, Types, Vote};

/// How many connections to a voter wait for use.
const IDLE_MAX: usize = 4;
/// For how long they do: the other side ends one that says nothing for a minute.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Why a voter did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("this voter has no credentials to speak to others with")]
    Alone,
    #[error("the voter cannot be reached")]
    Dial(#[source] std::io::Error),
    #[error("who answered is not the voter that was asked for")]
    Stranger,
    #[error("the voter did not answer in time")]
    Silent,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the voter could not do it: {0}")]
    Failed(String),
    #[error("the voter says that this one was taken out")]
    Dismissed,
    #[error("the voter answered another question")]
    Answer,
}

type Connection = TlsStream<TcpStream>;

/// How other voters are reached.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// There are none.
    Alone,
    Tls(Current),
    #[cfg(test)]
    Simulated(crate::tests::sim::Network),
}

/// The other voters, as this one reaches them.
#[derive(Clone, Debug)]
pub(crate) struct Peers(Arc<Inner>);

/// Connections that wait for use, by voter and address, with the time of their last answer.
type Idle = BTreeMap<(u64, String), Vec<(Instant, Connection)>>;

#[derive(Debug)]
struct Inner {
    own: Identity,
    way: Way,
    shared: Arc<Shared>,
    idle: Mutex<Idle>,
}

impl Peers {
    pub(crate) fn new(own: Identity, way: Way, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner { own, way, shared, idle: Mutex::default() }))
    }

    /// Asks a voter and waits for its answer; whoever calls bounds the time.
    pub(crate) async fn ask(
        &self,
        (to, address): (u64, &str),
        request: Request,
        tail: &[u8],
    ) -> Result<Response, PeerError> {
        let envelope = Envelope {
            cluster: self.0.own.cluster.clone(),
            from: self.0.own.node,
            to,
            checkpoint: self.0.shared.checkpoint(),
            request,
        };
        let answered = match &self.0.way {
            Way::Alone => Err(PeerError::Alone),
            Way::Tls(tls) => self.ask_over(&tls.get(), address, &envelope, tail).await,
            #[cfg(test)]
            Way::Simulated(network) => network.carry(envelope, tail.to_vec()).await,
        };
        let response = answered?;
        if matches!(response, Response::Dismissed) {
            self.0.shared.note_dismissed();
            return Err(PeerError::Dismissed);
        }
        let Response::Failed(what) = response else { return Ok(response) };
        Err(PeerError::Failed(what))
    }

    async fn ask_over(
        &self,
        tls: &Tls,
        address: &str,
        envelope: &Envelope,
        tail: &[u8],
    ) -> Result<Response, PeerError> {
        let place = (envelope.to, address.to_owned());
        let idle = self.idle(&place);
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.dial(tls, envelope.to, address).await?,
        };
        let answered = exchange(&mut connection, envelope, tail).await;
        let mut idle = self.0.idle.lock();
        match answered {
            Ok(response) => {
                let kept = idle.entry(place).or_default();
                if kept.len() < IDLE_MAX {
                    kept.push((Instant::now(), connection));
                }
                Ok(response)
            }
            Err(error) => {
                // The others are as old as this one, and what broke it broke them.
                idle.remove(&place);
                Err(error.into())
            }
        }
    }

    fn idle(&self, place: &(u64, String)) -> Option<Connection> {
        let mut idle = self.0.idle.lock();
        let (since, connection) = idle.get_mut(place)?.pop()?;
        if since.elapsed() < IDLE_FOR {
            return Some(connection);
        }
        // The others wait longer still.
        idle.remove(place);
        None
    }

    /// Dials anew from now on.
    pub(crate) fn forget(&self) {
        self.0.idle.lock().clear();
    }

    async fn dial(&self, tls: &Tls, to: u64, address: &str) -> Result<Connection, PeerError> {
        let stream = TcpStream::connect(address).await.map_err(PeerError::Dial)?;
        stream.set_nodelay(true).map_err(PeerError::Dial)?;
        // The name is not looked at: a voter is named by a URI, which is compared below.
        let name = ServerName::try_from("voter.invalid").map_err(|_| PeerError::Stranger)?;
        let connector = TlsConnector::from(Arc::clone(&tls.client));
        let connection = connector.connect(name, stream).await.map_err(PeerError::Dial)?;
        let wanted = Identity { cluster: self.0.own.cluster.clone(), node: to };
        let named = connection.get_ref().1.peer_certificates().and_then(identity);
        if named == Some(wanted) { Ok(connection) } else { Err(PeerError::Stranger) }
    }
}

async fn exchange(
    connection: &mut Connection,
    envelope: &Envelope,
    tail: &[u8],
) -> Result<Response, FrameError> {
    frame::send(connection, envelope, tail).await?;
    Ok(frame::receive(connection).await?.0)
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        Peer { peers: self.clone(), target, address: node.addr.clone() }
    }
}

/// One other voter.
#[derive(Debug)]
pub(crate) struct Peer {
    peers: Peers,
    target: u64,
    address: String,
}

type RpcError = RPCError<u64, BasicNode, RaftError<u64>>;

fn unreached(error: &PeerError) -> RpcError {
    match error {
        // An idle connection that the other side closed: the next try dials anew.
        PeerError::Frame(_) => RPCError::Network(NetworkError::new(error)),
        PeerError::Alone
        | PeerError::Dial(_)
        | PeerError::Stranger
        | PeerError::Silent
        | PeerError::Failed(_)
        | PeerError::Dismissed
        | PeerError::Answer => RPCError::Unreachable(Unreachable::new(error)),
    }
}

impl Peer {
    async fn ask(&self, request: Request, tail: &[u8]) -> Result<Response, PeerError> {
        self.peers.ask((self.target, &self.address), request, tail).await
    }

    /// The same, for a question whose time nobody else bounds.
    async fn ask_within(
        &self,
        max: Duration,
        request: Request,
        tail: &[u8],
    ) -> Result<Response, PeerError> {
        timeout(max, self.ask(request, tail)).await.unwrap_or(Err(PeerError::Silent))
    }

    /// Brings over what is missing of a snapshot and has it installed; `max` is for each step of it. Raft itself waits for
    /// ever, and sends the voter nothing else in the meantime.
    async fn bring(
        &self,
        vote: Vote,
        snapshot: &Snapshot,
        max: Duration,
    ) -> Result<SnapshotResponse<u64>, PeerError> {
        let image = snapshot.snapshot.0.as_slice();
        let digest = Sha256::digest(image).into();
        let bytes = u64::try_from(image.len()).unwrap_or(u64::MAX);
        let mut answer = self.ask_within(max, Request::Offer { digest, bytes }, &[]).await?;
        loop {
            let Response::Held(from) = answer else { return Err(PeerError::Answer) };
            let start = usize::try_from(from).unwrap_or(usize::MAX);
            let rest = image.get(start..).ok_or(PeerError::Answer)?;
            let piece = rest.get(..TAIL_BYTES_MAX).unwrap_or(rest);
            if piece.is_empty() {
                break;
            }
            answer = self.ask_within(max, Request::Piece { digest, from }, piece).await?;
            if matches!(answer, Response::Held(held) if held <= from) {
                return Err(PeerError::Answer);
            }
        }
        let meta = Box::new(snapshot.meta.clone());
        let answer = self.ask_within(max, Request::Install { vote, meta, digest }, &[]).await?;
        let Response::Installed(response) = answer else { return Err(PeerError::Answer) };
        Ok(response)
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        match self.ask(Request::Append(rpc), &[]).await {
            Ok(Response::Append(response)) => Ok(response),
            Ok(_) => Err(unreached(&PeerError::Answer)),
            Err(error) => Err(unreached(&error)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        match self.ask(Request::Vote(rpc), &[]).await {
            Ok(Response::Vote(response)) => Ok(response),
            Ok(_) => Err(unreached(&PeerError::Answer)),
            Err(error) => Err(unreached(&error)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, RaftFatal<u64>>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            brought = self.bring(vote, &snapshot, option.hard_ttl()) => {
                brought.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
            }
        }
    }
}

//! What other voters ask of this one.
//!
//! Not here: asking them (`peers`). Invariant: a question is answered only if its sender's certificate names the node it
//! claims to be, and that node was not dismissed.

use std::sync::Arc;
use std::time::Duration;

use aegis_ledger::{Action, VoterAct};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use super::frame;
use super::incoming::Incoming;
use super::message::{Envelope, Request, Response, Wrong};
use super::peers::Peers;
use super::tls::{Current, identity};
use crate::disk::{Fatal, Identity, OnFatal};
use crate::host::now;
use crate::members::Members;
use crate::reads::Reads;
use crate::state::{Agreement, Shared};
use crate::talk::Slot;
use crate::types::{Image, Raft, Snapshot, Types};

/// Five voters with some connections each, and room for those that are about to close.
const CONNECTIONS_MAX: usize = 256;
/// Connections that have not shown a certificate yet: whoever has none takes no room from those that were let in.
const HANDSHAKES_MAX: usize = 64;
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long nothing may come over a connection, or a message may take. Who asks lets go of its own before (`peers`).
const IDLE_MAX: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) own: Identity,
    pub(crate) raft: Raft,
    pub(crate) shared: Arc<Shared>,
    pub(crate) peers: Peers,
    pub(crate) reads: Reads,
    pub(crate) answers: Slot,
    pub(crate) within: Duration,
    pub(crate) on_fatal: OnFatal,
    pub(crate) incoming: Arc<Mutex<Incoming>>,
}

impl Server {
    /// Answers until it is dropped.
    pub(crate) async fn run(self, listener: TcpListener, tls: Current) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, from)) => {
                    let Ok(begins) = Arc::clone(&handshakes).try_acquire_owned() else { continue };
                    let acceptor = TlsAcceptor::from(tls.get().server);
                    let (served, room) = (self.clone(), Arc::clone(&room));
                    connections.spawn(async move {
                        let ended = served.serve(stream, acceptor, (begins, room)).await;
                        ended.unwrap_or_else(|error| warn!(%from, %error, "a voter was cut off"));
                    });
                }
                Err(error) => {
                    warn!(%error, "a voter's connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(
        self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        (begins, room): (OwnedSemaphorePermit, Arc<Semaphore>),
    ) -> Result<(), std::io::Error> {
        stream.set_nodelay(true)?;
        let mut stream = timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await??;
        let Some(peer) = stream.get_ref().1.peer_certificates().and_then(identity) else {
            return Err(std::io::Error::other("its certificate names no voter"));
        };
        let Ok(_permit) = room.try_acquire_owned() else {
            return Err(std::io::Error::other("there are too many connections of voters"));
        };
        drop(begins);
        loop {
            let received = timeout(IDLE_MAX, frame::receive::<_, Envelope>(&mut stream)).await;
            let Ok(Ok((envelope, tail))) = received else {
                // It went away, which connections do, or nobody needs it.
                return Ok(());
            };
            let answer = self.take(envelope, &tail, &peer).await;
            let wrong = answer.as_ref().err().copied();
            let answer = answer.unwrap_or_else(Response::from);
            let sent = timeout(IDLE_MAX, frame::send(&mut stream, &answer, &[])).await?;
            sent.map_err(std::io::Error::other)?;
            if let Some(wrong) = wrong {
                return Err(std::io::Error::other(wrong));
            }
        }
    }

    /// Answers a message of a peer whose certificate names it, or says why nothing more is taken from it.
    pub(crate) async fn take(
        &self,
        envelope: Envelope,
        tail: &[u8],
        peer: &Identity,
    ) -> Result<Response, Wrong> {
        if let Some(wrong) = self.refusal(&envelope, peer) {
            return Err(wrong);
        }
        if let Some(theirs) = envelope.checkpoint {
            match self.shared.compare(envelope.from, theirs) {
                Agreement::Same => {}
                Agreement::Diverged => {
                    (self.on_fatal)(&Fatal::Diverged { index: theirs.index });
                    return Err(Wrong::State);
                }
                // There is no majority to be found out, so a leader's state is the one to have.
                Agreement::Undecided
                    if matches!(envelope.request, Request::Append(_))
                        && !self.shared.can_be_settled() =>
                {
                    (self.on_fatal)(&Fatal::Diverged { index: theirs.index });
                    return Err(Wrong::State);
                }
                // Nobody is followed who may be wrong; those that agree elect another.
                Agreement::Undecided if wants_to_lead(&envelope.request) => {
                    return Err(Wrong::State);
                }
                Agreement::Undecided => {}
            }
        }
        self.hear(envelope.from, &envelope.request);
        Ok(self.answer(envelope.request, tail).await)
    }

    /// What a voter says of itself counts before the ledger knows it: where its clock is missed, the ledger learns nothing more.
    fn hear(&self, from: u64, request: &Request) {
        let Request::Propose(commands) = request else { return };
        for command in commands {
            if let Action::Voter(VoterAct::Reads { id, level }) = &command.action
                && *id == from
            {
                self.shared.clocks().note_level(from, *level);
            }
        }
    }

    fn refusal(&self, envelope: &Envelope, peer: &Identity) -> Option<Wrong> {
        if peer.cluster != self.own.cluster || envelope.cluster != self.own.cluster {
            return Some(Wrong::Cluster);
        }
        if envelope.from != peer.node {
            return Some(Wrong::Certificate);
        }
        if envelope.to != self.own.node {
            return Some(Wrong::Meant);
        }
        self.shared.ledger().voters().was_dismissed(peer.node).then_some(Wrong::Dismissed)
    }

    async fn answer(&self, request: Request, tail: &[u8]) -> Response {
        let failed = |error: &dyn std::error::Error| Response::Failed(error.to_string());
        match request {
            Request::Append(rpc) if !follows(&rpc) => {
                Response::Failed("the entries leave some out".into())
            }
            Request::Append(rpc) => match self.raft.append_entries(rpc).await {
                Ok(response) => {
                    if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                        self.shared.note_led();
                    }
                    Response::Append(response)
                }
                Err(error) => failed(&error),
            },
            Request::Vote(rpc) => match self.raft.vote(rpc).await {
                Ok(response) => Response::Vote(response),
                Err(error) => failed(&error),
            },
            Request::Offer { digest, bytes } => match self.incoming.lock().offer(digest, bytes) {
                Some(held) => Response::Held(held),
                None => Response::Failed("the snapshot is too large".into()),
            },
            Request::Piece { digest, from } => {
                Response::Held(self.incoming.lock().piece(digest, from, tail))
            }
            Request::Install { vote, meta, digest } => {
                let Some(whole) = self.incoming.lock().take(digest) else {
                    return Response::Failed("the snapshot is not whole".into());
                };
                let snapshot = Snapshot { meta: *meta, snapshot: Box::new(Image(whole)) };
                match self.raft.install_full_snapshot(vote, snapshot).await {
                    Ok(response) => Response::Installed(response),
                    Err(error) => failed(&error),
                }
            }
            // Its sender asks again, of whoever leads then.
            Request::Propose(_) if self.shared.is_handing_over() => {
                Response::Failed("another voter is about to lead".into())
            }
            Request::Propose(commands) => {
                let Some(at) = self.shared.time(self.own.node) else {
                    return Response::Failed("too few voters' clocks are known".into());
                };
                let batch = aegis_ledger::Batch { at, commands };
                match self.raft.client_write(batch).await {
                    Ok(_) => Response::Proposed,
                    Err(error) => failed(&error),
                }
            }
            Request::Members(act) => {
                let Self { raft, shared, peers, within, .. } = self;
                let desk = Members { raft, shared, peers, within: *within };
                match desk.act(act).await {
                    Ok(()) => Response::Done,
                    Err(error) => failed(&error),
                }
            }
            Request::ReadIndex => match self.reads.index().await {
                Ok(index) => Response::ReadIndex(index),
                Err(error) => failed(&error),
            },
            Request::Clock => Response::Clock(now().unix_ns()),
            Request::Ask(question) => match self.answers.get() {
                Some(answers) => Response::Said(answers.answer(&question)),
                None => Response::Failed("nobody answers here".into()),
            },
        }
    }
}

fn wants_to_lead(request: &Request) -> bool {
    match request {
        Request::Append(_) | Request::Vote(_) | Request::Install { .. } => true,
        Request::Offer { .. }
        | Request::Piece { .. }
        | Request::Propose(_)
        | Request::Members(_)
        | Request::ReadIndex
        | Request::Ask(_)
        | Request::Clock => false,
    }
}

/// Whether the entries stand one after the other behind the one that is said to be before them. openraft takes them on trust.
pub(crate) fn follows(append: &AppendEntriesRequest<Types>) -> bool {
    let mut before = append.prev_log_id.map(|id| id.index);
    append.entries.iter().all(|entry| {
        let next = before.map_or(Some(0), |before| before.checked_add(1));
        before = Some(entry.log_id.index);
        before == next
    })
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, EntryPayload};

    use super::*;
    use crate::types::{Entry, LogId};

    fn id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1, 1), index)
    }

    fn append(before: Option<u64>, entries: &[u64]) -> AppendEntriesRequest<Types> {
        let entry = |index: &u64| Entry { log_id: id(*index), payload: EntryPayload::Blank };
        AppendEntriesRequest {
            vote: openraft::Vote::new_committed(1, 1),
            prev_log_id: before.map(id),
            entries: entries.iter().map(entry).collect(),
            leader_commit: None,
        }
    }

    #[test]
    fn entries_follow_on_what_they_are_said_to_follow_and_on_each_other() {
        for (before, entries) in
            [(None, &[][..]), (None, &[0, 1]), (Some(4), &[]), (Some(4), &[5, 6])]
        {
            assert!(follows(&append(before, entries)), "{before:?} {entries:?}");
        }
        for (before, entries) in [
            (None, &[1][..]),
            (Some(4), &[6]),
            (Some(4), &[4]),
            (Some(4), &[5, 7]),
            (Some(4), &[5, 5]),
            (Some(u64::MAX), &[0]),
        ] {
            assert!(!follows(&append(before, entries)), "{before:?} {entries:?}");
        }
    }
}

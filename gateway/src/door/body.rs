//! The request body as it waits on the connection, read whole and within bounds.
//!
//! Not here: its framing (`gate`) and what it says (`rooms::read`). Invariant: after half a body the connection carries no
//! further call.

use std::sync::Arc;
use std::time::Duration;

use aegis_domain::Reason;
use async_trait::async_trait;
use bytes::BytesMut;
use http::header::{EXPECT, UPGRADE};
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use aegis_corridor::BodySource;
use aegis_corridor::context::Received;

/// The request body as it waits on the connection.
pub(super) struct DownstreamBody<'a> {
    pub(super) session: &'a mut ServerSession,
    /// What all bodies in memory may take together.
    pub(super) room: &'a Arc<Semaphore>,
}

#[async_trait]
impl BodySource for DownstreamBody<'_> {
    async fn read_whole(
        &mut self,
        bytes_max: usize,
        deadline: Duration,
    ) -> Result<Received, Reason> {
        let announced = self.session.get_header("content-length");
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > bytes_max) {
            return Err(self.gave_up(Reason::BodyTooLarge));
        }
        let is_handshake = self.session.get_header(UPGRADE).is_some();
        if is_handshake || self.session.is_body_empty() {
            return Ok(Received::default());
        }
        if self.session.get_header(EXPECT).is_some() {
            self.session.write_continue_response().await.map_err(|_| Reason::AgentGone)?;
        }
        match timeout_at(Instant::now() + deadline, self.pieces(bytes_max)).await {
            Ok(Ok(received)) => Ok(received),
            Ok(Err(reason)) => Err(self.gave_up(reason)),
            Err(_) => Err(self.gave_up(Reason::RequestTimeout)),
        }
    }
}

impl DownstreamBody<'_> {
    async fn pieces(&mut self, bytes_max: usize) -> Result<Received, Reason> {
        let mut whole = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(piece) = self.session.read_request_body().await.map_err(|e| broken(&e))? {
            if whole.len().saturating_add(piece.len()) > bytes_max {
                return Err(Reason::BodyTooLarge);
            }
            let bytes = u32::try_from(piece.len()).map_err(|_| Reason::BodyTooLarge)?;
            let more = Arc::clone(self.room).acquire_many_owned(bytes).await;
            let more = more.map_err(|_| Reason::Unavailable)?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Received { bytes: whole.freeze(), room })
    }

    /// After half a body the connection can carry no further call.
    fn gave_up(&mut self, reason: Reason) -> Reason {
        self.session.set_keepalive(None);
        reason
    }
}

/// What the gate says of a body that could not be read on, if that is why.
pub(super) fn refused(error: &Error) -> Option<Reason> {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    match (error.root_etype(), cause.map(std::io::Error::kind)) {
        (ErrorType::ReadError, Some(std::io::ErrorKind::InvalidData)) => {
            Some(Reason::MalformedRequest)
        }
        (ErrorType::ReadError, Some(std::io::ErrorKind::TimedOut)) => Some(Reason::RequestTimeout),
        (_, _) => None,
    }
}

fn broken(error: &Error) -> Reason {
    refused(error).unwrap_or_else(|| match error.etype() {
        ErrorType::ReadError | ErrorType::ConnectionClosed => Reason::AgentGone,
        ErrorType::ReadTimedout => Reason::RequestTimeout,
        _ => Reason::MalformedRequest,
    })
}

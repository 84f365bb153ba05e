//! Room 7: the outcome is recorded and the hold becomes the real cost, however the call ended.
//!
//! Not here: prices (`decide::price`). Invariant: an outcome is durable before its hold is settled, so that a restart
//! finds either both or a hold it can settle from the record; a settlement that is dropped settles all the same.

use std::sync::Arc;

use aegis_decide::{Progress, Usage, UsageReader};
use aegis_domain::{DecisionId, MicroUsd, Reason};
use aegis_state::Hold;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::Corridor;
use crate::clock;
use crate::context::{CallContext, Stopwatch};
use crate::drain::Underway;
use crate::rooms::seal::{self, Outcome, Sealed};
use aegis_config::ToolBinding;

/// How a forwarded call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    Failed(Reason),
}

/// Watches one forwarded call until it is settled.
pub struct Settlement {
    corridor: Arc<Corridor>,
    open: Option<Open>,
}

struct Open {
    id: DecisionId,
    sealed: Sealed,
    /// `None` for a read that went on without hot state.
    hold: Option<Hold>,
    binding: Arc<ToolBinding>,
    clock: Stopwatch,
    watched: Watched,
    underway: Underway,
}

/// What passed by.
#[derive(Default)]
struct Watched {
    is_sent: bool,
    status: Option<u16>,
    body_bytes: u64,
    sent_bytes: Option<u64>,
    is_complete: bool,
    usage: Option<UsageReader>,
}

impl Settlement {
    /// Takes over a call that is about to be forwarded.
    pub fn begin(corridor: &Arc<Corridor>, call: &mut CallContext) -> Option<Self> {
        let read = call.read.as_ref()?;
        let open = Open {
            id: call.id,
            sealed: call.sealed.as_ref()?.sealed.clone(),
            hold: call.hold.take(),
            binding: Arc::clone(&read.binding),
            clock: Stopwatch::start(),
            watched: Watched::default(),
            underway: corridor.drain.underway(),
        };
        Some(Self { corridor: Arc::clone(corridor), open: Some(open) })
    }

    /// From here on the upstream may have seen the call.
    pub fn sent(&mut self) {
        if let Some(open) = &mut self.open {
            open.watched.is_sent = true;
        }
    }

    pub fn answered(&mut self, status: u16, headers: &HeaderMap) {
        let Some(open) = &mut self.open else { return };
        open.watched.status = Some(status);
        if matches!(open.binding.price, aegis_decide::Price::PerToken(_)) {
            let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            open.watched.usage = Some(UsageReader::new(content_type));
        }
    }

    pub fn body(&mut self, piece: &[u8], end_of_stream: bool) {
        let Some(Open { watched, .. }) = &mut self.open else { return };
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        watched.body_bytes = watched.body_bytes.saturating_add(bytes);
        watched.is_complete |= end_of_stream;
        if let Some(usage) = &mut watched.usage {
            usage.feed(piece);
        }
    }

    /// What an unopened tunnel carried, upstream and back.
    pub fn carried(&mut self, sent_bytes: u64, received_bytes: u64) {
        let Some(Open { watched, .. }) = &mut self.open else { return };
        watched.sent_bytes = Some(sent_bytes);
        watched.body_bytes = received_bytes;
    }

    pub fn finish(mut self, end: End) {
        self.close(end);
    }

    fn close(&mut self, end: End) {
        let Some(open) = self.open.take() else { return };
        let corridor = Arc::clone(&self.corridor);
        // On the control runtime, which outlives those that move bytes.
        let runtime = corridor.control.clone();
        drop(runtime.spawn(settle(corridor, open, end)));
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.close(End::Failed(Reason::AgentGone));
    }
}

async fn settle(corridor: Arc<Corridor>, mut open: Open, end: End) {
    let watched = &mut open.watched;
    let usage = watched.usage.as_mut().and_then(UsageReader::usage);
    let progress = progress(watched, end, usage);
    let estimate = open.hold.as_ref().map_or(MicroUsd::ZERO, |hold| hold.estimate);
    let cost = open.binding.price.actual(progress, estimate);
    let outcome = Outcome {
        id: open.id,
        estimate,
        reason: match end {
            End::Complete => Reason::Allowed,
            End::Failed(reason) => reason,
        },
        status: watched.status,
        body_bytes: watched.body_bytes,
        sent_bytes: watched.sent_bytes,
        cost,
        usage,
        duration_us: open.clock.total_us(),
    };
    match seal::outcome(&corridor, &open.sealed, &outcome).await {
        Ok(()) => {
            if let Some(hold) = &open.hold {
                charge(&corridor, hold, cost).await;
            }
        }
        // Unrecorded outcomes keep their hold: it expires at the estimate, the safe side.
        Err(error) => {
            tracing::error!(decision = %open.id, %error, "an outcome could not be recorded")
        }
    }
    drop(open.underway);
}

fn progress(watched: &Watched, end: End, usage: Option<Usage>) -> Progress {
    match (watched.status, end) {
        _ if !watched.is_sent => Progress::NotSent,
        (Some(status), _) if status >= 400 => Progress::Refused,
        (Some(_), End::Complete) => Progress::Answered(usage),
        // Half a stream may have been billed whole, unless its usage was already told.
        (Some(_), End::Failed(_)) if watched.is_complete => Progress::Answered(usage),
        (Some(_), End::Failed(_)) => Progress::Unknown(None),
        (None, End::Complete | End::Failed(_)) => Progress::Unknown(None),
    }
}

async fn charge(corridor: &Corridor, hold: &Hold, cost: MicroUsd) {
    if let Err(error) = corridor.state.settle(hold, cost, clock::now()).await {
        tracing::error!(decision = %hold.id, %error, "a hold could not be settled");
    }
}

/// Gives back what a refused call held.
pub async fn release(corridor: &Corridor, hold: &Hold) {
    if let Err(error) = corridor.state.release(hold, clock::now()).await {
        tracing::error!(decision = %hold.id, %error, "a hold could not be released");
    }
}

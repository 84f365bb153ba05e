//! Room 7: the outcome is recorded and the hold becomes the real cost, however the call ended.
//!
//! Not here: prices (`decide::price`). Invariant: an outcome is durable before its hold is settled, so that a restart
//! finds either both or a hold it can settle from the record; a settlement that is dropped settles all the same.

use std::sync::Arc;

use aegis_decide::{Price, Progress, Usage, UsageReader};
use aegis_domain::{DecisionId, MicroUsd, Reason};
use aegis_state::Hold;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::Corridor;
use crate::clock;
use crate::context::{CallContext, Stopwatch};
use crate::drain::Underway;
use crate::rooms::overrun::Overrun;
use crate::rooms::seal::{self, Outcome, Sealed};
use aegis_config::ToolBinding;

pub use crate::rooms::overrun::Flow;

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
    /// Of an answer that tells what it uses while it goes on.
    overrun: Option<Overrun>,
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
        let Price::PerToken(price) = &open.binding.price else { return };
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let usage = UsageReader::new(content_type);
        if let Some(hold) = open.hold.as_ref().filter(|_| usage.tells_on_the_way()) {
            let home = (Arc::clone(&self.corridor.state), self.corridor.control.clone());
            open.watched.overrun = Some(Overrun::new(home, hold.clone(), price.clone()));
        }
        open.watched.usage = Some(usage);
    }

    /// Whether the answer may have to end early.
    pub fn is_limited(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.watched.overrun.is_some())
    }

    /// Looks at a piece of the answer before it passes; no other may follow one that did not pass whole.
    pub fn body(&mut self, piece: &[u8], end_of_stream: bool) -> Flow {
        let Some(Open { watched, .. }) = &mut self.open else { return Flow::On };
        let flow = match &mut watched.overrun {
            // What is over anyway is not ended.
            Some(overrun) if !end_of_stream => overrun.piece(piece),
            Some(_) | None => Flow::On,
        };
        let passes = match flow {
            Flow::On => piece,
            Flow::EndsAfter(bytes) => piece.get(..bytes).unwrap_or(piece),
            Flow::Breaks => &[],
        };
        let bytes = u64::try_from(passes.len()).unwrap_or(u64::MAX);
        watched.body_bytes = watched.body_bytes.saturating_add(bytes);
        watched.is_complete |= end_of_stream;
        if let Some(usage) = &mut watched.usage {
            usage.feed(passes);
            if let (Some(overrun), Some(used)) = (&mut watched.overrun, usage.told()) {
                overrun.used(used);
            }
        }
        flow
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
    let held = match watched.overrun.take() {
        Some(overrun) => overrun.held().await,
        None => estimate,
    };
    let cost = open.binding.price.actual(progress, held);
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
    match seal::outcome(&corridor.journal, &open.sealed, &outcome).await {
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
        (Some(_), End::Failed(_)) => Progress::Unknown(usage),
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

//! A call that was let through, and whose record was not on disk in time: it is refused, and put on record as never sent.
//!
//! Not here: calls that left (`settle`). Invariant: its hold is given back only once the log says that it was not sent, so that the
//! state and the log tell the same of it, also after a restart.

use std::sync::Arc;

use aegis_domain::{Decision, MicroUsd, Reason};

use crate::Corridor;
use crate::clock;
use crate::context::CallContext;
use crate::rooms::seal::{self, Outcome, Sealed};

/// Writes down that a call was not sent, once the disk takes that; nobody waits for it.
pub(super) fn settle(
    corridor: &Corridor,
    ctx: &mut CallContext,
    (decision, sealed): (&Decision, Sealed),
) {
    let hold = ctx.hold.take();
    let outcome = Outcome {
        id: decision.id,
        estimate: hold.as_ref().map_or(MicroUsd::ZERO, |hold| hold.estimate),
        reason: Reason::AuditUnavailable,
        status: None,
        body_bytes: 0,
        sent_bytes: None,
        cost: MicroUsd::ZERO,
        usage: None,
        duration_us: ctx.clock.total_us(),
    };
    let (journal, state) = (Arc::clone(&corridor.journal), Arc::clone(&corridor.state));
    let underway = corridor.drain.underway();
    drop(corridor.control.spawn(async move {
        let id = outcome.id;
        match seal::outcome(&journal, &sealed, &outcome).await {
            Ok(()) => {
                if let Some(hold) = &hold
                    && let Err(error) = state.release(hold, clock::now()).await
                {
                    tracing::error!(decision = %id, %error, "a hold could not be released");
                }
            }
            // The next start says what became of it, and settles the hold so.
            Err(error) => {
                tracing::error!(decision = %id, %error, "an outcome could not be recorded");
            }
        }
        drop(underway);
    }));
}

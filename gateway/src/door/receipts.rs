//! The agents' door to proofs: who asks is identified as for a call; nothing is spent and nothing goes upstream.
//!
//! Not here: making the proof (`proofs`). Invariant: a caller that is not identified is refused and recorded like any other.

use std::sync::Arc;

use pingora_core::protocols::http::ServerSession;

use crate::door::answer::Answer;
use crate::door::arrival::arrival;
use crate::door::front;
use crate::proofs::{self, Asked, Asker};
use crate::wire::Gateway;
use aegis_corridor::clock;
use aegis_corridor::context::Asked as Door;
use aegis_corridor::refusal::Refusal;
use aegis_corridor::rooms::identify;
use aegis_domain::Reason;

/// What an agent that asks for a proof is answered.
pub(super) async fn answer(
    gateway: &Arc<Gateway>,
    session: &mut ServerSession,
    asked: Option<Asked>,
) -> Answer {
    match asker(gateway, session) {
        Ok(asker) => Answer::to_proof_asked(proofs::prove(gateway, asked, asker).await),
        Err((reason, door)) => Answer::to(&refused(gateway, reason, door).await),
    }
}

/// The token must hold, with its proof of possession where it is bound to a key. Whether it was used before is not asked: an
/// answer tells its agent what the record says of it, and spends nothing.
fn asker(gateway: &Gateway, session: &mut ServerSession) -> Result<Asker, (Reason, Door)> {
    let limits = front::gate_limits(gateway.corridor.config.limits.head);
    let (arrival, door) = arrival(session, limits)?;
    let now = clock::now();
    let id = clock::decision_id(now).map_err(|_| (Reason::Unavailable, door))?;
    let identified = identify::identify(&arrival, &gateway.corridor, (id, now));
    let identified = identified.map_err(|reason| (reason, door))?;
    Ok(Asker::agent(&identified.agent))
}

async fn refused(gateway: &Gateway, reason: Reason, door: Door) -> Refusal {
    gateway.corridor.refuse_unread(reason, door).await
}

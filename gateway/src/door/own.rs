//! What the gateway answers by itself on the agents' door: its keys, whom it believes, and proofs.
//!
//! Not here: making proofs (`proofs`), statuses (`answer`). Invariant: nothing is spent and nothing goes upstream; who asks for a
//! proof is identified as for a call, and refused and recorded like any other.

use std::sync::Arc;

use pingora_core::protocols::http::ServerSession;

use crate::door::answer::Answer;
use crate::door::arrival::arrival;
use crate::door::{front, target};
use crate::proofs::{self, Asked, Asker};
use crate::wire::Gateway;
use aegis_corridor::clock;
use aegis_corridor::context::Asked as Door;
use aegis_corridor::rooms::identify;
use aegis_domain::Reason;
use aegis_gateway_region::metadata;

/// The answer to what is ours; `None` where it is not.
pub(super) async fn answer(gateway: &Arc<Gateway>, session: &mut ServerSession) -> Option<Answer> {
    let head = session.req_header();
    if head.method != http::Method::GET || !target::is_route(session) {
        return None;
    }
    let path = head.uri.path();
    let document = match path {
        "/.well-known/jwks.json" => Some(gateway.jwks.clone()),
        metadata::PATH => gateway.resource.clone(),
        _ => None,
    };
    if let Some(document) = document {
        return Some(Answer::json(document));
    }
    let asked = Asked::parse(path.strip_prefix("/-")?.strip_prefix(proofs::PATH)?);
    Some(match asker(gateway, session) {
        Ok(asker) => Answer::to_proof_asked(proofs::prove(gateway, asked, asker).await),
        Err((reason, door)) => Answer::to(&gateway.corridor.refuse_unread(reason, door).await),
    })
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

//! Everything a refused caller is told, before it is HTTP.
//!
//! Not here: statuses and headers (the gateway's `door::answer`). Invariant: nothing of the call itself is in it.

use aegis_domain::{Decision, DecisionId, Reason, Ttl};
use aegis_identity::Scheme;

use crate::allowance::Allowance;
use crate::context::{Asked, CallContext};

/// A refusal, whoever hears it.
#[derive(Debug)]
pub struct Refusal {
    pub decision: Decision,
    pub retry_after: Option<Ttl>,
    pub allowance: Option<Allowance>,
    /// Where the tenant's calls belong, when they do not belong here.
    pub home_url: Option<String>,
    pub attestation: Option<String>,
    pub trace_id: String,
    pub asked: Asked,
    /// How the caller tried to show who it is.
    pub tried: Scheme,
}

impl Refusal {
    /// The call was decided, and then the way upstream failed.
    pub fn on_the_way(call: &CallContext, reason: Reason) -> Self {
        let policy = call.decision.as_ref().and_then(|decision| decision.policy.clone());
        Self {
            decision: Decision { policy, ..aegis_decide::refuse(call.id, reason) },
            retry_after: None,
            allowance: None,
            home_url: None,
            attestation: call.sealed.as_ref().and_then(|held| held.attestation.clone()),
            trace_id: call.trace.trace_id_hex(),
            asked: call.asked,
            tried: call.tried,
        }
    }

    /// For the case that not even an id could be made.
    pub fn nameless() -> Self {
        let id = DecisionId::new(0, [0; 10]);
        Self {
            decision: aegis_decide::refuse(id, Reason::Unavailable),
            retry_after: None,
            allowance: None,
            home_url: None,
            attestation: None,
            trace_id: String::new(),
            asked: Asked::Server,
            tried: Scheme::Bearer,
        }
    }
}

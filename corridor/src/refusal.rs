//! Everything a refused caller is told, before it is HTTP.
//!
//! Not here: statuses and headers (the gateway's `door::answer`). Invariant: nothing of the call itself is in it.

use std::sync::Arc;

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
    /// What would let the caller in, where it is not let in.
    pub entry: Entry,
}

/// What a caller needs to know to be let in.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Where it is written which token service this gateway believes (RFC 9728 §5.1).
    pub metadata: Option<Arc<str>>,
    /// What the next proof must hold (RFC 9449 §9).
    pub nonce: Option<String>,
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
            entry: Entry::default(),
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
            entry: Entry::default(),
        }
    }
}

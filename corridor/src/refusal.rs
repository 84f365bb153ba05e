//! Everything a refused caller is told, before it is HTTP.
//!
//! Not here: statuses and headers (the gateway's `door::answer`). Invariant: nothing of the call itself is in it.

use aegis_domain::{Decision, DecisionId, Reason, Ttl};

use crate::context::Asked;

/// A refusal, whoever hears it.
#[derive(Debug)]
pub struct Refusal {
    pub decision: Decision,
    pub retry_after: Option<Ttl>,
    /// Where the tenant's calls belong, when they do not belong here.
    pub home_url: Option<String>,
    pub attestation: Option<String>,
    pub trace_id: String,
    pub asked: Asked,
}

impl Refusal {
    /// For the case that not even an id could be made.
    pub fn nameless() -> Self {
        let id = DecisionId::new(0, [0; 10]);
        Self {
            decision: aegis_decide::refuse(id, Reason::Unavailable),
            retry_after: None,
            home_url: None,
            attestation: None,
            trace_id: String::new(),
            asked: Asked::Server,
        }
    }
}

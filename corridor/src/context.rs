//! The only state that walks the corridor: each room fills one field of it.
//!
//! Not here: what the rooms do. Invariant: a field is set once, by the room it is named after.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use aegis_domain::{
    AgentIdentity, BudgetKey, Decision, DecisionId, DlpFacts, EgressCall, EstimateKind, Facts,
    Host, Method, Scheme, TeamId, Timestamp, ToolName, TraceContext,
};
use aegis_identity::{self as identity, CertificateThumbprint, Modes, ReplayCheck};
use aegis_state::{Budgets, Hold, Rates};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::allowance::Allowance;
use crate::credential::Told;
use crate::rooms::prepare::Outgoing;
use crate::rooms::seal::{Held, Permit};
use crate::shadow::Job;
use aegis_config::{Tenant, ToolBinding};
use aegis_policy_store::Judges;

/// What the door knows of a call before any room has looked at it.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub method: Method,
    /// Path as the agent sent it, beginning with `/`.
    pub path: String,
    pub query: Option<String>,
    pub headers: http::HeaderMap,
    pub peer: Option<IpAddr>,
    pub is_upgrade: bool,
    pub target: Target,
    pub presented: Presented,
}

/// Where the agent asked its call to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a tool of its tenant: `/<tool>/<path>` on a listener of ours.
    Route,
    /// To an origin by name, through the forward proxy.
    Origin { scheme: Scheme, host: Host, port: u16 },
}

/// What the caller shows of itself.
#[derive(Clone, Debug)]
pub struct Presented {
    pub told: Option<Told>,
    pub stands: Stands,
    /// Of the certificate that the agent's handshake with us proved.
    pub certificate: Option<CertificateThumbprint>,
}

/// Where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// In the call's own headers.
    InHeaders,
    /// In what was said to the proxy: with the call, or when its tunnel was opened.
    ToProxy,
}

/// One call on its way through the rooms.
#[derive(Debug)]
pub struct CallContext {
    pub id: DecisionId,
    pub trace: TraceContext,
    pub arrived: Timestamp,
    /// Who was asked: refusals of a proxy are told otherwise (RFC 9110 §11.7).
    pub asked: Asked,
    pub tried: identity::Scheme,
    pub clock: Stopwatch,
    pub identified: Option<Identified>,
    pub read: Option<Read>,
    pub facts: Option<Facts>,
    /// The approval that the call goes out on.
    pub approval: Option<DecisionId>,
    /// What the policy saw of the call, when it was asked.
    pub seen: Option<serde_json::Value>,
    /// What the hot state set aside; taken by whoever settles it.
    pub hold: Option<Hold>,
    /// What the caller is told of its limits, once they were asked about.
    pub allowance: Option<Allowance>,
    /// Budgets that this call is the first to bring past their warning.
    pub warned: Vec<BudgetKey>,
    pub decision: Option<Decision>,
    /// What a candidate is asked once the call is answered.
    pub shadow: Option<Box<Job>>,
    pub sealed: Option<Held>,
    pub permit: Option<Permit>,
    pub outgoing: Option<Outgoing>,
}

/// As what the agent sees us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As the server that it calls, also inside a tunnel.
    Server,
    Proxy,
}

/// Room 1's result.
#[derive(Clone, Debug)]
pub struct Identified {
    pub agent: Arc<AgentIdentity>,
    pub tenant: Arc<Tenant>,
    pub limits: AgentLimits,
    /// Taken once: whatever is said of this call is said under these versions.
    pub judges: Judges,
    /// Every way in which the caller showed who it is.
    pub modes: Modes,
    /// What the hot state must be asked, so that what was shown serves nobody else.
    pub replay: ReplayCheck,
}

/// How much an agent may.
#[derive(Clone, Debug)]
pub struct AgentLimits {
    pub team: Option<TeamId>,
    pub rates: Rates,
    pub in_flight: Option<NonZeroU32>,
    /// Its own, its team's and its tenant's.
    pub budgets: Budgets,
}

/// A request body as it came, and the room it takes in memory.
#[derive(Debug, Default)]
pub struct Received {
    pub bytes: Bytes,
    pub room: Option<OwnedSemaphorePermit>,
}

/// Room 2's result.
#[derive(Debug)]
pub struct Read {
    pub binding: Arc<ToolBinding>,
    pub tool: Option<ToolName>,
    pub call: Arc<EgressCall>,
    /// Length of the body as it came, before its content encoding was undone.
    pub received_bytes: u64,
    pub body: Bytes,
    /// Given back when the call is over.
    pub room: Option<OwnedSemaphorePermit>,
    pub content: aegis_dlp::ContentKind,
    /// What stands in headers that no client sends by itself.
    pub header_scan: aegis_dlp::Scan,
    /// Whether `body` is what came, or what its content encoding held.
    pub decoding: Decoding,
    pub dlp: DlpFacts,
    /// What `call.estimated_cost` is.
    pub estimate: EstimateKind,
}

/// Whether a body had a content encoding that was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    None,
    Undone,
}

/// Time spent deciding, without the time the agent took to send its body.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    waited_us: u64,
}

impl CallContext {
    pub fn new(id: DecisionId, trace: TraceContext, arrived: Timestamp) -> Self {
        Self {
            id,
            trace,
            arrived,
            asked: Asked::Server,
            tried: identity::Scheme::Bearer,
            clock: Stopwatch::start(),
            identified: None,
            read: None,
            facts: None,
            approval: None,
            seen: None,
            hold: None,
            allowance: None,
            warned: Vec::new(),
            decision: None,
            shadow: None,
            sealed: None,
            permit: None,
            outgoing: None,
        }
    }
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { started: Instant::now(), waited_us: 0 }
    }

    /// Leaves the time since `start` out of the decision's latency.
    pub fn leave_out(&mut self, start: Instant) {
        self.waited_us = self.waited_us.saturating_add(crate::clock::micros_since(start));
    }

    pub fn decision_us(&self) -> u64 {
        self.total_us().saturating_sub(self.waited_us)
    }

    pub fn total_us(&self) -> u64 {
        crate::clock::micros_since(self.started)
    }
}

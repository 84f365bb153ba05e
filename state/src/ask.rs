//! What a gateway asks of the hot state about one call, and what it keeps to settle it.
//!
//! Not here: how the answer is found (`embedded`). Invariant: an ask brings its own time and limits, so a home
//! needs neither clock nor configuration of its own.

use std::num::NonZeroU32;

use aegis_domain::{
    AgentId, DecisionId, Jti, MicroUsd, RateWindow, TenantId, Timestamp, TokenUse, Ttl,
};

use crate::Budgets;

/// SHA-256 of what ties a token to its user: certificate, endpoint or network, and session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding([u8; 32]);

impl Binding {
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The token of a call, as far as its reuse matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCheck {
    pub jti: Jti,
    pub token_use: TokenUse,
    pub binding: Binding,
    /// When it was issued, as far as it says so.
    pub issued_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// `calls` per window on average, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub calls: NonZeroU32,
    pub burst: NonZeroU32,
}

/// The rate limits of one agent; a window without a limit is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub second: Option<RateLimit>,
    pub minute: Option<RateLimit>,
    pub hour: Option<RateLimit>,
}

impl Rates {
    pub const NONE: Rates = Rates { second: None, minute: None, hour: None };

    pub fn get(&self, window: RateWindow) -> Option<RateLimit> {
        match window {
            RateWindow::Second => self.second,
            RateWindow::Minute => self.minute,
            RateWindow::Hour => self.hour,
        }
    }
}

/// The one question about one call.
#[derive(Clone, Debug)]
pub struct Ask {
    pub id: DecisionId,
    pub tenant: TenantId,
    pub agent: AgentId,
    pub token: TokenCheck,
    pub rates: Rates,
    pub budgets: Budgets,
    /// The highest this call can cost.
    pub estimate: MicroUsd,
    /// How long the hold stands unsettled before the estimate is charged.
    pub hold_ttl: Ttl,
    pub now: Timestamp,
}

impl Ask {
    /// What a grant of this ask must be settled with.
    pub fn hold(&self) -> Hold {
        Hold {
            id: self.id,
            tenant: self.tenant.clone(),
            agent: self.agent.clone(),
            budgets: self.budgets.clone(),
            estimate: self.estimate,
            decided_at: self.now,
            expires_at: self.now.plus(self.hold_ttl),
        }
    }
}

/// Money set aside for one call, in the windows of `decided_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub id: DecisionId,
    pub tenant: TenantId,
    pub agent: AgentId,
    pub budgets: Budgets,
    pub estimate: MicroUsd,
    pub decided_at: Timestamp,
    pub expires_at: Timestamp,
}

//! What gather and the scanner found out about a call, including "it did not answer".
//!
//! Not here: how facts are fetched (`state`) or what they mean (`decide`). Invariant: an outage is a fact, so
//! the heart can judge it; it is never an exception.

use std::collections::BTreeMap;

use crate::{Detector, MicroUsd, Timestamp, Ttl};

/// The three windows over which calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateWindow {
    Second,
    Minute,
    Hour,
}

impl RateWindow {
    pub const ALL: [RateWindow; 3] = [RateWindow::Second, RateWindow::Minute, RateWindow::Hour];

    pub fn length(self) -> Ttl {
        match self {
            RateWindow::Second => Ttl::from_s(1),
            RateWindow::Minute => Ttl::from_s(60),
            RateWindow::Hour => Ttl::from_s(3_600),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            RateWindow::Second => "second",
            RateWindow::Minute => "minute",
            RateWindow::Hour => "hour",
        }
    }
}

/// Whose calls are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountScope {
    Agent,
    Tenant,
    Tool,
}

impl CountScope {
    pub const ALL: [CountScope; 3] = [CountScope::Agent, CountScope::Tenant, CountScope::Tool];

    pub fn as_str(self) -> &'static str {
        match self {
            CountScope::Agent => "agent",
            CountScope::Tenant => "tenant",
            CountScope::Tool => "tool",
        }
    }
}

/// What is left of the rate limit that is nearest to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLeft {
    pub of: CountScope,
    pub window: RateWindow,
    /// Calls a window on average.
    pub limit: u32,
    /// Calls that would pass at once after this one.
    pub left: u32,
    /// How long until the whole burst is there again, if nobody calls.
    pub resets_in: Ttl,
}

/// What the hot state granted: the hold stands until it is settled, released or expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What is held for this call.
    pub held: MicroUsd,
    /// The least left of any budget that limits the call, before this hold; `MicroUsd::MAX` without one.
    pub budget_left: MicroUsd,
    /// Which budget that is, by its place among those asked about.
    pub tightest: Option<u8>,
    /// One bit for each budget asked about, by its place: with this hold it reached its warning, or passed a limit that
    /// only warns.
    pub warned: u16,
    /// A grant that is told again may leave it out.
    pub rate: Option<RateLeft>,
}

/// Why the hot state refused. A refusal writes nothing: no token is burnt, no money held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotRefusal {
    /// The token was used before: by another binding (`bound`) or at all (`once`).
    Replayed,
    Rate {
        of: CountScope,
        window: RateWindow,
        retry_after: Ttl,
    },
    /// As many calls are under way as may be.
    Busy {
        of: CountScope,
        limit: u32,
    },
    Budget {
        /// Its place among the budgets asked about.
        nth: u8,
        left: MicroUsd,
        resets_in: Ttl,
    },
}

/// Why the hot state gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    Unreachable,
    TimedOut,
    Storage,
}

/// The outcome of the one hot-state trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotAnswer {
    Granted(Grant),
    Refused(HotRefusal),
    Unanswered(Outage),
}

/// What the scanner saw: how often, never what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DlpFacts {
    /// Every detector ran; those not in the map found nothing.
    Scanned(BTreeMap<Detector, u32>),
    /// The body was not looked at (streamed, or an encoding nobody here can undo).
    NotScanned,
}

/// All that is known about one call beside the call itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub now: Timestamp,
    pub hot: HotAnswer,
    pub dlp: DlpFacts,
}

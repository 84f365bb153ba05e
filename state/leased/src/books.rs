//! Which calls are paid out of which leases.
//!
//! Not here: asking and telling the inner home (`lib`), and noting draws before they count. Invariant: a decision id is
//! paid for out of one lease or by the inner home, never both, however often it is asked about.

use std::collections::{BTreeMap, HashMap};

use aegis_domain::{DecisionId, Grant, HotAnswer, MicroUsd, Timestamp, TokenUse};
use aegis_state::{Ask, Budgets, Extended, Hold, Settled, StateError};

use crate::LeaseConfig;
use crate::asked::Asked;
use crate::lease::Lease;
use crate::scope::Scope;
use crate::tokens::Tokens;

/// Calls paid out of leases, each until its lease is forgotten, some hundred bytes each: 2,300 a second where holds last
/// five minutes. More ask the inner home.
const DRAWS_MAX: usize = 2 << 20;
/// Lists of budgets that are watched.
const SCOPES_MAX: usize = 1 << 12;

/// One call that was paid out of a lease.
#[derive(Debug)]
struct Draw {
    lease: u64,
    held: MicroUsd,
    /// What was left before it.
    left: MicroUsd,
    is_open: bool,
}

/// How a call is decided.
#[derive(Debug)]
pub(crate) enum Way {
    /// It was decided before.
    Again(Grant),
    Drawn(Drawn),
    /// The inner home decides.
    Inner,
}

#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) grant: Grant,
    pub(crate) lease: DecisionId,
    /// How much to ask for, because the lease runs out.
    pub(crate) renew: Option<MicroUsd>,
}

/// What becomes of a call's wish for more.
#[derive(Debug)]
pub(crate) enum Growth {
    Done(Result<Extended, StateError>),
    /// The lease must hold that much in all first.
    Ask {
        lease: Hold,
        total: MicroUsd,
        more: MicroUsd,
    },
    Inner,
}

/// What becomes of a settlement.
#[derive(Debug)]
pub(crate) enum End {
    Done(Result<Settled, StateError>),
    /// It was the last call of a lease that takes no more.
    Ripe(Telling),
    Inner,
}

/// A lease to be settled.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) lease: u64,
    pub(crate) hold: Hold,
    pub(crate) cost: MicroUsd,
}

#[derive(Debug)]
pub(crate) struct Books {
    config: LeaseConfig,
    leases: BTreeMap<u64, Lease>,
    last: u64,
    draws: HashMap<DecisionId, Draw>,
    scopes: HashMap<Budgets, Scope>,
    tokens: Tokens,
    asked: Asked,
    is_closed: bool,
}

impl Books {
    pub(crate) fn new(config: LeaseConfig) -> Self {
        Self {
            config,
            leases: BTreeMap::new(),
            last: 0,
            draws: HashMap::new(),
            scopes: HashMap::new(),
            tokens: Tokens::default(),
            asked: Asked::default(),
            is_closed: false,
        }
    }

    pub(crate) fn decide(&mut self, ask: &Ask) -> Way {
        if let Some((draw, lease)) = self.drawn(&ask.id) {
            return Way::Again(lease.grant(draw.held, draw.left));
        }
        if !may_be_drawn(ask) || self.asked.knows(&ask.id) {
            return Way::Inner;
        }
        self.draw(ask).map_or_else(
            || {
                self.asked.note(ask.id);
                Way::Inner
            },
            Way::Drawn,
        )
    }

    fn draw(&mut self, ask: &Ask) -> Option<Drawn> {
        if self.is_closed || self.draws.len() >= DRAWS_MAX || !self.tokens.know(ask) {
            return None;
        }
        let scope = self.scopes.get_mut(&ask.budgets)?;
        let serial = scope.current?;
        let lease = self.leases.get_mut(&serial)?;
        let grant = lease.draw(ask)?;
        scope.heard(ask.now);
        let renew = lease.is_half_used(ask.now).then(|| lease.left());
        let renew = renew.and_then(|left| scope.wants(ask, left, &self.config));
        let Grant { held, budget_left: left, .. } = grant;
        self.draws.insert(ask.id, Draw { lease: serial, held, left, is_open: true });
        Some(Drawn { grant, lease: lease.hold().id, renew })
    }

    /// Takes a draw back that could not be noted: the inner home decides.
    pub(crate) fn undo(&mut self, id: &DecisionId) {
        if let Some(draw) = self.draws.remove(id)
            && let Some(lease) = self.leases.get_mut(&draw.lease)
        {
            lease.end(draw.held, MicroUsd::ZERO);
            lease.draws.retain(|drawn| drawn != id);
            self.asked.note(*id);
        }
    }

    /// Learns from what the inner home decided; returns how much to ask for, if a lease is wanted.
    pub(crate) fn learn(&mut self, ask: &Ask, answer: HotAnswer) -> Option<MicroUsd> {
        let HotAnswer::Granted(grant) = answer else { return None };
        self.tokens.remember(ask);
        if self.is_closed || !may_be_drawn(ask) {
            return None;
        }
        if !self.scopes.contains_key(&ask.budgets) && self.scopes.len() >= SCOPES_MAX {
            return None;
        }
        let scope = self.scopes.entry(ask.budgets.clone()).or_default();
        scope.heard(ask.now);
        let current = scope.current.and_then(|serial| self.leases.get(&serial));
        if current.is_some_and(|lease| !lease.is_half_used(ask.now)) {
            return None;
        }
        scope.wants(ask, grant.budget_left.saturating_sub(grant.held), &self.config)
    }

    /// A lease is held: it takes the place of the one before.
    pub(crate) fn opened(&mut self, hold: Hold, grant: Grant) {
        self.last += 1;
        let serial = self.last;
        let scope = self.scopes.entry(hold.budgets.clone()).or_default();
        let before = scope.was_granted(serial);
        before.and_then(|before| self.leases.get_mut(&before)).into_iter().for_each(Lease::close);
        let mut lease = Lease::new(hold, grant, self.config.ttl);
        if self.is_closed {
            lease.close();
        }
        self.leases.insert(serial, lease);
    }

    pub(crate) fn refused(&mut self, lease: &Ask) {
        if let Some(scope) = self.scopes.get_mut(&lease.budgets) {
            scope.was_refused(lease.now);
        }
    }

    pub(crate) fn settle(&mut self, hold: &Hold, cost: MicroUsd, now: Timestamp) -> End {
        let Some((draw, lease)) = self.drawn(&hold.id) else { return End::Inner };
        if !draw.is_open {
            return End::Done(Ok(Settled::Duplicate));
        }
        if lease.end(draw.held, cost).is_none() {
            let ago_s = now.since(hold.expires_at).s_ceil();
            return End::Done(Err(StateError::TooLate { ago_s }));
        }
        draw.is_open = false;
        let serial = draw.lease;
        let hold = lease.hold().clone();
        lease.ripe(now).map_or(End::Done(Ok(Settled::Applied)), |cost| {
            End::Ripe(Telling { lease: serial, hold, cost })
        })
    }

    pub(crate) fn extend(&mut self, hold: &Hold, total: MicroUsd, now: Timestamp) -> Growth {
        let Some((draw, lease)) = self.drawn(&hold.id) else { return Growth::Inner };
        if !draw.is_open || hold.expires_at <= now {
            return Growth::Done(Err(StateError::NotHeld));
        }
        let more = total.saturating_sub(draw.held);
        if more <= lease.room() {
            lease.take(more);
            draw.held = draw.held.saturating_add(more);
            return Growth::Done(Ok(Extended::Granted));
        }
        Growth::Ask { total: lease.ask_more(more), lease: lease.hold().clone(), more }
    }

    /// What the inner home said of a lease that was to hold `more`.
    pub(crate) fn extended(
        &mut self,
        hold: &Hold,
        more: MicroUsd,
        extended: &Result<Extended, StateError>,
    ) {
        let Some((draw, lease)) = self.drawn(&hold.id) else { return };
        match extended {
            Ok(Extended::Granted) => {
                lease.grow(more);
                // What a call wanted that has ended meanwhile is room for others.
                if draw.is_open {
                    lease.take(more);
                    draw.held = draw.held.saturating_add(more);
                }
            }
            Ok(Extended::Refused { .. }) | Err(_) => lease.refuse(more),
        }
    }

    fn drawn(&mut self, id: &DecisionId) -> Option<(&mut Draw, &mut Lease)> {
        let draw = self.draws.get_mut(id)?;
        let lease = self.leases.get_mut(&draw.lease)?;
        Some((draw, lease))
    }

    /// The leases to be settled now; one of which nobody said it was is among them again.
    pub(crate) fn ripe(&mut self, now: Timestamp) -> Vec<Telling> {
        let ripe = |(serial, lease): (&u64, &mut Lease)| {
            let cost = lease.ripe(now)?;
            Some(Telling { lease: *serial, hold: lease.hold().clone(), cost })
        };
        self.leases.iter_mut().filter_map(ripe).collect()
    }

    /// The inner home has the lease's cost, or takes it no more.
    pub(crate) fn told(&mut self, telling: &Telling) {
        let Some(lease) = self.leases.get_mut(&telling.lease).filter(|lease| !lease.is_over())
        else {
            return;
        };
        lease.over();
        if let Some(scope) = self.scopes.get_mut(&telling.hold.budgets) {
            scope.leases = scope.leases.saturating_sub(1);
            scope.current.take_if(|current| *current == telling.lease);
        }
    }

    /// No more leases and no more draws.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        self.leases.values_mut().for_each(Lease::close);
    }

    pub(crate) fn tidy(&mut self, now: Timestamp) {
        let old: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.is_forgotten(now))
            .map(|(serial, _)| *serial)
            .collect();
        for lease in old.iter().filter_map(|serial| self.leases.remove(serial)) {
            for id in &lease.draws {
                self.draws.remove(id);
            }
        }
        self.scopes.retain(|_, scope| !scope.is_quiet(now));
        self.tokens.forget(now);
    }
}

/// Whether a lease can answer all that the call asks.
fn may_be_drawn(ask: &Ask) -> bool {
    let is_counted = !ask.in_flight.is_none()
        || !ask.rates.agent.is_none()
        || !ask.rates.tenant.is_none()
        || !ask.rates.tool.is_none();
    match ask.token.token_use {
        TokenUse::Bound => !is_counted && !ask.budgets.is_empty(),
        TokenUse::Once => false,
    }
}

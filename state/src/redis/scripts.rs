//! The scripts, and what goes into and comes out of a decision.
//!
//! Not here: sending them (`link`), and what becomes of a hold (`holding`). Invariant: numbers travel as whole decimals
//! below 2^53, where Lua counts exactly; an answer of any other shape is an error, never a grant.

use std::cmp::Reverse;
use std::time::Duration;

use aegis_domain::{
    CountScope, Grant, HotAnswer, HotRefusal, MicroUsd, RateLeft, RateWindow, Timestamp, TokenUse,
    Ttl,
};
use redis::{Cmd, Pipeline, Value, cmd};

use super::config::Clock;
use super::keys::{Keys, Member};
use super::sheets::{Sheet, Weighed};
use crate::budget::{When, ttl_ceil};
use crate::{Ask, Budgets, InFlightName, LATE_SETTLE, Period, RateLimit};

/// The texts that need no run in them, in the order in which they are loaded.
pub(super) const TEXTS: [&str; 6] = [
    concat!(include_str!("scripts/sheets.lua"), include_str!("scripts/settle.lua")),
    concat!(
        include_str!("scripts/sheets.lua"),
        include_str!("scripts/weigh.lua"),
        include_str!("scripts/extend.lua")
    ),
    concat!(include_str!("scripts/sheets.lua"), include_str!("scripts/adjust.lua")),
    include_str!("scripts/reap.lua"),
    include_str!("scripts/attach.lua"),
    concat!(include_str!("scripts/sheets.lua"), include_str!("scripts/restore.lua")),
];
const DECIDE: &str = concat!(
    include_str!("scripts/sheets.lua"),
    include_str!("scripts/weigh.lua"),
    include_str!("scripts/decide.lua")
);

/// The script of decisions for one run of a server. A server forgets its scripts when it restarts and never had its
/// primary's, so one that knows this text is the very process the gateway attached to.
pub(super) fn decide_text(run: &str) -> String {
    format!("{DECIDE}-- {run}\n")
}

/// How long past its expiry a gateway with a slow clock may still accept a token, with room to spare.
const SKEW: Ttl = Ttl::from_s(120);
/// How much longer than `LATE_SETTLE` a call is remembered, so that clocks may differ.
pub(super) const MARGIN: Ttl = Ttl::from_s(120);
/// Half of 2^53 us: added to any time of this age of the world, it is still exact.
const TOLERANCE_MAX_US: u64 = 1 << 52;

impl Clock {
    /// What a script is told: its own clock, or the asker's.
    pub(super) fn tell_us(self, now: Timestamp) -> u64 {
        match self {
            Clock::Server => 0,
            Clock::Asked => now.unix_us(),
        }
    }
}

pub(super) fn evalsha(sha: &str, keys: &[String]) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(sha).arg(keys.len()).arg(keys);
    command
}

pub(super) fn decide(sha: &str, stamp: &str, ask: &Ask, clock: Clock) -> Cmd {
    let keys = Keys::of(&ask.tenant);
    let weighed = Weighed::of(&ask.budgets, When { decided_at: ask.now, now: ask.now });
    let (paced, counted) = (paced(ask), counted(ask));
    let name = |of| InFlightName::of(of, &ask.agent, &ask.tool);
    let mut names = vec![keys.epoch(), keys.call(&ask.id), keys.token(&ask.token.jti)];
    names.extend(paced.iter().map(|of| keys.rates(&name(*of))));
    names.push(keys.open());
    names.extend(counted.iter().map(|(of, _)| keys.flight(&name(*of))));
    names.extend(weighed.keys(&keys));
    let forget_at = ask.token.expires_at.plus(SKEW);
    let member = Member { id: ask.id, sheets: weighed.sheets.clone() };
    let mut command = evalsha(sha, &names);
    command
        .arg(clock.tell_us(ask.now))
        .arg(stamp)
        .arg(token_use(ask))
        .arg(forget_at.since(ask.now).ms())
        .arg(forget_at.unix_ms())
        .arg(ask.estimate.micro_usd())
        .arg(ask.hold_ttl.ms())
        .arg(call_life(&weighed.sheets, ask.hold_ttl, ask.now).ms())
        .arg(member.to_string())
        .arg(paced.len())
        .arg(counted.len())
        .arg(weighed.sheets.len());
    for of in paced {
        for window in RateWindow::ALL {
            let limit = ask.rates.get(of).get(window);
            let (interval, tolerance) = limit.map_or((0, 0), |limit| pace_us(window, limit));
            command.arg(interval).arg(tolerance);
        }
    }
    for (_, limit) in counted {
        command.arg(limit);
    }
    weighed.add_to(&mut command, ask.now);
    command
}

/// Whose rates limit the call.
fn paced(ask: &Ask) -> Vec<CountScope> {
    CountScope::ALL.into_iter().filter(|of| !ask.rates.get(*of).is_none()).collect()
}

/// Whose calls under way limit it.
fn counted(ask: &Ask) -> Vec<(CountScope, u32)> {
    let limit = |of| ask.in_flight.get(of).map(|limit| (of, limit.get()));
    CountScope::ALL.into_iter().filter_map(limit).collect()
}

/// What the first use of a token leaves behind; later uses must be the same, or, from `o` on, must not be.
fn token_use(ask: &Ask) -> Vec<u8> {
    let (kind, by): (u8, &[u8]) = match ask.token.token_use {
        TokenUse::Bound => (b'b', ask.token.binding.as_bytes()),
        TokenUse::Once => (b'o', ask.id.as_str().as_bytes()),
    };
    [&[kind], by].concat()
}

/// An open call is remembered as long as any sum that holds its money: a hold nobody ends is never lost from sight.
fn call_life(sheets: &[Sheet], hold_ttl: Ttl, now: Timestamp) -> Ttl {
    let closed = Ttl::from_ms(hold_ttl.ms() + LATE_SETTLE.ms() + MARGIN.ms());
    sheets.iter().map(|sheet| sheet.life(now)).fold(closed, Ttl::max)
}

/// The emission interval, rounded up so that never more than `calls` fit a window, and what may be ahead of the clock.
fn pace_us(window: RateWindow, limit: RateLimit) -> (u64, u64) {
    let window_us = window.length().ms().saturating_mul(1_000);
    let interval = window_us.div_ceil(u64::from(limit.calls.get()));
    let tolerance = interval.saturating_mul(u64::from(limit.burst.get()));
    (interval, tolerance.min(TOLERANCE_MAX_US))
}

/// Reads what `decide` said; `None` is an answer of no known shape.
pub(super) fn decided(reply: &Value, ask: &Ask) -> Option<HotAnswer> {
    let words = integers(reply)?;
    let when = When { decided_at: ask.now, now: ask.now };
    let answer = match *words.as_slice() {
        [0, held, left, tightest, warned] => {
            HotAnswer::Granted(grant([held, left, tightest, warned], ask)?)
        }
        [0, held, left, tightest, warned, near, near_left, near_ahead_us] => {
            let rate = match near {
                0 => None,
                nth => Some(rate_left(ask, nth, near_left, near_ahead_us)?),
            };
            HotAnswer::Granted(Grant { rate, ..grant([held, left, tightest, warned], ask)? })
        }
        [1] => HotAnswer::Refused(HotRefusal::Replayed),
        [2, nth, wait_us] => {
            let (of, window) = rate_of(ask, nth)?;
            HotAnswer::Refused(HotRefusal::Rate { of, window, retry_after: wait(wait_us)? })
        }
        [3, ref refusing @ ..] => {
            let (nth, left, resets_in) = resets_last(refusing, &ask.budgets, when)?;
            HotAnswer::Refused(HotRefusal::Budget { nth, left, resets_in })
        }
        [4, nth] => {
            let nth = usize::try_from(nth).ok()?.checked_sub(1)?;
            let (of, limit) = *counted(ask).get(nth)?;
            HotAnswer::Refused(HotRefusal::Busy { of, limit })
        }
        _ => return None,
    };
    Some(answer)
}

fn grant([held, left, tightest, warned]: [i64; 4], ask: &Ask) -> Option<Grant> {
    let when = When { decided_at: ask.now, now: ask.now };
    let places = Weighed::of(&ask.budgets, when).places();
    let tightest = match tightest {
        -1 => None,
        place => Some((*places.get(usize::try_from(place).ok()?)?)?),
    };
    let is_warned = |place: u32| warned.checked_shr(place).is_some_and(|bits| bits & 1 == 1);
    let warned = (0_u32..).zip(places).filter(|(place, _)| is_warned(*place));
    let warned = warned.filter_map(|(_, nth)| nth).fold(0, |bits, nth| bits | 1 << nth);
    Some(Grant { held: money(held)?, budget_left: money(left)?, tightest, warned, rate: None })
}

/// Which rate `decide` means: it counts from one, three windows for each scope.
fn rate_of(ask: &Ask, nth: i64) -> Option<(CountScope, RateWindow)> {
    let nth = usize::try_from(nth).ok()?.checked_sub(1)?;
    let windows = RateWindow::ALL.len();
    let of = *paced(ask).get(nth / windows)?;
    Some((of, *RateWindow::ALL.get(nth % windows)?))
}

fn rate_left(ask: &Ask, nth: i64, left: i64, ahead_us: i64) -> Option<RateLeft> {
    let (of, window) = rate_of(ask, nth)?;
    Some(RateLeft {
        of,
        window,
        limit: ask.rates.get(of).get(window)?.calls.get(),
        left: u32::try_from(left).unwrap_or(u32::MAX),
        resets_in: wait(ahead_us)?,
    })
}

fn wait(us: i64) -> Option<Ttl> {
    Some(ttl_ceil(u64::try_from(us).ok()?.saturating_mul(1_000)))
}

/// Whether a script met data that the gateway is not attached to.
pub(super) fn is_other_epoch(reply: &Value) -> bool {
    matches!(reply, Value::Array(words) if matches!(**words, [Value::Int(-1)]))
}

pub(super) fn is_grant(reply: &Value) -> bool {
    matches!(reply, Value::Array(words) if matches!(words.first(), Some(Value::Int(0))))
}

/// Has a replica confirm the command, if one does so in time.
pub(super) fn then_wait(command: Cmd, deadline: Duration) -> Pipeline {
    let mut both = Pipeline::with_capacity(2);
    both.add_command(command);
    // Zero would wait for ever.
    both.cmd("WAIT").arg(1).arg(deadline.as_millis().max(1).to_string());
    both
}

/// The refusal of the budget that resets last: it says when trying again is of use.
pub(super) fn resets_last(
    refusing: &[i64],
    budgets: &Budgets,
    when: When,
) -> Option<(u8, MicroUsd, Ttl)> {
    let places = Weighed::of(budgets, when).places();
    let mut last: Option<(Ttl, Reverse<u8>, MicroUsd)> = None;
    for short in refusing.chunks(3) {
        let [place, left, oldest] = *short else { return None };
        let nth = (*places.get(usize::try_from(place).ok()?)?)?;
        let window = budgets.iter().nth(usize::from(nth))?.key.window;
        let oldest = match oldest {
            -1 => Period::of(window, when.of(window)).index,
            hour => u32::try_from(hour).ok()?,
        };
        let resets_in = Period::last_counting(window, oldest).left(when.now);
        last = last.max(Some((resets_in, Reverse(nth), money(left)?)));
    }
    last.map(|(resets_in, Reverse(nth), left)| (nth, left, resets_in))
}

pub(super) fn integers(reply: &Value) -> Option<Vec<i64>> {
    let Value::Array(values) = reply else { return None };
    let integer = |value: &Value| match value {
        Value::Int(n) => Some(*n),
        _ => None,
    };
    values.iter().map(integer).collect()
}

/// An amount as a script returns it; beyond 2^53 Lua would have rounded.
pub(super) fn money(amount: i64) -> Option<MicroUsd> {
    let amount = u64::try_from(amount).ok()?;
    (amount <= MicroUsd::MAX.micro_usd()).then(|| MicroUsd::new(amount))
}

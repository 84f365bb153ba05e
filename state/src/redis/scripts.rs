//! The scripts, and what goes into and comes out of each.
//!
//! Not here: sending them (`link`). Invariant: numbers travel as whole decimals below 2^53, where Lua counts exactly;
//! an answer of any other shape is an error, never a grant.

use std::time::Duration;

use aegis_domain::{
    CountScope, Grant, HotAnswer, HotRefusal, MicroUsd, RateWindow, Timestamp, TokenUse, Ttl,
};
use redis::{Cmd, Pipeline, Value, cmd};

use super::config::Clock;
use super::keys::{Keys, Member, Sheet, fields};
use crate::budget::ttl_ceil;
use crate::{Ask, Hold, LATE_SETTLE, Period, RateLimit, Settled};

pub(super) const SETTLE: &str = include_str!("scripts/settle.lua");
pub(super) const REAP: &str = include_str!("scripts/reap.lua");
pub(super) const ATTACH: &str = include_str!("scripts/attach.lua");
pub(super) const RESTORE: &str = include_str!("scripts/restore.lua");
const DECIDE: &str = include_str!("scripts/decide.lua");

/// The script of decisions for one run of a server. A server forgets its scripts when it restarts and never had its
/// primary's, so one that knows this text is the very process the gateway attached to.
pub(super) fn decide_text(run: &str) -> String {
    format!("{DECIDE}-- {run}\n")
}

/// How long past its expiry a gateway with a slow clock may still accept a token, with room to spare.
const SKEW: Ttl = Ttl::from_s(120);
/// How much longer than `LATE_SETTLE` a call is remembered, so that clocks may differ.
const MARGIN: Ttl = Ttl::from_s(120);
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
    let sheets = Sheet::all(&ask.budgets, ask.now);
    let mut names = vec![
        keys.epoch(),
        keys.call(&ask.id),
        keys.token(&ask.token.jti),
        keys.rates(&ask.agent),
        keys.open(),
    ];
    names.extend(sheets.iter().map(|sheet| keys.sheet(sheet.window, sheet.index)));
    let token_life = Ttl::from_ms(ask.token.expires_at.since(ask.now).ms() + SKEW.ms());
    let mut command = evalsha(sha, &names);
    command
        .arg(clock.tell_us(ask.now))
        .arg(stamp)
        .arg(token_use(ask))
        .arg(token_life.ms())
        .arg(ask.estimate.micro_usd())
        .arg(ask.hold_ttl.ms())
        .arg(call_life(&sheets, ask.hold_ttl, ask.now).ms());
    let member = Member { id: ask.id, sheets };
    command.arg(member.to_string());
    for window in RateWindow::ALL {
        let (interval, tolerance) =
            ask.rates.agent.get(window).map_or((0, 0), |limit| pace_us(window, limit));
        command.arg(interval).arg(tolerance);
    }
    for sheet in &member.sheets {
        command.arg(sheet.life(ask.now).ms()).arg(sheet.lines.len());
        for (scope, limit) in &sheet.lines {
            let (spent, held) = fields(scope);
            command.arg(spent).arg(held).arg(limit.micro_usd());
        }
    }
    command
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
    let answer = match *words.as_slice() {
        [0, held, left] => {
            let (held, budget_left) = (money(held)?, money(left)?);
            HotAnswer::Granted(Grant { held, budget_left, tightest: None, warned: 0, rate: None })
        }
        [1] => HotAnswer::Refused(HotRefusal::Replayed),
        [2, window, wait_us] => {
            let nth = usize::try_from(window).ok()?.checked_sub(1)?;
            let retry_after = ttl_ceil(u64::try_from(wait_us).ok()?.saturating_mul(1_000));
            let (of, window) = (CountScope::Agent, *RateWindow::ALL.get(nth)?);
            HotAnswer::Refused(HotRefusal::Rate { of, window, retry_after })
        }
        [3, ref refusing @ ..] => HotAnswer::Refused(resets_last(refusing, ask)?),
        _ => return None,
    };
    Some(answer)
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
fn resets_last(refusing: &[i64], ask: &Ask) -> Option<HotRefusal> {
    let sheets = Sheet::all(&ask.budgets, ask.now);
    let windows: Vec<_> =
        sheets.iter().flat_map(|sheet| sheet.lines.iter().map(|_| sheet.window)).collect();
    let mut last: Option<(Ttl, u8, MicroUsd)> = None;
    for pair in refusing.chunks(2) {
        let [nth, left] = *pair else { return None };
        let window = windows.get(usize::try_from(nth).ok()?)?;
        let resets_in = Period::of(*window, ask.now).left(ask.now);
        last = last.max(Some((resets_in, u8::try_from(nth).ok()?, money(left)?)));
    }
    last.map(|(resets_in, nth, left)| HotRefusal::Budget { nth, left, resets_in })
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Cost(MicroUsd),
    Overdue,
}

pub(super) fn settle(sha: &str, hold: &Hold, cost: MicroUsd, now: Timestamp, clock: Clock) -> Cmd {
    let member = Member { id: hold.id, sheets: Sheet::all(&hold.budgets, hold.decided_at) };
    let end = End {
        how: Ending::Cost(cost),
        estimate: hold.estimate,
        is_late: hold.expires_at.plus(LATE_SETTLE) <= now,
        expires_at: hold.expires_at,
    };
    close(sha, &Keys::of(&hold.tenant), &member, &end, (now, clock))
}

/// Charges a hold that `reap` found; its estimate is in the call's record.
pub(super) fn expire(
    sha: &str,
    keys: &Keys,
    member: &Member,
    (now, clock): (Timestamp, Clock),
) -> Cmd {
    let end =
        End { how: Ending::Overdue, estimate: MicroUsd::ZERO, is_late: false, expires_at: now };
    close(sha, keys, member, &end, (now, clock))
}

struct End {
    how: Ending,
    estimate: MicroUsd,
    is_late: bool,
    expires_at: Timestamp,
}

fn close(
    sha: &str,
    keys: &Keys,
    member: &Member,
    end: &End,
    (now, clock): (Timestamp, Clock),
) -> Cmd {
    let mut names = vec![keys.call(&member.id), keys.open()];
    names.extend(member.sheets.iter().map(|sheet| keys.sheet(sheet.window, sheet.index)));
    let (mode, cost) = match end.how {
        Ending::Cost(cost) => ("s", cost),
        Ending::Overdue => ("x", MicroUsd::ZERO),
    };
    let mut command = evalsha(sha, &names);
    command
        .arg(clock.tell_us(now))
        .arg(mode)
        .arg(end.estimate.micro_usd())
        .arg(cost.micro_usd())
        .arg(u8::from(end.is_late))
        .arg(LATE_SETTLE.ms() + MARGIN.ms())
        .arg(member.to_string())
        .arg(end.expires_at.unix_ms());
    for sheet in &member.sheets {
        command.arg(sheet.life(now).ms()).arg(sheet.lines.len());
        for (scope, _) in &sheet.lines {
            let (spent, held) = fields(scope);
            command.arg(spent).arg(held);
        }
    }
    command
}

/// What `settle` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    Settled(Settled),
    TooLate,
    NotOverdue,
}

pub(super) fn closed(reply: &Value) -> Option<Closed> {
    match reply {
        Value::Int(0) => Some(Closed::Settled(Settled::Applied)),
        Value::Int(1) => Some(Closed::Settled(Settled::Duplicate)),
        Value::Int(2) => Some(Closed::TooLate),
        Value::Int(3) => Some(Closed::NotOverdue),
        _ => None,
    }
}

fn integers(reply: &Value) -> Option<Vec<i64>> {
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

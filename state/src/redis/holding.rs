//! What becomes of a hold, and corrections: what goes into and comes out of those scripts.
//!
//! Not here: the decision a hold begins with (`scripts`). Invariant: an answer of an unknown shape is an error.

use aegis_domain::{MicroUsd, Timestamp};
use redis::{Cmd, Value};

use super::config::Clock;
use super::keys::{Keys, Member};
use super::scripts::{MARGIN, evalsha, integers, money};
use super::sheets::{Grain, Sheet, Weighed, slices, written};
use crate::budget::When;
use crate::{
    Adjustment, Change, Extended, Hold, InFlightName, LATE_SETTLE, Period, Settled, Spend,
};

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Cost(MicroUsd),
    Overdue,
}

struct End {
    how: Ending,
    estimate: MicroUsd,
    is_late: bool,
    expires_at: Timestamp,
}

/// What a gateway tells beside the hold: its time, and whose time counts.
pub(super) type Told = (Timestamp, Clock);

pub(super) fn settle(sha: &str, hold: &Hold, cost: MicroUsd, (now, clock): Told) -> Cmd {
    let keys = Keys::of(&hold.tenant);
    let member = Member { id: hold.id, sheets: Sheet::all(&hold.budgets, hold.decided_at) };
    let end = End {
        how: Ending::Cost(cost),
        estimate: hold.estimate,
        is_late: hold.expires_at.plus(LATE_SETTLE) <= now,
        expires_at: hold.expires_at,
    };
    let counted = InFlightName::all_of(hold).map(|name| keys.flight(&name)).collect();
    close(sha, &keys, (&member, counted), &end, (now, clock))
}

/// Charges a hold that `reap` found; its estimate is in the call's record, and no count has it any more.
pub(super) fn expire(sha: &str, keys: &Keys, member: &Member, (now, clock): Told) -> Cmd {
    let end =
        End { how: Ending::Overdue, estimate: MicroUsd::ZERO, is_late: false, expires_at: now };
    close(sha, keys, (member, Vec::new()), &end, (now, clock))
}

fn close(
    sha: &str,
    keys: &Keys,
    (member, counted): (&Member, Vec<String>),
    end: &End,
    (now, clock): Told,
) -> Cmd {
    let flights = counted.len();
    let mut names = vec![keys.call(&member.id), keys.open()];
    names.extend(counted);
    names.extend(member.sheets.iter().map(|sheet| sheet.key(keys)));
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
        .arg(end.expires_at.unix_ms())
        .arg(flights);
    member.sheets.iter().for_each(|sheet| sheet.add_fields_to(&mut command, now));
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

pub(super) fn extend(sha: &str, hold: &Hold, total: MicroUsd, (now, clock): Told) -> Cmd {
    let keys = Keys::of(&hold.tenant);
    let when = When { decided_at: hold.decided_at, now };
    let weighed = Weighed::of(&hold.budgets, when);
    let mut names = vec![keys.call(&hold.id), keys.open()];
    names.extend(weighed.keys(&keys));
    let member = Member { id: hold.id, sheets: weighed.sheets.clone() };
    let mut command = evalsha(sha, &names);
    command
        .arg(clock.tell_us(now))
        .arg(total.micro_usd())
        .arg(member.to_string())
        .arg(weighed.sheets.len());
    weighed.add_to(&mut command, now);
    command
}

/// Reads what `extend` said: `None` is an answer of no known shape, and within it that no such hold is open.
pub(super) fn extended(reply: &Value, hold: &Hold, now: Timestamp) -> Option<Option<Extended>> {
    let words = integers(reply)?;
    match *words.as_slice() {
        [0] => Some(Some(Extended::Granted)),
        [3, ref refusing @ ..] => {
            let when = When { decided_at: hold.decided_at, now };
            let (nth, left, _) = super::scripts::resets_last(refusing, &hold.budgets, when)?;
            Some(Some(Extended::Refused { nth, left }))
        }
        [5] => Some(None),
        _ => None,
    }
}

pub(super) fn adjust(sha: &str, adjustment: &Adjustment, now: Timestamp) -> Option<Cmd> {
    let Adjustment { id, key, change, now: at } = adjustment;
    let keys = Keys::of(&key.tenant);
    let slices = slices(key, *at, Grain::Hours);
    let (life, fields) = written(key, *at);
    let mut names = vec![keys.adjustment(id)];
    names.extend(slices.iter().map(|slice| slice.key.clone()));
    let (sign, amount) = match change {
        Change::Add(more) => ("+", more),
        Change::Subtract(less) => ("-", less),
    };
    // The whole of a day of hours is a sum of its own.
    let whole = match fields.as_slice() {
        [_] => "",
        [whole, ..] => &whole.spent,
        [] => return None,
    };
    let index = Period::of(key.window, *at).index;
    let remembered = Period::kept_until(key.window, index).since(now);
    let mut command = evalsha(sha, &names);
    command.arg(sign).arg(amount.micro_usd()).arg(remembered.ms().max(1)).arg(life.ms()).arg(whole);
    slices.iter().for_each(|slice| slice.add_to(&mut command));
    Some(command)
}

pub(super) fn adjusted(reply: &Value) -> Option<Spend> {
    let words = integers(reply)?;
    let [spent, held] = *words.as_slice() else { return None };
    Some(Spend { spent: money(spent)?, held: money(held)? })
}

//! Lists, calendars, approvals and obligations of two versions.
//!
//! Not here: the tools that use them (`tool`). Invariant: the direction of a list that grows is that of every use of it
//! in the new version; uses that pull apart make it unclear.

use std::collections::BTreeMap;

use aegis_domain::Obligation;

use super::change::{Changes, Direction, Places};
use aegis_policy_language::{
    Approval, Calendar, Condition, Declared, ListRef, Mode, Name, PolicySet, RuleEffect, Test, Text,
};

pub(super) fn declarations((old, new): (&PolicySet, &PolicySet), changes: &mut Changes) {
    let mut lists = |path: &str,
                     (before, after): (&Vec<Text>, &Vec<Text>),
                     name: &Name,
                     at: Places<'_>,
                     changes: &mut Changes| {
        let texts = (before.iter().map(Text::as_str), after.iter().map(Text::as_str));
        changes.members(path, texts, growth(new, name), at);
    };
    each((old, new), Declared::List, (&old.lists, &new.lists), changes, &mut lists);
    let mut calendars = |path: &str,
                         (before, after): (&Calendar, &Calendar),
                         _: &Name,
                         at: Places<'_>,
                         changes: &mut Changes| {
        let (a, b) = (&before.text, &after.text);
        if (&a.tz, &a.weekly, &a.holidays) != (&b.tz, &b.weekly, &b.holidays) {
            changes.add(path, "is open at other times".to_owned(), Direction::Unclear, at);
        }
    };
    each((old, new), Declared::Calendar, (&old.calendars, &new.calendars), changes, &mut calendars);
    let mut approvals = |path: &str,
                         both: (&Approval, &Approval),
                         _: &Name,
                         at: Places<'_>,
                         changes: &mut Changes| {
        approval(path, both, at, changes);
    };
    each((old, new), Declared::Approval, (&old.approvals, &new.approvals), changes, &mut approvals);
    let mut obligations = |path: &str,
                           both: (&Vec<Obligation>, &Vec<Obligation>),
                           _: &Name,
                           at: Places<'_>,
                           changes: &mut Changes| {
        obligation(path, both, at, changes);
    };
    each(
        (old, new),
        Declared::Obligation,
        (&old.obligations, &new.obligations),
        changes,
        &mut obligations,
    );
}

type Compare<'c, V> = &'c mut dyn FnMut(&str, (&V, &V), &Name, Places<'_>, &mut Changes);

/// Names what only one version declares; that alone decides nothing, its uses do.
fn each<V>(
    (old, new): (&PolicySet, &PolicySet),
    declared: Declared,
    (before, after): (&BTreeMap<Name, V>, &BTreeMap<Name, V>),
    changes: &mut Changes,
    compare: Compare<'_, V>,
) {
    for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
        let key = (declared, name.clone());
        let at = (old.places.get(&key), new.places.get(&key));
        let path = format!("{}s.{name}", declared.as_str());
        match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => compare(&path, (before, after), name, at, changes),
            (Some(_), None) => changes.add(&path, "is gone".to_owned(), Direction::Neutral, at),
            (None, _) => changes.add(&path, "is new".to_owned(), Direction::Neutral, at),
        }
    }
}

/// What it does to calls when the list gets more members.
fn growth(set: &PolicySet, name: &Name) -> Direction {
    let named = |list: &ListRef| matches!(list, ListRef::Named { name: used, .. } if used == name);
    let mut growth = Direction::Neutral;
    for tool in set.tools.values() {
        let scopes = |place| tool.named_lists().any(|used| used == (place, name));
        let grants = tool.params.values().filter_map(|param| param.one_of.as_ref());
        let mut grants = grants.chain(&tool.allow.groups).chain([&tool.matching.hosts]);
        let any = [
            aegis_policy_language::Place::Regions,
            aegis_policy_language::Place::Methods,
            aegis_policy_language::Place::Paths,
        ];
        if grants.any(named) || any.into_iter().any(scopes) {
            growth = growth.and(Direction::Looser);
        }
        if scopes(aegis_policy_language::Place::Scopes) {
            growth = growth.and(Direction::Stricter);
        }
        for rule in tool.rules.iter().filter(|rule| rule.mode == Mode::Enforce) {
            growth = growth.and(in_condition(&rule.when, &named, Direction::Stricter));
        }
    }
    let exceptions = set.all_exceptions();
    exceptions.fold(growth, |growth, exception| {
        growth.and(in_condition(&exception.when, &named, Direction::Looser))
    })
}

/// The direction of a condition that holds more often is `more`; under a `not` it turns round.
fn in_condition(
    condition: &Condition,
    named: &impl Fn(&ListRef) -> bool,
    more: Direction,
) -> Direction {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts
            .iter()
            .fold(Direction::Neutral, |found, part| found.and(in_condition(part, named, more))),
        Condition::Not(inner) => in_condition(inner, named, more.opposite()),
        Condition::Leaf { test: Test::In(list), .. } if named(list) => more,
        Condition::Leaf { .. }
        | Condition::Always
        | Condition::Dlp(_)
        | Condition::Calendar { .. }
        | Condition::Money { .. } => Direction::Neutral,
    }
}

fn approval(path: &str, (old, new): (&Approval, &Approval), at: Places<'_>, changes: &mut Changes) {
    if old.route != new.route {
        let message = format!("asks `{}` instead of `{}`", new.route, old.route);
        changes.add(path, message, Direction::Unclear, at);
    }
    let towards = |more: bool| if more { Direction::Stricter } else { Direction::Looser };
    if old.quorum != new.quorum {
        let message = format!("needs {} to agree instead of {}", new.quorum, old.quorum);
        changes.add(path, message, towards(new.quorum > old.quorum), at);
    }
    if old.expires != new.expires {
        let message =
            format!("is good for {} ms instead of {} ms", new.expires.ms(), old.expires.ms());
        changes.add(path, message, towards(new.expires < old.expires), at);
    }
    let bound = (old.bind.iter().map(Name::as_str), new.bind.iter().map(Name::as_str));
    // Without any name the whole call is bound.
    let more = if old.bind.is_empty() || new.bind.is_empty() {
        Direction::Unclear
    } else {
        Direction::Stricter
    };
    changes.members(&format!("{path}.bind"), bound, more, at);
}

fn obligation(
    path: &str,
    (old, new): (&Vec<Obligation>, &Vec<Obligation>),
    at: Places<'_>,
    changes: &mut Changes,
) {
    let direction = |removed: usize, added: usize| match (removed, added) {
        (0, 0) => Direction::Neutral,
        (0, _) => Direction::Stricter,
        (_, 0) => Direction::Looser,
        _ => Direction::Unclear,
    };
    let missing = |from: &[Obligation], other: &[Obligation]| {
        from.iter().filter(|part| !other.iter().any(|other| covers(other, part))).count()
    };
    let (removed, added) = (missing(old, new), missing(new, old));
    if removed + added > 0 {
        changes.add(path, "asks for other things".to_owned(), direction(removed, added), at);
    }
}

/// Whether whoever does the one has done the other.
fn covers(one: &Obligation, other: &Obligation) -> bool {
    match (one, other) {
        (Obligation::Redact { detectors: a }, Obligation::Redact { detectors: b }) => {
            b.iter().all(|detector| a.contains(detector))
        }
        (Obligation::RedactFields { fields: a }, Obligation::RedactFields { fields: b }) => {
            b.iter().all(|field| a.contains(field))
        }
        (Obligation::KeepFields { fields: a }, Obligation::KeepFields { fields: b }) => {
            a.iter().all(|field| b.contains(field))
        }
        (one, other) => one == other,
    }
}

/// The approval or obligation of a rule in words.
pub(super) fn effect_phrase(effect: &RuleEffect) -> String {
    match effect {
        RuleEffect::Deny { .. } => "deny".to_owned(),
        RuleEffect::ApprovalNeeded { approval } => format!("approval_needed by `{approval}`"),
        RuleEffect::Sanitize { obligation } => format!("sanitize with `{obligation}`"),
    }
}

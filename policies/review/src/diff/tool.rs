//! Tools of two versions: what is a call of them, who may make it, what it may hold, which rules judge it.
//!
//! Not here: what their lists, approvals and obligations hold (`declared`). Invariant: a list that both versions take by
//! the same name is compared there, not here.

use std::collections::BTreeSet;

use aegis_domain::{CallKind, Method, Region, RuleId, ToolName};

use super::change::{Changes, Direction, Places};
use super::declared::effect_phrase;
use super::exception::exceptions;
use super::phrase;
use super::reach::reach;
use crate::truth::{Calls, Effort, bounds_order};
use aegis_policy_language::{
    Exception, ListRef, Mode, Name, Param, ParamKind, PathPattern, Place, PolicySet, Presence,
    Rule, Text, Tool, UnknownParams,
};

pub(super) fn tools((old, new): (&PolicySet, &PolicySet), effort: &Effort, changes: &mut Changes) {
    let names: BTreeSet<&ToolName> = old.tools.keys().chain(new.tools.keys()).collect();
    for name in names {
        let path = format!("tools.{name}");
        match (old.tools.get(name), new.tools.get(name)) {
            (Some(before), Some(after)) => {
                let places = (Some(&before.at), Some(&after.at));
                Pair { sets: (old, new), tools: (before, after), path, places, changes }
                    .compare(effort);
            }
            (Some(before), None) => {
                changes.add(
                    &path,
                    "is gone".to_owned(),
                    Direction::Stricter,
                    (Some(&before.at), None),
                );
            }
            (None, Some(after)) => {
                changes.add(&path, "is new".to_owned(), Direction::Looser, (None, Some(&after.at)));
            }
            (None, None) => {}
        }
    }
}

/// One tool in both versions.
struct Pair<'s, 'c> {
    sets: (&'s PolicySet, &'s PolicySet),
    tools: (&'s Tool, &'s Tool),
    path: String,
    places: Places<'s>,
    changes: &'c mut Changes,
}

impl<'s> Pair<'s, '_> {
    fn compare(&mut self, effort: &Effort) {
        let (old, new) = self.tools;
        if old.class != new.class {
            let direction = match new.class {
                CallKind::Read => Direction::Looser,
                CallKind::Write => Direction::Stricter,
            };
            self.add("class", format!("becomes {}", new.class.as_str()), direction);
        }
        if old.unknown_params != new.unknown_params {
            let (message, direction) = match new.unknown_params {
                UnknownParams::Deny => ("denies the call", Direction::Stricter),
                UnknownParams::Strip => ("are taken out of the call", Direction::Looser),
            };
            self.add("unknown_params", message.to_owned(), direction);
        }
        self.requests();
        self.callers();
        self.params();
        let calls = Calls::of(self.sets.1, new, effort);
        self.rules(&calls);
        let path = format!("{}.exceptions", self.path);
        let sets = self.sets;
        let in_calls = |before: &Exception, after: &Exception| {
            reach(&calls, sets, (&before.when, &after.when))
        };
        exceptions(&path, (&old.exceptions, &new.exceptions), &in_calls, self.changes);
    }

    fn add(&mut self, part: &str, message: String, direction: Direction) {
        self.changes.add(&format!("{}.{part}", self.path), message, direction, self.places);
    }

    /// Compares the members of a place; a list that both versions name is told where it is declared.
    fn members<'m>(
        &mut self,
        place: Place,
        members: (impl Iterator<Item = &'m str>, impl Iterator<Item = &'m str>),
        more: Direction,
    ) {
        let named = |tool: &'s Tool| tool.named_lists().find(|(found, _)| *found == place);
        let (old, new) = (named(self.tools.0), named(self.tools.1));
        if old.is_some() && old == new {
            return;
        }
        let part = match place {
            Place::Scopes => "allow.scopes",
            Place::Regions => "allow.regions",
            Place::Methods => "match.methods",
            Place::Paths => "match.paths",
        };
        self.changes.members(&format!("{}.{part}", self.path), members, more, self.places);
    }

    fn texts(&mut self, part: &str, (old, new): (&'s ListRef, &'s ListRef)) {
        if let (ListRef::Named { name: a, .. }, ListRef::Named { name: b, .. }) = (old, new)
            && a == b
        {
            return;
        }
        let (before, after) = (self.sets.0.members(old), self.sets.1.members(new));
        let members = (before.iter().map(Text::as_str), after.iter().map(Text::as_str));
        let path = format!("{}.{part}", self.path);
        self.changes.members(&path, members, Direction::Looser, self.places);
    }

    fn requests(&mut self) {
        let (old, new) = (&self.tools.0.matching, &self.tools.1.matching);
        let kind = |mcp: bool| if mcp { "MCP calls" } else { "plain requests" };
        match (&old.mcp, &new.mcp) {
            (Some(before), Some(after)) if before != after => {
                let message = format!(
                    "is for `{}` of `{}` instead of `{}` of `{}`",
                    after.tool, after.server, before.tool, before.server
                );
                self.add("match.mcp", message, Direction::Unclear);
            }
            (Some(_), Some(_)) | (None, None) => {}
            (before, after) => {
                // Hosts mean the same for both, yet no call is of both kinds.
                let (before, after) = (kind(before.is_some()), kind(after.is_some()));
                let message = format!("is for {after} instead of {before}");
                return self.add("match", message, Direction::Unclear);
            }
        }
        let any = |list: &ListRef| matches!(list, ListRef::Inline(hosts) if hosts.is_empty());
        match (any(&old.hosts), any(&new.hosts)) {
            (false, false) => self.texts("match.hosts", (&old.hosts, &new.hosts)),
            (true, true) => {}
            (true, false) => self.add("match.hosts", "is limited".to_owned(), Direction::Stricter),
            (false, true) => self.add("match.hosts", "is any host".to_owned(), Direction::Looser),
        }
        let methods = |methods: &'s [Method]| methods.iter().map(Method::as_str);
        let methods = (methods(&old.methods), methods(&new.methods));
        self.members(Place::Methods, methods, Direction::Looser);
        let paths = |paths: &'s [PathPattern]| paths.iter().map(PathPattern::as_str);
        self.members(Place::Paths, (paths(&old.paths), paths(&new.paths)), Direction::Looser);
    }

    fn callers(&mut self) {
        let (old, new) = (&self.tools.0.allow, &self.tools.1.allow);
        let scopes =
            |ids: &'s [RuleId]| ids.iter().map(|id| id.as_str().trim_start_matches("scope."));
        let scopes = (scopes(&old.scopes), scopes(&new.scopes));
        self.members(Place::Scopes, scopes, Direction::Stricter);
        match (&old.groups, &new.groups) {
            (Some(before), Some(after)) => self.texts("allow.groups", (before, after)),
            (None, Some(_)) => {
                self.add("allow.groups", "is asked for".to_owned(), Direction::Stricter)
            }
            (Some(_), None) => {
                self.add("allow.groups", "is no longer asked for".to_owned(), Direction::Looser)
            }
            (None, None) => {}
        }
        let regions = |regions: &'s Vec<Region>| regions.iter().map(Region::as_str);
        match (&old.regions, &new.regions) {
            (Some(before), Some(after)) => {
                let regions = (regions(before), regions(after));
                self.members(Place::Regions, regions, Direction::Looser);
            }
            (None, Some(_)) => {
                self.add("allow.regions", "is limited".to_owned(), Direction::Stricter)
            }
            (Some(_), None) => {
                self.add("allow.regions", "is any region".to_owned(), Direction::Looser)
            }
            (None, None) => {}
        }
    }

    fn params(&mut self) {
        let (old, new) = (&self.tools.0.params, &self.tools.1.params);
        let names: BTreeSet<&Name> = old.keys().chain(new.keys()).collect();
        for name in names {
            let path = format!("{}.params.{name}", self.path);
            let required = |param: &Param| param.required == Presence::Required;
            // Where it is stripped, a value passes that its checks would have denied.
            let strips = |tool: &Tool| tool.unknown_params == UnknownParams::Strip;
            match (old.get(name), new.get(name)) {
                (Some(before), Some(after)) => self.param(&path, (before, after)),
                (Some(before), None) => {
                    let clear = !required(before) && !strips(self.tools.1);
                    let direction = if clear { Direction::Stricter } else { Direction::Unclear };
                    let at = (Some(&before.at), None);
                    self.changes.add(&path, "is gone".to_owned(), direction, at);
                }
                (None, Some(after)) => {
                    let clear = !required(after) && !strips(self.tools.0);
                    let direction = if clear { Direction::Looser } else { Direction::Unclear };
                    let word = if required(after) { "is new and required" } else { "is new" };
                    self.changes.add(&path, word.to_owned(), direction, (None, Some(&after.at)));
                }
                (None, None) => {}
            }
        }
    }

    fn param(&mut self, path: &str, (old, new): (&'s Param, &'s Param)) {
        let at = (Some(&old.at), Some(&new.at));
        let mut say = |message: String, direction| self.changes.add(path, message, direction, at);
        if old.kind != new.kind {
            let direction = match (old.kind, new.kind) {
                (ParamKind::Integer, ParamKind::Number) => Direction::Looser,
                (ParamKind::Number, ParamKind::Integer) => Direction::Stricter,
                _ => Direction::Unclear,
            };
            say("has another type".to_owned(), direction);
        }
        if old.required != new.required {
            match new.required {
                Presence::Required => say("becomes required".to_owned(), Direction::Stricter),
                Presence::Optional => say("becomes optional".to_owned(), Direction::Looser),
            }
        }
        // A greater minimum and a smaller maximum let fewer values through.
        let (min, max) = (bounds_order(&old.min, &new.min), bounds_order(&old.max, &new.max));
        for (what, narrower, before, after) in [
            ("min", min.map(|order| order.is_lt()), &old.min, &new.min),
            ("max", max.map(|order| order.is_gt()), &old.max, &new.max),
        ] {
            let direction = match (before, after) {
                (None, Some(_)) => Direction::Stricter,
                (Some(_), None) => Direction::Looser,
                _ if narrower == Some(true) => Direction::Stricter,
                _ => Direction::Looser,
            };
            if before != after {
                say(format!("`{what}` {}", from_to(before, after)), direction);
            }
        }
        if old.max_length != new.max_length {
            let longest = |length: Option<u32>| length.unwrap_or(u32::MAX);
            let shorter = longest(new.max_length) < longest(old.max_length);
            let direction = if shorter { Direction::Stricter } else { Direction::Looser };
            say(format!("`max_length` {}", from_to(&old.max_length, &new.max_length)), direction);
        }
        if old.pattern != new.pattern {
            let direction = match (&old.pattern, &new.pattern) {
                (None, _) => Direction::Stricter,
                (_, None) => Direction::Looser,
                (Some(_), Some(_)) => Direction::Unclear,
            };
            say(format!("`pattern` {}", from_to(&old.pattern, &new.pattern)), direction);
        }
        match (&old.one_of, &new.one_of) {
            (Some(before), Some(after)) => self.param_list(path, (before, after), at),
            (None, Some(_)) => say("`in` is asked for".to_owned(), Direction::Stricter),
            (Some(_), None) => say("`in` is no longer asked for".to_owned(), Direction::Looser),
            (None, None) => {}
        }
    }

    fn param_list(&mut self, path: &str, lists: (&'s ListRef, &'s ListRef), at: Places<'s>) {
        let (places, whole) = (self.places, std::mem::replace(&mut self.path, path.to_owned()));
        self.places = at;
        self.texts("in", lists);
        (self.places, self.path) = (places, whole);
    }

    fn rules(&mut self, calls: &Calls<'_>) {
        let (old, new) = (&self.tools.0.rules, &self.tools.1.rules);
        let decides = |rule: &Rule, direction| match rule.mode {
            Mode::Enforce => direction,
            Mode::Shadow => Direction::Neutral,
        };
        for before in old {
            let path = format!("{}.rules.{}", self.path, before.id);
            match new.iter().find(|after| after.id == before.id) {
                Some(after) => self.rule(&path, (before, after), calls),
                None => {
                    let direction = decides(before, Direction::Looser);
                    self.changes.add(
                        &path,
                        "is gone".to_owned(),
                        direction,
                        (Some(&before.at), None),
                    );
                }
            }
        }
        for after in new.iter().filter(|after| !old.iter().any(|before| before.id == after.id)) {
            let path = format!("{}.rules.{}", self.path, after.id);
            let message = format!(
                "is new: {} when {}",
                effect_phrase(&after.effect),
                phrase::condition(&after.when)
            );
            let direction = decides(after, Direction::Stricter);
            self.changes.add(&path, message, direction, (None, Some(&after.at)));
        }
    }

    fn rule(&mut self, path: &str, (old, new): (&'s Rule, &'s Rule), calls: &Calls<'_>) {
        let at = (Some(&old.at), Some(&new.at));
        match (old.mode, new.mode) {
            (Mode::Enforce, Mode::Shadow) => {
                self.changes.add_downgrade(path, "is no longer enforced", at);
            }
            (Mode::Shadow, Mode::Enforce) => {
                self.changes.add(path, "is enforced now".to_owned(), Direction::Stricter, at);
            }
            (Mode::Enforce, Mode::Enforce) | (Mode::Shadow, Mode::Shadow) => {}
        }
        let quiet = new.mode == Mode::Shadow;
        let decides = |direction| if quiet { Direction::Neutral } else { direction };
        let (before, after) = (effect_phrase(&old.effect), effect_phrase(&new.effect));
        if before != after {
            let direction = match new.level().cmp(&old.level()) {
                std::cmp::Ordering::Greater => Direction::Stricter,
                std::cmp::Ordering::Less => Direction::Looser,
                std::cmp::Ordering::Equal => Direction::Unclear,
            };
            self.changes.add(path, format!("{before} becomes {after}"), decides(direction), at);
        }
        if old.reason() != new.reason() {
            self.changes.add(path, "gives another reason".to_owned(), Direction::Neutral, at);
        }
        let (before, after) = (phrase::condition(&old.when), phrase::condition(&new.when));
        if before != after {
            let direction = reach(calls, self.sets, (&old.when, &new.when));
            let word = if direction == Direction::Neutral { "is written as" } else { "fires on" };
            let message = format!("{word} {after}, before on {before}");
            self.changes.add(path, message, decides(direction), at);
        }
    }
}

fn from_to<V: std::fmt::Display>(old: &Option<V>, new: &Option<V>) -> String {
    match (old, new) {
        (Some(old), Some(new)) => format!("from {old} to {new}"),
        (None, Some(new)) => format!("of {new}"),
        (Some(old), None) => format!("of {old} is gone"),
        (None, None) => String::new(),
    }
}

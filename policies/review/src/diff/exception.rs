//! The exceptions of two versions, those of a tool and those of the set.
//!
//! Not here: the rules that they lift (`tool`). Invariant: having an exception is looser than having none, whatever it
//! is for; what becomes of its calls is told by what its conditions mean.

use aegis_policy_language::{Exception, PolicySet};

use super::change::{Changes, Direction};
use super::phrase;
use super::reach::reach;
use crate::truth::{Calls, Effort};

/// How many calls two versions of an exception are for, as `reach` says it of a rule.
type Reach<'r> = &'r dyn Fn(&Exception, &Exception) -> Direction;

/// Those of the set are for the calls of every tool that has one of their rules.
pub(super) fn of_sets(
    (old, new): (&PolicySet, &PolicySet),
    effort: &Effort,
    changes: &mut Changes,
) {
    let in_tools = |before: &Exception, after: &Exception| {
        let concerned = new
            .tools
            .values()
            .filter(|tool| tool.rules.iter().any(|rule| after.rules.contains(&rule.id)));
        concerned.fold(Direction::Neutral, |found, tool| {
            let calls = Calls::of(new, tool, effort);
            found.and(reach(&calls, (old, new), (&before.when, &after.when)))
        })
    };
    exceptions("exceptions", (&old.exceptions, &new.exceptions), &in_tools, changes);
}

/// An exception lifts rules, so having one is looser; one that changed is told by what it says.
pub(super) fn exceptions(
    path: &str,
    (old, new): (&[Exception], &[Exception]),
    reach: Reach<'_>,
    changes: &mut Changes,
) {
    for before in old {
        let path = format!("{path}.{}", before.id);
        match new.iter().find(|after| after.id == before.id) {
            None => changes.add(
                &path,
                "is gone".to_owned(),
                Direction::Stricter,
                (Some(&before.at), None),
            ),
            Some(after) => exception(&path, (before, after), reach, changes),
        }
    }
    for after in new.iter().filter(|after| !old.iter().any(|before| before.id == after.id)) {
        let message = format!("is new, owned by `{}`", after.owner);
        changes.add(
            &format!("{path}.{}", after.id),
            message,
            Direction::Looser,
            (None, Some(&after.at)),
        );
    }
}

fn exception(
    path: &str,
    (old, new): (&Exception, &Exception),
    reach: Reach<'_>,
    changes: &mut Changes,
) {
    let at = (Some(&old.at), Some(&new.at));
    if old.expires != new.expires {
        let longer = new.expires > old.expires;
        let direction = if longer { Direction::Looser } else { Direction::Stricter };
        let message = if longer { "ends later" } else { "ends earlier" };
        changes.add(path, message.to_owned(), direction, at);
    }
    let ids = (old.rules.iter().map(|id| id.as_str()), new.rules.iter().map(|id| id.as_str()));
    changes.members(&format!("{path}.rules"), ids, Direction::Looser, at);
    let (before, after) = (phrase::condition(&old.when), phrase::condition(&new.when));
    if before != after {
        // What a rule catches, an exception lets go.
        let direction = reach(old, new).opposite();
        let word = if direction == Direction::Neutral { "is written as" } else { "is for" };
        changes.add(path, format!("{word} {after}, before {before}"), direction, at);
    }
    if (&old.owner, &old.reason) != (&new.owner, &new.reason) {
        changes.add(path, "has another owner or reason".to_owned(), Direction::Neutral, at);
    }
}

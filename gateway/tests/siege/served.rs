//! Which version decided each call of a line, held against what the line was at, epoch by epoch, and when stages ended.
//!
//! Not here: what was seen (`lines`, `roamers`). Invariant: a call is explained by an epoch that may have been when it was answered
//! and was not long over when it was sent, and none after a later one at the same gateway; whom a candidate serves is computed
//! from names alone, as the spec has it.

use aegis_domain::{AgentId, TenantId};
use aegis_linear::{Drive, LineCall, Of, Operation, Stand};
use aegis_policy_rollout::Bucket;

use crate::lines::{Chronicle, Rollout, View};
use crate::rollouts::{MIN_DURATION_S, UNFIT};
use crate::stage::Instants;

/// What moves rollouts on calls itself so.
const DRIVER: &str = "rollout driver";

/// One call and what decided it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) agent: String,
    pub(crate) at: Instants,
    pub(crate) version: u32,
    pub(crate) is_denied: bool,
}

/// What the calls of one gateway tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) by_candidates: usize,
    /// How long after an epoch was over a call was sent that no later one explains, at most; nanoseconds.
    pub(crate) latest: u64,
}

/// The version that decides an agent's calls.
fn decider(view: &View, agent: &str) -> u32 {
    let serves = |rollout: &&Rollout| {
        let (Stand::Running(reached) | Stand::Held(reached)) = rollout.stand() else {
            return false;
        };
        let (tenant, agent) = (TenantId::parse("other").unwrap(), AgentId::parse(agent).unwrap());
        let bucket = Bucket::of_agent(&rollout.id, &tenant, &agent);
        rollout.stages.iter().take(reached + 1).any(|stage| stage.share.covers(bucket))
    };
    view.rollout.as_ref().filter(serves).map_or(view.active, |rollout| rollout.candidate)
}

/// The calls of one gateway in order; `late` is how long an epoch may decide that is over.
pub(crate) fn explain(chronicle: &Chronicle, calls: &[Served], late: u64) -> Result<Told, String> {
    let (mut told, mut epoch) = (Told::default(), 1);
    for call in calls {
        if call.is_denied != (call.version == UNFIT) {
            return Err(format!("version {} answers otherwise: {call:?}", call.version));
        }
        let last = chronicle.views.keys().next_back().copied().unwrap_or_default();
        let over = |epoch| {
            chronicle.over_since(epoch).map_or(0, |over| call.at.called.saturating_sub(over))
        };
        let fits = |epoch: &u64| {
            // What nobody saw may have been anything that was ever rolled out.
            let view = chronicle.views.get(epoch);
            view.is_none_or(|view| decider(view, &call.agent) == call.version)
                && chronicle.may_be(*epoch, call.at.heard)
                && over(*epoch) <= late
        };
        let found = (epoch..=last).find(fits);
        epoch = found.ok_or_else(|| {
            let near: Vec<_> = chronicle.views.range(epoch..).take(4).collect();
            format!("no epoch from {epoch} on explains {call:?}: {near:#?}")
        })?;
        let view = chronicle.views.get(&epoch);
        told.by_candidates += usize::from(view.is_some_and(|view| view.active != call.version));
        let surely = (epoch..=last).rev().find(fits).map_or(0, over);
        told.latest = told.latest.max(surely);
    }
    Ok(told)
}

/// How often each happened by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Driven {
    pub(crate) on: usize,
    pub(crate) complete: usize,
    pub(crate) back: usize,
    pub(crate) held: usize,
}

/// Time does not go back from epoch to epoch, and no stage ends by itself before its time, by the ledger's clock.
pub(crate) fn stages_lasted(chronicle: &Chronicle) -> Result<Driven, String> {
    let mut driven = Driven::default();
    for ((epoch, before), (next, after)) in
        chronicle.views.iter().zip(chronicle.views.iter().skip(1))
    {
        if after.at < before.at {
            return Err(format!("the ledger's clock went back: {before:#?} {after:#?}"));
        }
        let (Some(left), Some(now)) = (&before.rollout, &after.rollout) else { continue };
        if *next != epoch + 1 || left.id != now.id || after.by != DRIVER {
            continue;
        }
        let (Stand::Running(_) | Stand::Held(_)) = left.stand() else { continue };
        let gained = match (left.stand(), now.stand()) {
            (Stand::Running(_), Stand::Complete) => &mut driven.complete,
            (Stand::Running(one), Stand::Running(other)) if one < other => &mut driven.on,
            (_, Stand::RolledBack) => {
                driven.back += 1;
                continue;
            }
            (_, Stand::Held(_)) => {
                driven.held += 1;
                continue;
            }
            _ => continue,
        };
        *gained += 1;
        let since = left.since.ok_or("a stage without a beginning")?;
        let lasted = after.at.duration_since(since);
        // Both are shown in whole milliseconds.
        if lasted.as_millis() + 1 < i128::from(MIN_DURATION_S) * 1_000 {
            return Err(format!("a stage ended after {lasted:?}: {before:#?} {after:#?}"));
        }
    }
    Ok(driven)
}

/// What voters did by themselves, as calls that nobody heard: as it was seen, or all that it may have been.
pub(crate) fn drives(chronicle: &Chronicle) -> Vec<Of<aegis_linear::Line>> {
    let last = chronicle.views.keys().next_back().copied().unwrap_or_default();
    let is_driven = |seen: &u64| {
        let (before, after) = (chronicle.views.get(seen), chronicle.views.get(&(seen + 1)));
        let runs = before.is_none_or(|view| view.rollout.is_some());
        runs && after.is_none_or(|view| view.by == DRIVER)
    };
    let all = [Drive::On, Drive::Hold, Drive::LetGo, Drive::Back];
    let calls = (1..=last)
        .filter(is_driven)
        .flat_map(|seen| all.into_iter().map(move |to| LineCall::Drive { seen, to }));
    calls.map(|call| Operation { call, called_at: 0, reply: None }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const LATE: u64 = 100;

    fn view(epoch: u64, (by, at_s): (&str, u64), rollout: Value) -> View {
        let at = format!("2026-11-23T10:00:{at_s:02}Z");
        let body = json!({
            "epoch": epoch, "active": 1, "past": [], "rollout": rollout, "by": by, "at": at,
        });
        View::of(&body).unwrap()
    }

    fn running(stage: usize, since_s: u64) -> Value {
        rollout((2, "running"), Some(stage), Some(format!("2026-11-23T10:00:{since_s:02}Z")))
    }

    fn rollout(
        (candidate, state): (u32, &str),
        stage: Option<usize>,
        since: Option<String>,
    ) -> Value {
        json!({
            "id": format!("other/test@{candidate}.1"), "candidate": candidate, "state": state,
            "paused": false, "stage": stage, "since": since,
            "stages": [{ "share": "0%" }, { "share": "100%" }],
        })
    }

    /// Nobody is served in the first stage, everybody in the second; then it is taken back.
    fn chronicle() -> Chronicle {
        let mut chronicle = Chronicle::default();
        let views = [
            view(1, ("admin", 0), Value::Null),
            view(2, ("admin", 1), running(0, 1)),
            view(3, (DRIVER, 3), running(1, 3)),
            view(4, ("admin", 4), rollout((2, "aborted"), None, None)),
        ];
        for (number, view) in (1_u64..).zip(views) {
            let called = number * 1_000;
            let asked = Instants { called, heard: called + 10 };
            chronicle.note(view, asked, true);
        }
        chronicle
    }

    fn call(version: u32, called: u64) -> Served {
        let at = Instants { called, heard: called + 5 };
        Served { agent: "roamer-1".to_owned(), at, version, is_denied: version == UNFIT }
    }

    fn judged(calls: &[Served]) -> Result<Told, String> {
        explain(&chronicle(), calls, LATE)
    }

    #[test]
    fn what_was_active_and_whom_a_candidate_serves_explain_every_call() {
        let calls =
            [call(1, 1_100), call(1, 2_500), call(2, 2_700), call(2, 4_050), call(1, 4_060)];
        let told = judged(&calls).unwrap();
        assert_eq!((told.by_candidates, told.latest), (2, 40), "{told:?}");
    }

    #[test]
    fn a_candidate_before_its_stage_is_found() {
        judged(&[call(2, 1_900)]).unwrap_err();
        judged(&[call(2, 2_100)]).unwrap();
    }

    #[test]
    fn a_version_that_was_taken_back_and_decides_on_is_found() {
        judged(&[call(2, 4_100)]).unwrap();
        judged(&[call(2, 4_111)]).unwrap_err();
    }

    #[test]
    fn an_agent_that_leaves_a_candidate_under_way_is_found() {
        judged(&[call(2, 2_500), call(1, 2_600), call(2, 2_700)]).unwrap_err();
    }

    #[test]
    fn a_version_that_was_never_released_is_found() {
        judged(&[call(3, 3_500)]).unwrap_err();
        let denied = Served { is_denied: true, ..call(1, 1_100) };
        judged(&[denied]).unwrap_err();
    }

    #[test]
    fn a_stage_that_ended_early_is_found() {
        assert_eq!(stages_lasted(&chronicle()), Ok(Driven { on: 1, ..Driven::default() }));
        let early = |views: [View; 2]| {
            let mut chronicle = Chronicle::default();
            views.into_iter().for_each(|it| chronicle.note(it, Instants::default(), true));
            stages_lasted(&chronicle).unwrap_err()
        };
        early([view(2, ("admin", 1), running(0, 1)), view(3, (DRIVER, 2), running(1, 2))]);
        let complete = rollout((2, "complete"), None, None);
        early([view(2, ("admin", 1), running(1, 1)), view(3, (DRIVER, 2), complete)]);
        early([view(2, ("admin", 3), Value::Null), view(3, ("admin", 2), Value::Null)]);
    }

    #[test]
    #[should_panic(expected = "two lines at one epoch")]
    fn two_views_of_one_epoch_are_found() {
        let at = Instants::default();
        let mut chronicle = chronicle();
        chronicle.note(view(3, ("admin", 3), Value::Null), at, false);
    }
}

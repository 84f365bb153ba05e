//! People who roll versions out by stages, pause, resume, abort and go back, on whichever voter answers.
//!
//! Not here: what voters do by themselves, which is only seen, and whether it was right (`served`, `judgement`). Invariant: a
//! version that is not fit is never activated, only rolled out, and its first stage has a guard that must stop it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use aegis_control_client::{Answer, ClientError, Conditions};
use aegis_linear::{Line, LineCall, LineReply, Of, Operation, Stand, Why};
use serde_json::{Value, json};

use crate::doors::Street;
use crate::lines::{Chronicle, View};
use crate::people::{Fate, fate};
use crate::reads::is_agreed;
use crate::stage::{Instants, Stage};
use crate::town::{Town, until};

pub(crate) const LINE: &str = "/v1/policies/other/test";
/// These are fit.
const FIT: [u32; 2] = [1, 2];
pub(crate) const UNFIT: u32 = 3;
pub(crate) const STAGES: usize = 3;
pub(crate) const MIN_DURATION_S: i64 = 2;
/// One that goes no further is aborted, or left to whoever comes next.
const ROLLED_OUT_WITHIN: Duration = Duration::from_secs(25);
const PAUSE: Duration = Duration::from_millis(600);
const MEDDLED_EVERY: Duration = Duration::from_millis(1_300);

pub(crate) fn model() -> Line {
    Line { stages: STAGES, unfit: BTreeSet::from([UNFIT]) }
}

/// Guards are looked at before a stage may end, so the unfit one never leaves the first.
fn stages() -> Value {
    let stage = |share: &str| {
        json!({
            "share": share, "min_duration_s": MIN_DURATION_S, "calls_min": 3,
            "guards": [
                { "limit": "engine_errors", "then": "roll_back" },
                { "limit": { "deny_rate_delta": "50%" }, "then": "roll_back" },
                { "limit": { "p99": { "us_max": 200_000 } }, "then": "hold" },
            ],
        })
    };
    json!([stage("25%"), stage("60%"), stage("100%")])
}

/// Everything that was seen of the line.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) history: Vec<Of<Line>>,
    pub(crate) chronicle: Chronicle,
}

pub(crate) struct Rollers {
    pub(crate) seen: Arc<Mutex<Lines>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Roller {
    stage: Arc<Stage>,
    street: Street,
    seen: Arc<Mutex<Lines>>,
    turn: usize,
}

pub(crate) fn start(stage: &Arc<Stage>, town: &Town) -> Rollers {
    let seen = Arc::new(Mutex::new(Lines::default()));
    // The town stands by its first version.
    let call = LineCall::Activate { seen: 0, to: 1 };
    let first = Operation { call, called_at: 0, reply: Some((LineReply::Done, 1)) };
    seen.lock().unwrap().history.push(first);
    let (stage, street) = (Arc::clone(stage), town.street.clone());
    let roller = Roller { stage, street, seen: Arc::clone(&seen), turn: 0 };
    let mut meddler = Roller { turn: 500, ..roller.clone() };
    let mut roller = roller;
    let threads = vec![
        std::thread::spawn(move || roller.run()),
        std::thread::spawn(move || meddler.meddle()),
    ];
    Rollers { seen, threads }
}

impl Rollers {
    /// Call after the stage has ended: takes back what is under way at last.
    pub(crate) async fn join(self, town: &Town) -> Lines {
        self.threads.into_iter().for_each(|it| it.join().unwrap());
        let (stage, street) = (Arc::clone(&town.stage), town.street.clone());
        let mut last = Roller { stage, street, seen: Arc::clone(&self.seen), turn: 0 };
        until("a rollout is taken back", || {
            last.turn += 1;
            let reply = last.command(LineCall::Abort)?;
            matches!(reply, LineReply::Done | LineReply::Refused(Why::NoRollout)).then_some(())
        })
        .await;
        last.look();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn why(status: u16, kind: &str) -> Option<LineReply> {
    let why = match kind {
        _ if status == 412 => return Some(LineReply::Moved),
        "rollout-runs" => Why::Runs,
        "no-rollout" => Why::NoRollout,
        "active-already" => Why::ActiveAlready,
        "nothing-to-do" => Why::NothingToDo,
        "never-active" => Why::NeverActive,
        _ => return None,
    };
    Some(LineReply::Refused(why))
}

impl Roller {
    /// One rollout after the other, every third of a version that is not fit; now and then back, or another one at once.
    fn run(&mut self) {
        for round in 1_usize.. {
            if self.stage.is_over() {
                break;
            }
            let Some(view) = self.look() else { continue };
            let (seen, other) = (view.epoch, FIT[usize::from(view.active == FIT[0])]);
            let candidate = if round.is_multiple_of(3) { UNFIT } else { other };
            if round.is_multiple_of(5) {
                self.command(LineCall::Activate { seen, to: other });
            } else if self.command(LineCall::Start { seen, candidate }) == Some(LineReply::Done) {
                self.accompany();
                if round.is_multiple_of(4) {
                    self.command(LineCall::RollBack);
                }
            }
        }
    }

    /// Until it has ended, or takes too long.
    fn accompany(&mut self) {
        let begun = self.stage.elapsed();
        while !self.stage.is_over() {
            let ended = |view: &View| {
                let stand = view.rollout.as_ref().map(|it| it.stand());
                !matches!(stand, Some(Stand::Running(_) | Stand::Held(_)))
            };
            if self.look().as_ref().is_some_and(ended) {
                return;
            }
            if self.stage.elapsed() - begun > ROLLED_OUT_WITHIN {
                self.command(LineCall::Abort);
                return;
            }
        }
    }

    /// In the way of the other, at other voters.
    fn meddle(&mut self) {
        for round in 0_usize.. {
            if self.stage.is_over() {
                break;
            }
            std::thread::sleep(MEDDLED_EVERY);
            match round % 24 {
                0 | 9 | 16 => self.command(LineCall::Pause),
                1 | 10 | 17 | 18 => self.command(LineCall::Resume),
                12 => self.command(LineCall::Abort),
                20 => self.command(LineCall::RollBack),
                _ => None,
            };
        }
    }

    fn look(&mut self) -> Option<View> {
        self.turn += 1;
        std::thread::sleep(PAUSE);
        let called = self.stage.instant();
        let answer = self.street.pick(self.turn).client.get(&format!("{LINE}/pointer")).ok()?;
        let asked = Instants { called, heard: self.stage.instant() };
        let view = View::of(&answer.body)?;
        let mut seen = self.seen.lock().unwrap();
        if is_agreed(&answer) {
            let reply = Some((LineReply::At(view.pointed()), asked.heard));
            seen.history.push(Operation { call: LineCall::Look, called_at: called, reply });
        }
        seen.chronicle.note(view.clone(), asked, is_agreed(&answer));
        Some(view)
    }

    /// What was answered, if anything.
    fn command(&mut self, call: LineCall) -> Option<LineReply> {
        self.turn += 1;
        let called = self.stage.instant();
        let answer = self.send(&call);
        let asked = Instants { called, heard: self.stage.instant() };
        let view = answer.as_ref().ok().and_then(|answer| View::of(&answer.body));
        let reply = match fate(answer.map(|_| LineReply::Done), why) {
            Fate::NotSent => return None,
            Fate::Unknown => None,
            Fate::Answered(reply) => Some(reply),
        };
        let mut seen = self.seen.lock().unwrap();
        if let (
            LineCall::Activate { seen: at, .. } | LineCall::Start { seen: at, .. },
            Some(LineReply::Done),
        ) = (&call, &reply)
        {
            seen.chronicle.was_not(at + 1, called);
        }
        if let Some(view) = view {
            seen.chronicle.note(view, asked, false);
        }
        let heard = reply.clone().map(|reply| (reply, asked.heard));
        seen.history.push(Operation { call, called_at: called, reply: heard });
        reply
    }

    fn send(&self, call: &LineCall) -> Result<Answer, ClientError> {
        let voter = self.street.pick(self.turn * 5).client;
        let tag = |seen: &u64| format!("\"{seen}\"");
        let post = |what: &str, body: Value, seen: Option<&str>| {
            let conditions = Conditions { version: seen, once: None };
            voter.post(&format!("{LINE}/{what}"), &body, &conditions)
        };
        match call {
            LineCall::Activate { seen, to } => {
                let seen = tag(seen);
                let conditions = Conditions { version: Some(&seen), once: None };
                voter.put(&format!("{LINE}/pointer"), &json!({ "active": to }), &conditions)
            }
            LineCall::Start { seen, candidate } => {
                let body = json!({ "candidate": candidate, "stages": stages() });
                post("rollout", body, Some(&tag(seen)))
            }
            LineCall::Pause => post("rollout/pause", json!({}), None),
            LineCall::Resume => post("rollout/resume", json!({}), None),
            LineCall::Abort => post("rollout/abort", json!({}), None),
            LineCall::RollBack => post("rollback", json!({}), None),
            LineCall::Look | LineCall::Drive { .. } => panic!("{call:?} is no command"),
        }
    }
}

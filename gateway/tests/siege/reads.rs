//! Readers who ask every voter all the time what decides and how overrides stand.
//!
//! Not here: whether one order of calls explains what they were told (`judgement`). Invariant: an answer that does not say that it
//! is agreed may be old, and then must be of an epoch that was; an override that is not known is absent, for else a voter would
//! have said that it cannot know.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use aegis_control_client::{Answer, Client, ClientError};
use aegis_linear::{
    GrantCall, GrantReply, LineCall, LineReply, Operation, PointerCall, PointerReply,
};

use crate::doors::Street;
use crate::lines::View;
use crate::overrides::Overrides;
use crate::people::{self, Pointers};
use crate::rollouts::{self, Lines};
use crate::stage::{Instants, Stage};
use crate::town::Town;

/// At most so many voters are read at once, each by one.
const READERS: usize = 3;
const PAUSE: Duration = Duration::from_millis(150);
/// A voter that stands still says nothing.
const WITHIN: Duration = Duration::from_secs(4);
/// Whoever commands waits no longer for one that is cut off.
const AT_ONCE: Duration = Duration::from_millis(700);
/// Of how many overrides, from the newest, it is asked how they stand.
const LOOKED_BACK: usize = 6;

pub(crate) struct Readers(Vec<JoinHandle<Counts>>);

/// How many answers were agreed, and how many were not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) agreed: usize,
    pub(crate) own: usize,
}

struct Reader {
    stage: Arc<Stage>,
    street: Street,
    pointers: Arc<Mutex<Pointers>>,
    overrides: Arc<Mutex<Overrides>>,
    lines: Arc<Mutex<Lines>>,
    number: usize,
    counts: Counts,
}

/// What is read besides.
pub(crate) struct Read {
    pub(crate) pointers: Arc<Mutex<Pointers>>,
    pub(crate) overrides: Arc<Mutex<Overrides>>,
    pub(crate) lines: Arc<Mutex<Lines>>,
}

pub(crate) fn start(stage: &Arc<Stage>, town: &Town, read: &Read) -> Readers {
    let readers = (0..READERS).map(|number| {
        let reader = Reader {
            stage: Arc::clone(stage),
            street: town.street.clone(),
            pointers: Arc::clone(&read.pointers),
            overrides: Arc::clone(&read.overrides),
            lines: Arc::clone(&read.lines),
            number,
            counts: Counts::default(),
        };
        std::thread::spawn(move || reader.run())
    });
    Readers(readers.collect())
}

impl Readers {
    /// Call after the stage has ended.
    pub(crate) fn join(self) -> Counts {
        let counts = self.0.into_iter().map(|it| it.join().unwrap());
        counts.fold(Counts::default(), |all, one| Counts {
            agreed: all.agreed + one.agreed,
            own: all.own + one.own,
        })
    }
}

/// Whether all that was acknowledged before is in it.
pub(crate) fn is_agreed(answer: &Answer) -> bool {
    answer.read.as_deref() == Some("agreed")
}

/// The pointer at a voter that was not told of the last change by whoever asks; a follower hears of it a moment later.
pub(crate) fn look(stage: &Stage, voter: &Client, seen: &Mutex<Pointers>) {
    let called = stage.instant();
    let Ok(answer) = voter.within(AT_ONCE).get(&format!("{}/pointer", people::LINE)) else {
        return;
    };
    let asked = Instants { called, heard: stage.instant() };
    note(&mut seen.lock().unwrap(), &answer, asked);
}

fn note(seen: &mut Pointers, answer: &Answer, asked: Instants) {
    let Some(View { epoch, active: version, .. }) = View::of(&answer.body) else { return };
    if is_agreed(answer) {
        let reply = Some((PointerReply::At { epoch, version }, asked.heard));
        let (call, called_at) = (PointerCall::Read, asked.called);
        seen.history.push(Operation { call, called_at, reply });
    } else {
        seen.perhaps_old.insert((epoch, version));
    }
}

impl Reader {
    fn run(mut self) -> Counts {
        let mut turn = 0;
        while !self.stage.is_over() {
            turn += 1;
            let voter = self.street.pick(self.number).client.within(WITHIN);
            match turn % 3 {
                0 => self.pointer(&voter),
                1 => self.line(&voter),
                _ => self.an_override(&voter, turn),
            }
            std::thread::sleep(PAUSE);
        }
        self.counts
    }

    fn ask(&mut self, voter: &Client, path: &str) -> (Result<Answer, ClientError>, Instants) {
        let called = self.stage.instant();
        let answer = voter.get(path);
        let heard = self.stage.instant();
        if let Ok(answer) = &answer {
            let count =
                if is_agreed(answer) { &mut self.counts.agreed } else { &mut self.counts.own };
            *count += 1;
        }
        (answer, Instants { called, heard })
    }

    fn pointer(&mut self, voter: &Client) {
        let (Ok(answer), asked) = self.ask(voter, &format!("{}/pointer", people::LINE)) else {
            return;
        };
        note(&mut self.pointers.lock().unwrap(), &answer, asked);
    }

    fn line(&mut self, voter: &Client) {
        let (Ok(answer), asked) = self.ask(voter, &format!("{}/pointer", rollouts::LINE)) else {
            return;
        };
        let Some(view) = View::of(&answer.body) else { return };
        let mut seen = self.lines.lock().unwrap();
        if is_agreed(&answer) {
            let reply = Some((LineReply::At(view.pointed()), asked.heard));
            let (call, called_at) = (LineCall::Look, asked.called);
            seen.history.push(Operation { call, called_at, reply });
        }
        seen.chronicle.note(view, asked, is_agreed(&answer));
    }

    fn an_override(&mut self, voter: &Client, turn: usize) {
        let id = {
            let seen = self.overrides.lock().unwrap();
            let given = seen.history.iter().rev().filter(|(_, it)| it.call == GrantCall::Give);
            let newest: Vec<_> = given.take(LOOKED_BACK).map(|(id, _)| id.clone()).collect();
            let Some(id) = newest.get(turn / 3 % LOOKED_BACK).cloned() else { return };
            id
        };
        let (answer, asked) = self.ask(voter, &format!("/v1/approvals/acme/{id}"));
        let reply = match answer {
            Ok(answer) if is_agreed(&answer) => match answer.body["standing"].as_str() {
                Some("granted") => GrantReply::Present,
                Some("consumed") => GrantReply::Used,
                other => panic!("{id} is {other:?}"),
            },
            // A build before this one says this also of what it has not heard of.
            Err(ClientError::Refused { status: 404, .. }) if !crate::begins_before() => {
                GrantReply::Absent
            }
            Ok(_) | Err(_) => return,
        };
        let (call, called_at) = (GrantCall::Look, asked.called);
        let looked = Operation { call, called_at, reply: Some((reply, asked.heard)) };
        self.overrides.lock().unwrap().history.push((id, looked));
    }
}

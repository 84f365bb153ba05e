//! People who publish versions and swing the pointer, on whichever voter answers, and what they were told.
//!
//! Not here: whether one order of these calls explains the answers (`judgement`). Invariant: an answer that did not come, or that
//! says so, is unknown; one that says nothing was sent is no call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use aegis_control_client::{Client, ClientError, Conditions};
use aegis_linear::{Of, Operation, Pointer, PointerCall, PointerReply};
use serde_json::{Value, json};

use crate::doors::Street;
use crate::reads;
use crate::stage::Stage;
use crate::town::Town;

pub(crate) const LINE: &str = "/v1/policies/acme/test";
const PEOPLE: u32 = 2;
/// A new version comes with every so manyth turn of one person; it is compiled on a voter and on every gateway.
const PUBLISHED_EVERY: u32 = 4;
const PAUSE: Duration = Duration::from_millis(900);

/// A policy that allows the same as every other, and is another.
pub(crate) fn policy(number: u32) -> String {
    policy_of("acme", number)
}

pub(crate) fn policy_of(tenant: &str, number: u32) -> String {
    let tool =
        include_str!("../../../testkit/src/policy-open-tool.yaml").replace("@route@", "plain");
    let head = include_str!("../../../testkit/src/policy.yaml").replace("@tenant@", tenant);
    head.replace("name: building", &format!("name: building-{number}")) + &tool
}

/// What came of a command.
pub(crate) enum Fate<T> {
    Answered(T),
    Unknown,
    /// It was not sent.
    NotSent,
}

/// Sorts what a voter answered: a refusal that `known` knows is an answer too.
pub(crate) fn fate<T>(
    answer: Result<T, ClientError>,
    known: impl FnOnce(u16, &str) -> Option<T>,
) -> Fate<T> {
    match answer {
        Ok(answer) => Fate::Answered(answer),
        Err(ClientError::Refused { status: 503, kind, .. })
            if ["unknown", "unrecorded"].contains(&kind.as_str()) =>
        {
            Fate::Unknown
        }
        // One that lags does not know what it is asked about, and changes nothing.
        Err(ClientError::Refused { status: 503 | 404, .. }) => Fate::NotSent,
        Err(ClientError::Refused { status, kind, detail, .. }) => match known(status, &kind) {
            Some(answer) => Fate::Answered(answer),
            None => panic!("{status} {kind}: {detail}"),
        },
        Err(error) if is_refused(&error) => Fate::NotSent,
        // Whatever else broke, the command may have been on its way.
        Err(_) => Fate::Unknown,
    }
}

/// Whether nobody listened.
fn is_refused(error: &ClientError) -> bool {
    let ClientError::Unreachable { source, .. } = error else { return false };
    source.to_string().contains("Connection refused")
}

/// Everything that was seen of one line.
#[derive(Default)]
pub(crate) struct Pointers {
    pub(crate) history: Vec<Of<Pointer>>,
    /// The digests of what was published, by version.
    pub(crate) digests: BTreeMap<u32, String>,
    /// Epochs and versions that were read where nobody could say whether they are the last.
    pub(crate) perhaps_old: BTreeSet<(u64, u32)>,
}

pub(crate) struct People {
    pub(crate) seen: Arc<Mutex<Pointers>>,
    threads: Vec<JoinHandle<()>>,
}

struct Person {
    stage: Arc<Stage>,
    street: Street,
    seen: Arc<Mutex<Pointers>>,
    number: u32,
    turn: u32,
    epoch: u64,
}

pub(crate) fn start(stage: &Arc<Stage>, town: &Town) -> People {
    let seen = Arc::new(Mutex::new(Pointers::default()));
    // The town stands by its first version.
    let call = PointerCall::Swing { seen: 0, to: 1 };
    let first = Operation { call, called_at: 0, reply: Some((PointerReply::Swung(1), 1)) };
    seen.lock().unwrap().history.push(first);
    let digest = digest(&town.voters[0].client(), 1).unwrap();
    seen.lock().unwrap().digests.insert(1, digest);
    let threads = (0..PEOPLE).map(|number| {
        let person = Person {
            stage: Arc::clone(stage),
            street: town.street.clone(),
            seen: Arc::clone(&seen),
            number,
            turn: 0,
            epoch: 1,
        };
        std::thread::spawn(move || person.run())
    });
    let threads = threads.collect();
    People { seen, threads }
}

impl People {
    /// Call after the stage has ended.
    pub(crate) fn join(self) -> Pointers {
        self.threads.into_iter().for_each(|it| it.join().unwrap());
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn digest(voter: &Client, version: u32) -> Option<String> {
    let shown = voter.get(&format!("{LINE}/versions/{version}")).ok()?;
    shown.body["bundle_sha256"].as_str().map(str::to_owned)
}

impl Person {
    fn run(mut self) {
        while !self.stage.is_over() {
            self.turn += 1;
            if self.number == 0 && self.turn.is_multiple_of(PUBLISHED_EVERY) {
                self.publish();
            }
            self.swing();
            std::thread::sleep(PAUSE);
        }
    }

    fn voter(&self) -> Client {
        self.street.pick(usize::try_from(self.turn * 7 + self.number * 3).unwrap()).client
    }

    fn publish(&self) {
        let text = policy(1_000 + self.turn);
        let files = json!({ "files": [{ "name": "acme.policy.yaml", "text": text }] });
        let voter = self.voter();
        let pushed = voter.post(&format!("{LINE}/versions"), &files, &Conditions::default());
        let Fate::Answered(answer) = fate(pushed, |_, _| None) else { return };
        let version = u32::try_from(answer.body["version"].as_u64().unwrap()).unwrap();
        // The voter that answered holds it.
        if let Some(digest) = digest(&voter, version) {
            self.seen.lock().unwrap().digests.insert(version, digest);
        }
    }

    /// One of the newest, so that its content is still held.
    fn choice(&self) -> u32 {
        let seen = self.seen.lock().unwrap();
        let newest: Vec<_> = seen.digests.keys().rev().take(3).copied().collect();
        newest[usize::try_from(self.turn + self.number).unwrap() % newest.len()]
    }

    fn swing(&mut self) {
        let (seen, to) = (self.epoch, self.choice());
        let version = format!("\"{seen}\"");
        let conditions = Conditions { version: Some(&version), once: None };
        let called_at = self.stage.instant();
        let wish = json!({ "active": to });
        let answer = self.voter().put(&format!("{LINE}/pointer"), &wish, &conditions);
        let is_moved = |status, _: &str| (status == 412).then_some(None);
        let reply = match fate(answer.map(|answer| Some(answer.body)), is_moved) {
            Fate::NotSent => return,
            Fate::Unknown => None,
            // What is shown may be of a later epoch already; the one of this call follows what it saw.
            Fate::Answered(Some(_)) => Some(PointerReply::Swung(seen + 1)),
            Fate::Answered(None) => Some(PointerReply::Moved),
        };
        match &reply {
            Some(PointerReply::Swung(epoch)) => self.epoch = *epoch,
            Some(_) | None => self.look(),
        }
        let is_swung = matches!(reply, Some(PointerReply::Swung(_)));
        let reply = reply.map(|reply| (reply, self.stage.instant()));
        let call = PointerCall::Swing { seen, to };
        self.seen.lock().unwrap().history.push(Operation { call, called_at, reply });
        if is_swung {
            self.look_elsewhere();
        }
    }

    /// What the other voters know at once of what one of them answered.
    fn look_elsewhere(&self) {
        let own = usize::try_from(self.turn * 7 + self.number * 3).unwrap();
        for other in [own + 1, own + 2] {
            reads::look(&self.stage, &self.street.pick(other).client, &self.seen);
        }
    }

    /// What a voter knows, which may be old: good enough to try the next.
    fn look(&mut self) {
        let Ok(answer) = self.voter().get(&format!("{LINE}/pointer")) else { return };
        let epoch = |body: &Value| body["epoch"].as_u64();
        self.epoch = epoch(&answer.body).map_or(self.epoch, |epoch| epoch.max(self.epoch));
    }
}

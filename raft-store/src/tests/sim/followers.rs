//! Gateways that follow the voters, and someone who gives them something to follow: what was revoked comes event by event,
//! what is released as pointers at a revision.
//!
//! Not here: pages and signatures (`control`, `agents/follow`, `policies/follow`). Invariant: a follower asks with nothing but
//! the number it holds, so that it can go on wherever it stopped; it stays with a voter for a while, and then asks another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_ledger::{Answer, LineKey, Outcome, Pointer};
use aegis_registry::{Event, View};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::wishes;
use super::world::{Life, World};
use crate::Node;
use crate::tests::dice::Dice;

const FOLLOWERS: u64 = 3;
/// How long a question waits for something to happen.
const WAIT: Duration = Duration::from_secs(2);
const EVENTS_MAX: usize = 16;
const STAYS_PERCENT: u64 = 90;
/// Apart from the dice of everything else, whose luck is left alone.
const LUCK: u64 = 0x0066_6f6c_6c6f_7765;

/// What followers were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    broken: Vec<String>,
    events: BTreeMap<u64, Event>,
    pointers: BTreeMap<(LineKey, u64), Pointer>,
    questions: u64,
}

/// A voter's answer to who holds a serial.
enum News {
    More(Vec<Event>),
    Whole(Box<View>),
    /// It knows less than was asked for.
    Behind,
}

/// The pointers at a revision.
type Released = (u64, Vec<(LineKey, Pointer)>);

struct Follower {
    world: World,
    told: Told,
    dice: Dice,
    /// The voter it stays with.
    at: Option<u64>,
    serial: u64,
    revision: u64,
    epochs: BTreeMap<LineKey, u64>,
}

/// Follows until the storm is over, and once more in fair weather.
pub(crate) fn start(world: &World, seed: u64, until: Instant) -> (Told, Vec<JoinHandle<()>>) {
    let (told, mut dice) = (Told::default(), Dice(seed ^ LUCK));
    let revoker = revoke(world.clone(), dice.fork(), until);
    let mut tasks = vec![tokio::spawn(revoker)];
    for _ in 0..FOLLOWERS {
        let (world, told, dice) = (world.clone(), told.clone(), dice.fork());
        let (serial, revision, epochs) = (0, 0, BTreeMap::new());
        let follower = Follower { world, told, dice, at: None, serial, revision, epochs };
        tasks.push(tokio::spawn(follower.run(until)));
    }
    (told, tasks)
}

async fn revoke(world: World, mut dice: Dice, until: Instant) {
    let mut number = 0;
    while Instant::now() < until {
        let alive = world.alive();
        if let Some(life) = alive.get(dice.roll(alive.len().max(1))) {
            number += 1;
            let name = format!("gone-{number}");
            drop(world.propose(life, wishes::wish(&name, wishes::revoke(&name))).await);
        }
        sleep(Duration::from_millis(dice.between(50, 400))).await;
    }
}

impl Follower {
    async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            match self.voter() {
                Some(life) => self.ask(&life).await,
                None => sleep(Duration::from_millis(100)).await,
            }
            sleep(Duration::from_millis(self.dice.between(1, 100))).await;
        }
    }

    fn voter(&mut self) -> Option<Life> {
        let stays = self.dice.chance(STAYS_PERCENT);
        if let Some(life) = self.at.filter(|_| stays).and_then(|at| self.world.life(at)) {
            return Some(life);
        }
        let alive = self.world.alive();
        let life = alive.get(self.dice.roll(alive.len().max(1))).cloned();
        self.at = life.as_ref().map(|life| life.host.node());
        life
    }

    async fn ask(&mut self, life: &Life) {
        self.told.0.lock().questions += 1;
        let at = life.host.node();
        if self.dice.chance(50) {
            let (node, after) = (life.node.clone(), self.serial);
            if let Some(news) = self.world.on(at, news(node, after)).await {
                self.take(news);
            }
        } else {
            let (node, after) = (life.node.clone(), self.revision);
            if let Some(Some(released)) = self.world.on(at, released(node, after)).await {
                self.point(released);
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Behind => {}
            News::Whole(view) => {
                if view.serial() < self.serial {
                    self.told.object("a follower is never taken back to an earlier serial");
                }
                self.serial = view.serial();
            }
            News::More(events) => {
                for event in events {
                    if event.serial != self.serial + 1 {
                        self.told.object("a follower misses no event and hears none twice");
                    }
                    self.serial = event.serial;
                    self.told.heard(event);
                }
            }
        }
    }

    fn point(&mut self, (revision, pointers): Released) {
        if revision < self.revision {
            self.told.object("a follower is never taken back to an earlier revision");
        }
        self.revision = revision;
        for (line, pointer) in pointers {
            let held = self.epochs.insert(line.clone(), pointer.epoch);
            if held > Some(pointer.epoch) {
                self.told.object("an epoch never goes back");
            }
            self.told.pointed(line, pointer);
        }
    }
}

async fn news(node: Node, after: u64) -> News {
    let mut serial = node.serial();
    if after > *serial.borrow() {
        return News::Behind;
    }
    // Running out of time is an answer too: nothing changed.
    timeout(WAIT, serial.wait_for(|serial| *serial > after)).await.ok();
    match node.events_after(after, EVENTS_MAX) {
        Some(events) => News::More(events),
        None => News::Whole(Box::new(node.ledger().registry().view().clone())),
    }
}

async fn released(node: Node, after: u64) -> Option<Released> {
    let mut revision = node.released();
    if after > *revision.borrow() {
        return None;
    }
    timeout(WAIT, revision.wait_for(|revision| *revision > after)).await.ok();
    let ledger = node.ledger();
    let lines = ledger.releases().lines();
    let pointers = lines.filter_map(|(line, held)| Some((line.clone(), held.pointer()?.clone())));
    Some((ledger.released(), pointers.collect()))
}

impl Told {
    fn object(&self, rule: &str) {
        self.0.lock().broken.push(rule.to_owned());
    }

    fn heard(&self, event: Event) {
        let known =
            self.0.lock().events.entry(event.serial).or_insert_with(|| event.clone()).clone();
        if known != event {
            self.object("all followers are told one history");
        }
    }

    fn pointed(&self, line: LineKey, pointer: Pointer) {
        let key = (line, pointer.epoch);
        let known = self.0.lock().pointers.entry(key).or_insert_with(|| pointer.clone()).clone();
        if (known.choice, known.at) != (pointer.choice, pointer.at) {
            self.object("an epoch is one pointer");
        }
    }

    /// The rules that were broken between what was told and what the committed log says.
    pub(crate) fn judge(&self, answers: &BTreeMap<String, Answer>) -> Vec<String> {
        let happened = answers.values().filter_map(|answer| match answer {
            Ok(Outcome::Registry(event)) => Some((event.serial, event.as_ref().clone())),
            _ => None,
        });
        let happened: BTreeMap<u64, Event> = happened.collect();
        let heard = self.0.lock();
        let mut broken = heard.broken.clone();
        for (serial, event) in &heard.events {
            if happened.get(serial) != Some(event) {
                broken.push(format!("a follower is told only what was committed: {serial}"));
            }
        }
        broken
    }

    /// How often voters were asked, and how many events they told.
    pub(crate) fn counts(&self) -> (u64, usize) {
        let heard = self.0.lock();
        (heard.questions, heard.events.len())
    }
}

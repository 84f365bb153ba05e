//! The network of the simulation: messages are late, lost, doubled and overtaken, and links are cut in one direction or both.
//!
//! Not here: what voters say (`wire`), which passes through here as the same JSON. Invariant: a message reaches only the life
//! of a voter that it was sent to, and an answer only who asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::host::Host;
use super::oracle::Oracle;
use super::{Bug, planted};
use crate::disk::Identity;
use crate::tests::dice::Dice;
use crate::wire::message::{Envelope, Request, Response};
use crate::wire::peers::PeerError;
use crate::wire::server::Server;

/// How it treats messages just now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay_ms: (u64, u64),
    pub(crate) lost_percent: u64,
    pub(crate) twice_percent: u64,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { delay_ms: (1, 5), lost_percent: 0, twice_percent: 0 };
}

/// A message on its way, until its answer is there.
type Carried<'a> = Pin<Box<dyn Future<Output = Result<Response, PeerError>> + Send + 'a>>;

#[derive(Clone, Debug)]
pub(crate) struct Network(Arc<Mutex<Inner>>);

struct Inner {
    dice: Dice,
    /// Of what is asked of clocks, so that the luck of everything else is left alone.
    clock_dice: Dice,
    weather: Weather,
    /// From whom nothing reaches whom.
    cuts: BTreeSet<(u64, u64)>,
    /// Those of a version that knows no question for the time, and hangs up.
    older: BTreeSet<u64>,
    doors: BTreeMap<u64, (Host, Server)>,
    oracle: Oracle,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("cuts", &self.cuts).finish_non_exhaustive()
    }
}

/// Whose dice are rolled.
#[derive(Clone, Copy)]
enum Luck {
    OfAll,
    OfClocks,
}

const CLOCK_LUCK: u64 = 0x0063_6c6f_636b_7321;

fn asks_clock(envelope: &Envelope) -> bool {
    matches!(envelope.request, Request::Clock)
}

fn silent() -> PeerError {
    PeerError::Dial(io::ErrorKind::TimedOut.into())
}

impl Network {
    pub(crate) fn new(dice: Dice, oracle: Oracle) -> Self {
        let (cuts, older, doors) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let clock_dice = Dice(dice.0 ^ CLOCK_LUCK);
        let weather = Weather::FAIR;
        Self(Arc::new(Mutex::new(Inner { dice, clock_dice, weather, cuts, older, doors, oracle })))
    }

    pub(crate) fn open(&self, host: &Host, server: Server) {
        self.0.lock().doors.insert(host.node(), (host.clone(), server));
    }

    pub(crate) fn close(&self, node: u64) {
        self.0.lock().doors.remove(&node);
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.0.lock().weather = weather;
    }

    pub(crate) fn set_cuts(&self, cuts: BTreeSet<(u64, u64)>) {
        self.0.lock().cuts = cuts;
    }

    pub(crate) fn set_older(&self, older: BTreeSet<u64>) {
        self.0.lock().older = older;
    }

    /// Brings a message over and its answer back. A voter that was asked may ask another in turn; naming the type of what is
    /// awaited ends that circle.
    pub(crate) fn carry(&self, envelope: Envelope, tail: Vec<u8>) -> Carried<'_> {
        Box::pin(async move {
            let message = serde_json::to_vec(&envelope).unwrap();
            let (oracle, twice) = {
                let mut inner = self.0.lock();
                let twice = inner.weather.twice_percent;
                let is_twice = !asks_clock(&envelope) && inner.dice.chance(twice);
                (inner.oracle.clone(), is_twice)
            };
            oracle.overhear(&envelope, &message);
            let (told, answer) = oneshot::channel();
            if twice {
                let (unheard, _) = oneshot::channel();
                tokio::spawn(self.clone().deliver(message.clone(), tail.clone(), unheard));
            }
            tokio::spawn(self.clone().deliver(message, tail, told));
            answer.await.unwrap_or_else(|_| Err(silent()))
        })
    }

    /// How long a message is under way, if it arrives.
    fn leg(&self, (from, to): (u64, u64), luck: Luck) -> (Duration, bool) {
        let mut inner = self.0.lock();
        let Weather { delay_ms, lost_percent, .. } = inner.weather;
        let dice = match luck {
            Luck::OfAll => &mut inner.dice,
            Luck::OfClocks => &mut inner.clock_dice,
        };
        let (delay, is_lost) = (dice.between(delay_ms.0, delay_ms.1), dice.chance(lost_percent));
        let is_lost = is_lost || inner.cuts.contains(&(from, to));
        (Duration::from_millis(delay), !is_lost)
    }

    async fn deliver(
        self,
        message: Vec<u8>,
        tail: Vec<u8>,
        told: oneshot::Sender<Result<Response, PeerError>>,
    ) {
        let envelope: Envelope = serde_json::from_slice(&message).unwrap();
        let (from, to) = (envelope.from, envelope.to);
        let door = self.0.lock().doors.get(&to).cloned();
        if asks_clock(&envelope) && self.0.lock().older.contains(&to) {
            return;
        }
        let luck = if asks_clock(&envelope) { Luck::OfClocks } else { Luck::OfAll };
        let (delay, arrives) = self.leg((from, to), luck);
        sleep(delay).await;
        let answer = match door {
            Some((host, server)) if arrives && !host.is_off() => {
                let peer = Identity { cluster: envelope.cluster.clone(), node: from };
                let envelope = read_wrongly(envelope);
                let taken =
                    host.spawn(async move { server.take(envelope, &tail, &peer).await }).await;
                let Ok(taken) = taken else { return };
                taken.unwrap_or_else(Response::from)
            }
            Some(_) => {
                // Whoever waits for nothing is told so by its own patience, mostly.
                sleep(Duration::from_millis(500)).await;
                return;
            }
            None => return,
        };
        let answer = serde_json::to_vec(&answer).unwrap();
        let (delay, arrives) = self.leg((to, from), luck);
        sleep(delay).await;
        if arrives {
            drop(told.send(Ok(serde_json::from_slice(&answer).unwrap())));
        } else {
            sleep(Duration::from_millis(500)).await;
        }
    }
}

/// A voter that takes the end of a change of membership for the whole of it.
fn read_wrongly(mut envelope: Envelope) -> Envelope {
    if !planted(Bug::NoJointConsensus) {
        return envelope;
    }
    let Request::Append(append) = &mut envelope.request else { return envelope };
    for entry in &mut append.entries {
        let EntryPayload::Membership(members) = &mut entry.payload else { continue };
        let configs = members.get_joint_config().clone();
        if let [_, .., wanted] = configs.as_slice() {
            let nodes: BTreeMap<_, _> =
                members.nodes().map(|(id, node)| (*id, node.clone())).collect();
            *members = openraft::Membership::new(vec![wanted.clone()], nodes);
        }
    }
    envelope
}

//! Clients that swing pointers and have them overtake, give, use and look at grants, admit and place, through any voter, as fast as they are
//! answered.
//!
//! Not here: what is judged of it (`history`). Invariant: a call that was said not to be sent, or a read that failed, is no
//! part of the history; a call whose fate is unknown is.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_domain::Timestamp;
use aegis_ledger::{
    Action, Answer, ApprovalRefusal, ApprovalState, Ledger, Outcome, Refusal, ReleaseRefusal,
};
use aegis_linear::{GrantCall, GrantReply, PointerCall, PointerReply};
use tokio::time::{Instant, sleep};

use super::history::{History, epoch};
use super::wishes;
use super::world::{Heard, Life, World};
use crate::tests::dice::Dice;

const LINES: u64 = 2;
/// How many grants are fought for at a time.
const GRANTS: u64 = 3;

pub(crate) struct Client {
    pub(crate) world: World,
    pub(crate) history: History,
    pub(crate) dice: Dice,
    pub(crate) number: u64,
    wishes: u64,
    /// The epochs it saw last, by line.
    seen: BTreeMap<u64, u64>,
}

/// What every client needs to be there.
pub(crate) async fn prepare(world: &World) {
    let life = world.alive().remove(0);
    let versions = |line| (1..=wishes::VERSIONS).map(move |number| wishes::publish(line, number));
    let publish = (0..LINES).flat_map(versions);
    for (number, action) in std::iter::once(wishes::store()).chain(publish).enumerate() {
        let wish = wishes::wish(&format!("prepare-{number}"), action);
        assert!(matches!(world.propose(&life, wish).await, Heard::Answer(Ok(_))));
    }
}

impl Client {
    pub(crate) fn new(world: World, history: History, number: u64) -> Self {
        let dice = world.dice();
        Self { world, history, dice, number, wishes: 0, seen: BTreeMap::new() }
    }

    pub(crate) async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            let alive = self.world.alive();
            match alive.get(self.dice.roll(alive.len().max(1))) {
                Some(life) => self.ask(life).await,
                None => sleep(Duration::from_millis(100)).await,
            }
            sleep(Duration::from_millis(self.dice.between(1, 80))).await;
        }
    }

    async fn ask(&mut self, life: &Life) {
        let line = self.dice.between(0, LINES);
        // The grants change as time goes by, so that all are given and used sooner or later.
        let grant = self.wishes / 12 + self.dice.between(0, GRANTS);
        match self.dice.roll(12) {
            0..3 => self.turn(life, line).await,
            3..5 => self.read(life, line).await,
            5 => self.give(life, grant).await,
            6..9 => self.consume(life, grant).await,
            9 => self.look(life, grant).await,
            10 => {
                let admit = wishes::admit(&format!("c{}-{}", self.number, self.wishes));
                self.wish(life, admit).await;
            }
            _ => {
                let name = format!("c{}-{}", self.number, self.wishes);
                let is_even = self.wishes.is_multiple_of(2);
                let act = if is_even { wishes::define(&name) } else { wishes::place(&name) };
                self.wish(life, act).await;
            }
        }
    }

    /// `None` where it was not sent.
    async fn wish(&mut self, life: &Life, action: Action) -> Option<Option<Answer>> {
        self.wishes += 1;
        let by = format!("client-{}-{}", self.number, self.wishes);
        match self.world.propose(life, wishes::wish(&by, action)).await {
            Heard::Answer(answer) => {
                self.history.answered(&by, &answer);
                Some(Some(answer))
            }
            Heard::NotSent => {
                self.history.not_sent(&by);
                None
            }
            Heard::Nothing => {
                self.history.unknown();
                Some(None)
            }
        }
    }

    /// At times as after a restore, though nothing was restored: mostly past what decides, else to before it.
    async fn turn(&mut self, life: &Life, line: u64) {
        let dice = self.dice.between(1, u64::from(wishes::VERSIONS) + 1);
        let seen = self.seen.get(&line).copied().unwrap_or_default();
        let turn = if self.wishes % 5 == 4 {
            // No die of its own: the seeds that once found something go on as they did.
            let past = (seen + 2 * dice).saturating_sub(3);
            (PointerCall::Overtake { seen, past }, wishes::overtake(line, seen, past))
        } else {
            let to = u32::try_from(dice).unwrap();
            (PointerCall::Swing { seen, to }, wishes::swing(line, seen, to))
        };
        self.on_pointer(life, line, turn).await;
    }

    async fn on_pointer(&mut self, life: &Life, line: u64, (call, action): (PointerCall, Action)) {
        let called_at = self.history.instant();
        let Some(answer) = self.wish(life, action).await else { return };
        let reply = answer.map(|answer| match answer {
            Ok(outcome) => PointerReply::Swung(epoch(&outcome).unwrap()),
            Err(Refusal::Release(ReleaseRefusal::Moved { .. })) => PointerReply::Moved,
            Err(Refusal::Release(ReleaseRefusal::NothingActive | ReleaseRefusal::NothingToDo)) => {
                PointerReply::Nothing
            }
            Err(refusal) => panic!("{refusal}"),
        });
        if let Some(PointerReply::Swung(epoch)) = reply {
            self.seen.insert(line, epoch);
        }
        self.history.pointer(line, call, called_at, reply);
    }

    /// What a voter holds once it has caught up with what was acknowledged before.
    async fn caught_up<T: Send + 'static>(
        &self,
        life: &Life,
        read: impl FnOnce(&Ledger) -> T + Send + 'static,
    ) -> Option<T> {
        let node = life.node.clone();
        let reading = async move { node.catch_up().await.ok().map(|()| read(&node.ledger())) };
        self.world.on(life.host.node(), reading).await?
    }

    async fn read(&mut self, life: &Life, line: u64) {
        let called_at = self.history.instant();
        let key = wishes::line(line);
        let read = self.caught_up(life, move |ledger| {
            let pointer = ledger.releases().line(&key).and_then(|line| line.pointer());
            pointer.map_or((0, 0), |pointer| (pointer.epoch, pointer.choice.active))
        });
        let Some((epoch, version)) = read.await else { return };
        self.seen.insert(line, epoch);
        let reply = PointerReply::At { epoch, version };
        self.history.pointer(line, PointerCall::Read, called_at, Some(reply));
    }

    async fn look(&mut self, life: &Life, grant: u64) {
        let called_at = self.history.instant();
        let key = wishes::grant_key(grant);
        let look = self.caught_up(life, move |ledger| match ledger.approvals().get(&key) {
            None => GrantReply::Absent,
            Some(approval) => match approval.state {
                ApprovalState::Consumed { .. } => GrantReply::Used,
                ApprovalState::Granted { .. }
                | ApprovalState::Open
                | ApprovalState::Denied { .. } => GrantReply::Present,
            },
        });
        let Some(reply) = look.await else { return };
        self.history.grant(grant, GrantCall::Look, called_at, Some(reply));
    }

    async fn give(&mut self, life: &Life, grant: u64) {
        let now = Timestamp::from_unix_s(super::host::MORNING_S);
        self.on_grant(life, grant, (GrantCall::Give, wishes::give(grant, now))).await;
    }

    async fn consume(&mut self, life: &Life, grant: u64) {
        self.on_grant(life, grant, (GrantCall::Use, wishes::consume(grant))).await;
    }

    async fn on_grant(&mut self, life: &Life, grant: u64, (call, action): (GrantCall, Action)) {
        let called_at = self.history.instant();
        let Some(answer) = self.wish(life, action).await else { return };
        let reply = answer.map(|answer| match answer {
            Ok(Outcome::Done) => GrantReply::Done,
            Err(Refusal::Approval(ApprovalRefusal::Exists)) => GrantReply::Present,
            Err(Refusal::Approval(ApprovalRefusal::Unknown)) => GrantReply::Absent,
            Err(Refusal::Approval(ApprovalRefusal::Used)) => GrantReply::Used,
            other => panic!("{other:?}"),
        });
        self.history.grant(grant, call, called_at, reply);
    }
}

//! What goes wrong in a simulation: partitions of every shape, crashes, pauses, clocks, slow disks, bad weather, and changes of
//! the membership in the middle of it.
//!
//! Not here: what must hold all the same (`oracle`, `history`). Invariant: what is broken here can be mended by `World::heal`.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::network::Weather;
use super::world::World;
use crate::tests::dice::Dice;

/// A cluster is never asked to have fewer voters, or more.
const VOTERS: std::ops::RangeInclusive<usize> = 3..=5;

pub(crate) struct Faults {
    world: World,
    dice: Dice,
}

impl Faults {
    pub(crate) fn new(world: World) -> Self {
        Self { dice: world.dice(), world }
    }

    pub(crate) async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            sleep(Duration::from_millis(self.dice.between(50, 1_500))).await;
            match self.dice.roll(20) {
                0..4 => self.part(),
                4 => self.world.network.set_cuts(BTreeSet::new()),
                5..8 => self.crash_some(),
                8 => self.crash_all(),
                9..11 => self.crash_leader(),
                11..13 => self.restart().await,
                13..15 => self.pause(),
                15 => self.step_clock(),
                16 => self.change_weather(),
                17 => self.change_disk(),
                18 => self.snapshot().await,
                _ => self.change_members().await,
            }
            // Nobody stays away for long, or there would be nothing to see.
            if self.dice.chance(40) {
                self.restart().await;
            }
        }
    }

    fn ids(&self) -> Vec<u64> {
        self.world.alive().iter().map(|life| life.host.node()).collect()
    }

    /// Cuts links: around one, between two halves, halves that share one, in one direction, or at random.
    fn part(&mut self) {
        let ids = self.ids();
        let one = self.dice.pick(&ids).unwrap_or_default();
        let halves: BTreeSet<u64> = ids.iter().copied().filter(|_| self.dice.chance(50)).collect();
        let shape = self.dice.roll(6);
        let mut cuts = BTreeSet::new();
        for from in ids.iter().copied() {
            for to in ids.iter().copied() {
                let is_apart = halves.contains(&from) != halves.contains(&to);
                let is_cut = match shape {
                    0 => from == one || to == one,
                    1 => is_apart,
                    2 => is_apart && from != one && to != one,
                    3 => from == one,
                    4 => to == one,
                    _ => self.dice.chance(30),
                };
                if is_cut {
                    cuts.insert((from, to));
                }
            }
        }
        self.world.network.set_cuts(cuts);
    }

    /// Between two writes, or in the middle of one.
    fn crash(&mut self, id: u64) {
        let Some(life) = self.world.life(id) else { return };
        if self.dice.chance(50) {
            self.world.crash(id);
            return;
        }
        life.disk.set_trap(self.dice.roll(3));
        let world = self.world.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                sleep(Duration::from_millis(10)).await;
                if life.host.is_off() {
                    break;
                }
            }
            // It may have been started again since.
            if world.life(id).is_some_and(|now| now.disk.is_trapped()) {
                world.crash(id);
            }
        });
    }

    fn crash_some(&mut self) {
        if let Some(id) = self.dice.pick(&self.ids()) {
            self.crash(id);
        }
    }

    fn crash_all(&mut self) {
        for id in self.ids() {
            self.crash(id);
        }
    }

    fn crash_leader(&mut self) {
        if let Some(leader) = self.world.leader() {
            self.crash(leader.host.node());
        }
    }

    async fn restart(&mut self) {
        for id in self.world.dead() {
            if self.dice.chance(70) {
                self.world.start(id).await;
            }
        }
    }

    /// Mostly the leader, who goes on as if nothing had been.
    fn pause(&mut self) {
        let some = self.dice.pick(&self.ids()).and_then(|id| self.world.life(id));
        let leader = self.world.leader().filter(|_| self.dice.chance(70));
        let Some(life) = leader.or(some) else { return };
        life.host.pause();
        let span = Duration::from_millis(self.dice.between(200, 6_000));
        tokio::spawn(async move {
            sleep(span).await;
            life.host.resume();
        });
    }

    fn step_clock(&mut self) {
        let Some(life) = self.dice.pick(&self.ids()).and_then(|id| self.world.life(id)) else {
            return;
        };
        let span = Duration::from_secs(self.dice.between(0, 3_600));
        if self.dice.chance(50) {
            life.host.set_clock(span, Duration::ZERO);
        } else {
            life.host.set_clock(Duration::ZERO, span);
        }
    }

    fn change_weather(&mut self) {
        let weather = match self.dice.roll(4) {
            0 => Weather::FAIR,
            1 => Weather { delay_ms: (1, 60), lost_percent: 2, twice_percent: 5 },
            2 => Weather { delay_ms: (5, 300), lost_percent: 0, twice_percent: 10 },
            _ => Weather { delay_ms: (1, 20), lost_percent: 15, twice_percent: 0 },
        };
        self.world.network.set_weather(weather);
    }

    fn change_disk(&mut self) {
        let Some(life) = self.dice.pick(&self.ids()).and_then(|id| self.world.life(id)) else {
            return;
        };
        let paces = [(1, 4), (5, 40), (50, 400)];
        life.disk.set_pace(self.dice.pick(&paces).unwrap());
    }

    async fn snapshot(&mut self) {
        let Some(id) = self.dice.pick(&self.ids()) else { return };
        let Some(life) = self.world.life(id) else { return };
        drop(self.world.on(id, async move { life.node.snapshot().await }).await);
    }

    /// By somebody who gives up half-way when something fails, and whom nobody waits for.
    async fn change_members(&mut self) {
        let Some(leader) = self.world.leader() else { return };
        let (at, status) = (leader.host.node(), leader.node.status());
        let (world, node) = (self.world.clone(), leader.node);
        if status.is_joint {
            tokio::spawn(
                async move { world.on(at, async move { node.finish_change().await }).await },
            );
        } else if status.voters.len() <= *VOTERS.start() {
            tokio::spawn(async move { world.join().await });
        } else {
            let others: Vec<_> = status.voters.into_iter().filter(|id| *id != at).collect();
            let Some(gone) = self.dice.pick(&others) else { return };
            tokio::spawn(async move { world.on(at, async move { node.remove(gone).await }).await });
        }
    }
}

//! What the gateways were told through one loss, and the calls that asked.
//!
//! Not here: the loss (`failover`). Invariant: a grant is written down when it is heard, and its settlement is sent until
//! that is heard too, as a gateway does with a call that went out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aegis_domain::{AgentId, Timestamp, Ttl};
use aegis_state::{Ask, BudgetKey, BudgetScope, Budgets, HotState as _};
use parking_lot::Mutex;

use crate::conformance::threads::Dice;
use crate::conformance::{ask, budgets, is_granted, once, tenant_day, usd};
use crate::redis::stand::{Gateway, live, now};

pub(super) const COST: u64 = 10;
const UNLIMITED: u64 = 1 << 40;

/// When something was granted.
#[derive(Default)]
pub(super) struct Grants(Mutex<Vec<Instant>>);

impl Grants {
    fn note(&self) {
        self.0.lock().push(Instant::now());
    }

    pub(super) fn last(&self) -> Option<Instant> {
        self.0.lock().last().copied()
    }

    fn count(&self) -> u64 {
        self.0.lock().len() as u64
    }

    fn sorted(&self) -> Vec<Instant> {
        let mut all = self.0.lock().clone();
        all.sort();
        all
    }

    /// The longest time without one.
    pub(super) fn longest_gap(&self) -> Duration {
        self.sorted().windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// The last one before that time.
    pub(super) fn before_longest_gap(&self) -> Option<Instant> {
        let all = self.sorted();
        all.windows(2).max_by_key(|pair| pair[1] - pair[0]).map(|pair| pair[0])
    }

    /// The most of any such stretch of time.
    fn most_within(&self, stretch: Duration) -> u64 {
        let all = self.sorted();
        let until = |first: Instant| all.partition_point(|at| *at < first + stretch);
        (0..).zip(&all).map(|(nth, first)| (until(*first) - nth) as u64).max().unwrap_or(0)
    }
}

pub(super) struct Story {
    /// By token, how many different calls it was good for.
    pub(super) accepted: Mutex<HashMap<u64, u32>>,
    /// When it was issued: a token that is shown again is as old as it was.
    issued: Mutex<HashMap<u64, Timestamp>>,
    pub(super) single_use: Grants,
    /// Calls on a budget that is no matter.
    pub(super) wide: Grants,
    /// Calls on one that ends in the middle of the loss.
    tight: Grants,
    limit: AtomicU64,
    pub(super) spent: AtomicU64,
    pub(super) over: AtomicBool,
    next: AtomicU64,
    nth: u64,
}

impl Story {
    pub(super) fn of_cycle(nth: u64) -> Self {
        Self {
            accepted: Mutex::default(),
            issued: Mutex::default(),
            single_use: Grants::default(),
            wide: Grants::default(),
            tight: Grants::default(),
            limit: AtomicU64::new(UNLIMITED),
            spent: AtomicU64::new(0),
            over: AtomicBool::new(false),
            next: AtomicU64::new(nth << 32),
            nth,
        }
    }

    /// Leaves the tight budget about half a second of what it spent in the second before.
    pub(super) fn tighten(&self) {
        let granted = self.tight.count();
        self.limit.store((granted + granted / 2) * COST, Ordering::Relaxed);
    }

    /// What the tight budget was granted beyond its limit, and what it may have been: all grants of such a stretch.
    pub(super) fn overspent(&self, stretch: Duration) -> (u64, u64) {
        let limit = self.limit.load(Ordering::Relaxed);
        let granted = self.tight.count() * COST;
        (granted.saturating_sub(limit), self.tight.most_within(stretch) * COST)
    }

    pub(super) async fn work(&self, gateways: &[Gateway], n: u64) {
        let mut dice = Dice::seeded(n);
        let gateway = &gateways[(n / 3 % 2) as usize];
        while !self.over.load(Ordering::Relaxed) {
            match n % 3 {
                0 => self.present(gateways, &mut dice).await,
                1 => self.spend(gateway, "wide", UNLIMITED, &self.wide).await,
                _ => {
                    let limit = self.limit.load(Ordering::Relaxed);
                    self.spend(gateway, "tight", limit, &self.tight).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn next(&self) -> u64 {
        1 + self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A single-use token at one gateway, again at another, and an old one once more.
    async fn present(&self, gateways: &[Gateway], dice: &mut Dice) {
        let token = self.next();
        for gateway in gateways {
            self.try_token(gateway, token).await;
        }
        let old = 1 + (self.nth << 32) + dice.below(token - (self.nth << 32));
        if self.accepted.lock().contains_key(&old) {
            self.try_token(&gateways[dice.below(2) as usize], old).await;
        }
    }

    async fn try_token(&self, gateway: &Gateway, token: u64) {
        let free = Ask { budgets: Budgets::none(), ..once(self.next(), &format!("t{token}")) };
        let mut ask = live(free);
        let issued_at = *self.issued.lock().entry(token).or_insert(ask.now);
        ask.token.issued_at = Some(issued_at);
        if is_granted(&gateway.decide(&ask).await) {
            *self.accepted.lock().entry(token).or_default() += 1;
            self.single_use.note();
        }
    }

    /// A call that costs, settled until that is heard.
    async fn spend(&self, gateway: &Gateway, budget: &str, limit: u64, grants: &Grants) {
        let agent = AgentId::parse(&format!("{budget}-{}", self.nth)).unwrap();
        let budget = BudgetKey { scope: BudgetScope::Agent(agent), ..tenant_day() };
        let ask = live(Ask {
            estimate: usd(COST),
            // Holds of calls that were never answered must not be charged within the test.
            hold_ttl: Ttl::from_s(3_600),
            budgets: budgets([(tenant_day(), 1 << 50), (budget, limit)]),
            ..ask(self.next())
        });
        if !is_granted(&gateway.decide(&ask).await) {
            return;
        }
        grants.note();
        while gateway.settle(&ask.hold(), usd(COST), now()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.spent.fetch_add(COST, Ordering::Relaxed);
    }
}

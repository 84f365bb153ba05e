//! Four gateways with leases over one home, through retries, duplicates, growth, kills and midnight.
//!
//! Not here: what one gateway promises (`leased`). Invariant: the model knows what callers were answered, what their
//! records say, and nothing of leases.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_domain::{BudgetScope, BudgetWindow, DecisionId, Hours, MicroUsd, Timestamp, Ttl};
use aegis_state::{Ask, BudgetKey, Extended, HotState, Period};
use aegis_testkit::hot::Software;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use tempfile::TempDir;

use super::{Life, embedded};
use crate::conformance::{
    DAY_ENDS, Home, agent_month, ask, at, budgets, is_granted, tenant_day, usd,
};
use crate::redis::on_single;

const GATEWAYS: usize = 4;
/// Low enough that most runs meet them.
const LIMITS: [u64; 3] = [400, 700, 600];

/// One thing that happens; a gateway and a call are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    Call {
        by: usize,
        estimate: u64,
    },
    /// A caller that heard nothing asks again.
    Retry {
        nth: usize,
    },
    Grow {
        nth: usize,
        more: u64,
    },
    Settle {
        nth: usize,
        share: u64,
        times: usize,
    },
    Reap {
        by: usize,
    },
    /// The records of calls under way say that they were let out, or that they never were.
    Kill {
        by: usize,
        were_sent: bool,
    },
    Pass {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (by, nth) = (0..GATEWAYS, 0usize..1_000);
    prop_oneof![
        12 => (by.clone(), 1u64..10).prop_map(|(by, estimate)| Step::Call { by, estimate }),
        2 => nth.clone().prop_map(|nth| Step::Retry { nth }),
        2 => (nth.clone(), 1u64..60).prop_map(|(nth, more)| Step::Grow { nth, more }),
        8 => (nth, 0u64..=100, 1usize..3)
            .prop_map(|(nth, share, times)| Step::Settle { nth, share, times }),
        3 => by.clone().prop_map(|by| Step::Reap { by }),
        1 => (by, any::<bool>()).prop_map(|(by, were_sent)| Step::Kill { by, were_sent }),
        1 => (0u64..5_000).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// A call that was granted.
struct Call {
    by: usize,
    /// Decision ids are made by the life that asks with them.
    life: u64,
    ask: Ask,
    held: u64,
    cost: Option<u64>,
}

struct World<H> {
    inner: Arc<H>,
    notes: Vec<TempDir>,
    lives: Vec<Option<Life>>,
    calls: Vec<Call>,
    asked: u64,
    /// How many calls had been asked about when the life began.
    born: [u64; GATEWAYS],
    now: Timestamp,
}

fn keys() -> [BudgetKey; 3] {
    let hours = BudgetWindow::Rolling(Hours::new(2).unwrap());
    let hours = BudgetKey { scope: BudgetScope::Tenant, window: hours, ..tenant_day() };
    [tenant_day(), agent_month(), hours]
}

impl<H: Home + Send + 'static> World<H> {
    fn new(inner: Arc<H>) -> Self {
        let notes: Vec<TempDir> = (0..GATEWAYS).map(|_| tempfile::tempdir().unwrap()).collect();
        // Half a minute before midnight.
        let now = at(DAY_ENDS - 30);
        let mut world = Self {
            inner,
            notes,
            lives: Vec::new(),
            calls: Vec::new(),
            asked: 0,
            born: [0; GATEWAYS],
            now,
        };
        for by in 0..GATEWAYS {
            let life = world.begin(by);
            world.lives.push(Some(life));
        }
        world
    }

    fn begin(&self, by: usize) -> Life {
        let costs: BTreeMap<DecisionId, u64> =
            self.calls.iter().filter_map(|call| Some((call.ask.id, call.cost?))).collect();
        let recorded = |id: &DecisionId| costs.get(id).copied().unwrap_or(0);
        Life::begin(&self.inner, self.notes[by].path(), (self.now, recorded), 2)
    }

    fn life(&self, by: usize) -> &Life {
        self.lives[by].as_ref().unwrap()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Call { by, estimate } => self.call(by, estimate),
            Step::Retry { nth } => {
                let is_of_this_life = |call: &Call| call.life == self.born[call.by];
                let Some(call) = self.nth(nth, is_of_this_life) else { return };
                let call = &self.calls[call];
                let life = self.life(call.by);
                assert!(is_granted(&life.run(life.decide(&call.ask))), "a retry was refused");
            }
            Step::Grow { nth, more } => self.grow(nth, more),
            Step::Settle { nth, share, times } => {
                let Some(nth) = self.nth(nth, |call| call.cost.is_none()) else { return };
                let cost = self.calls[nth].held * share / 100;
                (0..times).for_each(|_| self.settle(nth, cost));
            }
            Step::Reap { by } => {
                self.life(by).run(self.life(by).reap(self.now, 1_000)).unwrap();
            }
            Step::Kill { by, were_sent } => self.kill(by, were_sent),
            Step::Pass { ms } => self.now = self.now.plus(Ttl::from_ms(ms)),
        }
    }

    fn nth(&self, nth: usize, is_meant: impl Fn(&Call) -> bool) -> Option<usize> {
        let meant: Vec<usize> =
            (0..self.calls.len()).filter(|at| is_meant(&self.calls[*at])).collect();
        meant.get(nth % meant.len().max(1)).copied()
    }

    fn call(&mut self, by: usize, estimate: u64) {
        let [day, month, hours] = keys();
        let [a, b, c] = LIMITS;
        let ask = Ask {
            budgets: budgets([(day, a), (month, b), (hours, c)]),
            estimate: usd(estimate),
            now: self.now,
            ..ask(self.asked + 1)
        };
        self.asked += 1;
        let life = self.life(by);
        let answer = life.run(life.decide(&ask));
        // Now and then a kill may come first.
        if !self.asked.is_multiple_of(4) {
            life.settle_down();
        }
        if is_granted(&answer) {
            self.calls.push(Call { by, life: self.born[by], ask, held: estimate, cost: None });
        }
    }

    fn grow(&mut self, nth: usize, more: u64) {
        let is_open = |call: &Call| call.cost.is_none() && self.now < call.ask.hold().expires_at;
        let Some(nth) = self.nth(nth, is_open) else { return };
        let Call { by, ask, held, .. } = &self.calls[nth];
        let total = held + more;
        let life = self.life(*by);
        let extended = life.run(life.extend(&ask.hold(), usd(total), self.now));
        if extended.unwrap() == Extended::Granted {
            self.calls[nth].held = total;
        }
    }

    /// The first settlement stands; the same one told again must change nothing.
    fn settle(&mut self, nth: usize, cost: u64) {
        let Call { by, ask, .. } = &self.calls[nth];
        let life = self.life(*by);
        life.run(life.settle(&ask.hold(), usd(cost), self.now)).unwrap();
        life.settle_down();
        self.calls[nth].cost = Some(cost);
    }

    fn kill(&mut self, by: usize, were_sent: bool) {
        self.lives[by] = None;
        for call in self.calls.iter_mut().filter(|call| call.by == by && call.cost.is_none()) {
            call.cost = Some(if were_sent { call.held } else { 0 });
        }
        let life = self.begin(by);
        self.lives[by] = Some(life);
        self.born[by] = self.asked;
    }

    /// Whatever happens, no limit is passed by what is spent and held.
    fn check(&self) -> TestCaseResult {
        for (key, limit) in keys().into_iter().zip(LIMITS) {
            let spend = self.life(0).run((**self.inner).spend(&key, self.now)).unwrap();
            let used = spend.spent.saturating_add(spend.held);
            prop_assert!(used <= usd(limit), "{key}: {spend:?}");
        }
        Ok(())
    }

    /// Every call ends, some gateways stop and others are killed: what is spent is what the calls cost.
    fn end(mut self) -> TestCaseResult {
        for nth in 0..self.calls.len() {
            if self.calls[nth].cost.is_none() {
                self.settle(nth, 1);
            }
        }
        for by in 0..GATEWAYS {
            if by % 2 == 0 {
                self.kill(by, true);
            } else {
                self.life(by).run(self.life(by).close(self.now)).unwrap();
            }
        }
        for (key, of) in
            [(tenant_day(), at(0)), (tenant_day(), at(DAY_ENDS)), (agent_month(), at(0))]
        {
            let period = |at| Period::of(key.window, at).index;
            let of_it = self.calls.iter().filter(|call| period(call.ask.now) == period(of));
            let cost: u64 = of_it.filter_map(|call| call.cost).sum();
            let spend = self.life(0).run((**self.inner).spend(&key, of)).unwrap();
            prop_assert_eq!((spend.spent, spend.held), (usd(cost), MicroUsd::ZERO), "{}", key);
        }
        Ok(())
    }
}

fn holds_for<H: Home + Send + 'static>(inner: &Arc<H>, steps: Vec<Step>) -> TestCaseResult {
    let mut world = World::new(Arc::clone(inner));
    for step in steps {
        world.take(step);
        world.check()?;
    }
    world.end()
}

fn run_cases(cases: u32, case: impl Fn(Vec<Step>) -> TestCaseResult) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), 1..400);
    TestRunner::new(config).run(&steps, case).unwrap();
}

#[test]
fn spend_is_exact_and_never_above_a_limit() {
    run_cases(128, |steps| {
        let (inner, _directory) = embedded();
        holds_for(&inner, steps)
    });
}

#[test]
fn spend_is_exact_and_never_above_a_limit_on_redis() {
    let Some(program) = Software::Redis.installed() else { return };
    run_cases(6, |steps| holds_for(&Arc::new(on_single(program.clone())), steps));
}

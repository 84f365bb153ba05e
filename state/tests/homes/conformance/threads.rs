//! The acceptance test: gateways that retry, replay, crash, let holds grow, correct sums, settle late and settle twice,
//! all at once.
//!
//! Not here: crashes of the home itself. Invariant: at the end the home has spent what the model says, to the
//! micro-dollar, and holds nothing.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_domain::{Grant, HotAnswer, HotRefusal, Timestamp};
use aegis_state::StateError;
use aegis_state::{
    Adjustment, Ask, BudgetKey, BudgetScope, BudgetWindow, Change, Counted, Extended,
};
use aegis_state::{Hold, HotState as _, Hours, InFlight, InFlightName, Rates, Settled, Spend};
use futures::FutureExt as _;

use super::fixtures::*;

const GATEWAYS: u64 = 6;
const CALLS: u64 = 400;

/// A small generator with a seed that can be printed (G. Marsaglia, "Xorshift RNGs", 2003).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

#[expect(clippy::print_stderr, reason = "a failing run must show its seed")]
pub(crate) async fn spend_is_exact_whatever_the_order(home: &impl Home) {
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let clock = AtomicU64::new(0);
    let model = std::thread::scope(|scope| {
        let clock = &clock;
        let gateways: Vec<_> = (0..GATEWAYS)
            .map(|g| scope.spawn(move || run(gateway(home, g, Dice::seeded(seed + g), clock))))
            .collect();
        let all = gateways.into_iter().map(|gateway| gateway.join().unwrap());
        all.fold(Model::default(), |a, b| Model {
            calls: a.calls + b.calls,
            corrections: a.corrections + b.corrections,
        })
    });
    let end = at(clock.load(Ordering::Relaxed) + 31);
    while home.reap(end, 64).await.unwrap() > 0 {}
    assert_eq!(today(home, at(0)).await, (model.calls + model.corrections, 0));
    for key in
        [agent_month(), rolling(), BudgetKey { scope: BudgetScope::Tool(tool()), ..tenant_day() }]
    {
        let Spend { spent, held } = home.spend(&key, at(0)).await.unwrap();
        assert_eq!((spent.micro_usd(), held.micro_usd()), (model.calls, 0), "{key}");
    }
    for name in [InFlightName::Agent(agent()), InFlightName::Tenant, InFlightName::Tool(tool())] {
        assert_eq!(home.in_flight(&tenant(), &name, end).await.unwrap(), 0);
    }
}

/// What a gateway's calls and corrections must have come to in the end.
#[derive(Clone, Copy, Default)]
struct Model {
    calls: u64,
    corrections: u64,
}

/// One gateway's calls.
async fn gateway(home: &impl Home, g: u64, mut dice: Dice, clock: &AtomicU64) -> Model {
    let mut model = Model::default();
    let mut late: Vec<Hold> = Vec::new();
    for n in 0..CALLS {
        // The clock runs 1 s every 24 calls: some 100 s in all, more than three times a hold's life.
        let now = at(clock.fetch_add(1, Ordering::Relaxed) / 24);
        let call = Ask { now, estimate: usd(dice.below(50)), ..call(g, n) };
        if dice.below(4) == 0 {
            die_in(home.decide(&call));
        }
        let answer = home.decide(&call).await;
        if dice.below(4) == 0 {
            assert!(!is_granted(&answer) || is_same(&home.decide(&call).await, &answer));
        }
        if !is_granted(&answer) {
            // A thread that was kept waiting asks about a time that others have left a minute behind.
            let is_late = at(clock.load(Ordering::Relaxed) / 24).since(now).s_ceil() >= 60;
            assert!(
                matches!(answer, HotAnswer::Refused(HotRefusal::Budget { .. }))
                    || is_late && matches!(answer, HotAnswer::Refused(HotRefusal::Rate { .. })),
                "{answer:?} to {call:?}"
            );
            continue;
        }
        if dice.below(4) == 0 {
            let replay =
                home.decide(&Ask { id: id((1 << 32) + g * CALLS + n), ..call.clone() }).await;
            assert_eq!(replay, HotAnswer::Refused(HotRefusal::Replayed));
        }
        let hold = call.hold();
        let held = grow(home, &hold, &mut dice, now).await;
        match (dice.below(10), held) {
            // Nobody ends it.
            (0, Some(held)) => model.calls += held,
            (1 | 2, _) => late.push(hold),
            _ => model.calls += settle(home, &hold, &mut dice, clock).await,
        }
        if dice.below(8) == 0 {
            correct(home, (1 << 33) + g * CALLS + n, &mut dice, &mut model.corrections).await;
        }
        if dice.below(8) == 0 {
            home.reap(now, 16).await.unwrap();
        }
    }
    for hold in late {
        model.calls += settle(home, &hold, &mut dice, clock).await;
    }
    model
}

/// A call that counts in all kinds of budgets, rates and counts; only the tenant's day is ever short.
fn call(g: u64, n: u64) -> Ask {
    let budgets = budgets([
        (tenant_day(), 60_000),
        (agent_month(), 1 << 40),
        (rolling(), 1 << 40),
        (BudgetKey { scope: BudgetScope::Tool(tool()), ..tenant_day() }, 1 << 40),
    ]);
    let many = Rates { minute: limit(1 << 30, 1 << 30), ..Rates::NONE };
    let count = NonZeroU32::new(1 << 30);
    Ask {
        budgets,
        rates: Counted { agent: many, tenant: many, tool: many },
        in_flight: InFlight { agent: count, tenant: count, tool: count },
        ..once(g * CALLS + n, &format!("{g}-{n}"))
    }
}

fn rolling() -> BudgetKey {
    BudgetKey { window: BudgetWindow::Rolling(Hours::new(30).unwrap()), ..tenant_day() }
}

/// The same but for the rate, which a grant that is told again may leave out.
fn is_same(one: &HotAnswer, other: &HotAnswer) -> bool {
    match (one, other) {
        (HotAnswer::Granted(one), HotAnswer::Granted(other)) => {
            Grant { rate: None, ..*one } == Grant { rate: None, ..*other }
        }
        _ => one == other,
    }
}

/// A gateway that dies once the question may be on its way: it never hears the answer.
fn die_in<T>(question: impl Future<Output = T>) {
    drop(question.now_or_never());
}

/// Lets some holds grow, and tells what the hold then holds; `None` if it expired meanwhile, so that nobody knows.
async fn grow(home: &impl Home, hold: &Hold, dice: &mut Dice, now: Timestamp) -> Option<u64> {
    let before = hold.estimate.micro_usd();
    if dice.below(3) > 0 {
        return Some(before);
    }
    let total = before + dice.below(30);
    if dice.below(3) == 0 {
        die_in(home.extend(hold, usd(total), now));
    }
    let mut held = before;
    for _ in 0..=dice.below(2) {
        match home.extend(hold, usd(total), now).await {
            Ok(Extended::Granted) => held = total,
            Ok(Extended::Refused { nth, .. }) => assert_eq!(nth, 0),
            Err(StateError::NotHeld) => return None,
            Err(other) => panic!("{other}"),
        }
    }
    Some(held)
}

/// Adds to what was spent, or takes some of what was added before out again; told more than once.
async fn correct(home: &impl Home, n: u64, dice: &mut Dice, added: &mut u64) {
    let amount = dice.below(40);
    let change = if *added >= amount && dice.below(2) == 0 {
        *added -= amount;
        Change::Subtract(usd(amount))
    } else {
        *added += amount;
        Change::Add(usd(amount))
    };
    let adjustment = Adjustment { id: id(n), key: tenant_day(), change, now: at(0) };
    if dice.below(3) == 0 {
        die_in(home.adjust(&adjustment));
    }
    for _ in 0..=dice.below(2) {
        home.adjust(&adjustment).await.unwrap();
    }
}

async fn settle(home: &impl Home, hold: &Hold, dice: &mut Dice, clock: &AtomicU64) -> u64 {
    let now = at(clock.load(Ordering::Relaxed) / 24);
    let actual = dice.below(60);
    if dice.below(4) == 0 {
        // Whether it got through is not known, so it is told again.
        die_in(home.settle(hold, usd(actual), now));
        home.settle(hold, usd(actual), now).await.unwrap();
    } else {
        assert_eq!(home.settle(hold, usd(actual), now).await.unwrap(), Settled::Applied);
    }
    if dice.below(3) == 0 {
        let again = home.settle(hold, usd(dice.below(60)), now).await.unwrap();
        assert_eq!(again, Settled::Duplicate);
        let grown = home.extend(hold, usd(1_000), now).await;
        assert!(matches!(grown, Err(StateError::NotHeld)));
    }
    actual
}

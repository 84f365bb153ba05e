//! The acceptance test: gateways that retry, replay, crash, settle late and settle twice, all at once.
//!
//! Not here: crashes of the home itself. Invariant: at the end the home has spent what the model says, to the
//! micro-dollar, and holds nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use aegis_domain::{HotAnswer, HotRefusal};
use aegis_state::{Ask, Hold, HotState as _, Settled};
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
    let model: u64 = std::thread::scope(|scope| {
        let clock = &clock;
        let gateways: Vec<_> = (0..GATEWAYS)
            .map(|g| scope.spawn(move || run(gateway(home, g, Dice::seeded(seed + g), clock))))
            .collect();
        gateways.into_iter().map(|gateway| gateway.join().unwrap()).sum()
    });
    let end = at(clock.load(Ordering::Relaxed) + 31);
    while home.reap(end, 64).await.unwrap() > 0 {}
    assert_eq!(today(home, at(0)).await, (model, 0));
}

/// One gateway's calls; returns what they must have cost in the end.
async fn gateway(home: &impl Home, g: u64, mut dice: Dice, clock: &AtomicU64) -> u64 {
    let mut cost = 0;
    let mut late: Vec<Hold> = Vec::new();
    for n in 0..CALLS {
        // The clock runs 1 s every 24 calls: some 100 s in all, more than three times a hold's life.
        let now = at(clock.fetch_add(1, Ordering::Relaxed) / 24);
        let jti = format!("{g}-{n}");
        let estimate = usd(dice.below(50));
        let budgets = budgets([(tenant_day(), 60_000), (agent_month(), 1 << 40)]);
        let call = Ask { now, estimate, budgets, ..once(g * CALLS + n, &jti) };
        if dice.below(4) == 0 {
            die_in(home.decide(&call));
        }
        let answer = home.decide(&call).await;
        if dice.below(4) == 0 {
            assert!(!is_granted(&answer) || home.decide(&call).await == answer, "a retry differs");
        }
        if !is_granted(&answer) {
            assert!(matches!(answer, HotAnswer::Refused(HotRefusal::Budget { .. })));
            continue;
        }
        if dice.below(4) == 0 {
            let replay =
                home.decide(&Ask { id: id((1 << 32) + g * CALLS + n), ..call.clone() }).await;
            assert_eq!(replay, HotAnswer::Refused(HotRefusal::Replayed));
        }
        let hold = call.hold();
        match dice.below(10) {
            0 => cost += estimate.micro_usd(),
            1 | 2 => late.push(hold),
            _ => cost += settle(home, &hold, &mut dice, clock).await,
        }
        if dice.below(8) == 0 {
            home.reap(now, 16).await.unwrap();
        }
    }
    for hold in late {
        cost += settle(home, &hold, &mut dice, clock).await;
    }
    cost
}

/// A gateway that dies once the question may be on its way: it never hears the answer.
fn die_in<T>(question: impl Future<Output = T>) {
    drop(question.now_or_never());
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
    }
    actual
}

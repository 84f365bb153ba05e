//! Leases over one home that several gateways share: cold, they are that home; hot, what they count is exact.
//!
//! Not here: rules inside one module (`aegis-state-leased`). Invariant: the model is what callers were answered and what
//! their records would say, so a difference of one micro-dollar is a fault of the leases.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use aegis_domain::{DecisionId, Timestamp, Ttl};
use aegis_state::{Ask, Extended, HotState, Settled, StateError};
use aegis_state_embedded::{EmbeddedConfig, EmbeddedState, HoldNotes};
use aegis_state_leased::{LeaseConfig, Leased};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::conformance::{
    DAY_ENDS, Home, ask, at, each_alone, hot_state_cases, is_granted, limit, once, tenant_day, usd,
};

fn config(hot_calls_per_s: u32) -> LeaseConfig {
    let count = |n| NonZeroU32::new(n).unwrap();
    LeaseConfig {
        amount: usd(200),
        gateways: count(4),
        ttl: Ttl::from_s(10),
        hot_calls_per_s: count(hot_calls_per_s),
    }
}

type Inner = Arc<Box<EmbeddedState>>;

fn embedded() -> (Inner, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let state = EmbeddedState::open(EmbeddedConfig::new(directory.path().into())).unwrap();
    (Arc::new(Box::new(state)), directory)
}

/// One life of a gateway. Dropped, it is killed: what it began in the background ends where it stands.
struct Life {
    leased: Leased,
    runtime: Runtime,
}

impl Life {
    /// Begins, settling what the life before left at what its calls cost by their records.
    fn begin<H: Home + Send + 'static>(
        inner: &Arc<H>,
        folder: &Path,
        (now, costs): (Timestamp, impl Fn(&DecisionId) -> u64),
        hot: u32,
    ) -> Self {
        let (notes, left) = HoldNotes::open(folder).unwrap();
        let notes = Arc::new(notes);
        let inner = Noting { home: Arc::clone(inner), notes: Arc::clone(&notes) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let leased = Leased::new(Arc::new(inner), notes, config(hot), handle);
        for left in left {
            let cost = left.draws.iter().chain([&left.hold.id]).map(&costs).sum::<u64>();
            runtime.block_on(leased.settle(&left.hold, usd(cost), now)).unwrap();
        }
        Self { leased, runtime }
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Lets the background come to rest; the embedded home answers at once.
    fn settle_down(&self) {
        self.run(async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        });
    }
}

impl std::ops::Deref for Life {
    type Target = Leased;
    fn deref(&self) -> &Leased {
        &self.leased
    }
}

struct Cold {
    life: Life,
    _directories: [TempDir; 2],
}

impl std::ops::Deref for Cold {
    type Target = Leased;
    fn deref(&self) -> &Leased {
        &self.life.leased
    }
}

fn cold() -> Option<Cold> {
    let (inner, directory) = embedded();
    let notes = tempfile::tempdir().unwrap();
    let life = Life::begin(&inner, notes.path(), (at(0), |_: &_| 0), u32::MAX);
    Some(Cold { life, _directories: [directory, notes] })
}

mod without_leases {
    use super::*;
    hot_state_cases!(each_alone, cold());
}

/// A gateway that holds a lease of 125 = 1,000 / (2 * 4), less the first call's estimate.
struct Hot {
    life: Life,
    inner: Inner,
    _directory: TempDir,
    notes: TempDir,
}

fn hot() -> Hot {
    let (inner, _directory) = embedded();
    let notes = tempfile::tempdir().unwrap();
    let life = Life::begin(&inner, notes.path(), (at(0), |_: &_| 0), 1);
    let hot = Hot { life, inner, _directory, notes };
    assert!(is_granted(&hot.decide(&ask(1))));
    hot.life.settle_down();
    assert_eq!(hot.held(), 10 + LEASE);
    hot
}

const LEASE: u64 = 990 / 8;

impl Hot {
    fn decide(&self, ask: &Ask) -> aegis_domain::HotAnswer {
        self.life.run(self.life.decide(ask))
    }

    fn central(&self, now: Timestamp) -> (u64, u64) {
        let spend = self.life.run(self.inner.spend(&tenant_day(), now)).unwrap();
        (spend.spent.micro_usd(), spend.held.micro_usd())
    }

    fn held(&self) -> u64 {
        self.central(at(0)).1
    }
}

#[test]
fn a_call_of_a_leased_list_is_decided_without_the_home() {
    let hot = hot();
    let before = hot.held();
    for _ in 0..2 {
        assert!(is_granted(&hot.decide(&ask(2))));
    }
    assert_eq!(hot.held(), before, "the home was asked");
    let hold = ask(2).hold();
    let settle = |cost| hot.life.run(hot.life.settle(&hold, usd(cost), at(1)));
    assert_eq!(settle(4).unwrap(), Settled::Applied);
    assert_eq!(settle(9).unwrap(), Settled::Duplicate);
    assert_eq!(hot.central(at(1)), (0, before));
    hot.life.run(hot.life.close(at(1))).unwrap();
    assert_eq!(hot.central(at(1)), (4, 10));
}

#[test]
fn a_list_is_leased_once_it_is_hot_and_only_where_a_few_calls_fit() {
    // The estimate of each call, and when the calls come.
    for (estimate, lease) in [(10, (1_000 - 50) / 8), (40, 0)] {
        let (inner, _directory) = embedded();
        let notes = tempfile::tempdir().unwrap();
        let life = Life::begin(&inner, notes.path(), (at(0), |_: &_| 0), 3);
        for (n, s) in [(1, 0), (2, 0), (3, 5), (4, 5)] {
            let ask = Ask { estimate: usd(estimate), now: at(s), ..ask(n) };
            assert!(is_granted(&life.run(life.decide(&ask))));
        }
        life.settle_down();
        let held = || life.run(inner.spend(&tenant_day(), at(5))).unwrap().held;
        assert_eq!(held(), usd(4 * estimate), "two calls a second are not three");
        let third = Ask { estimate: usd(estimate), now: at(5), ..ask(5) };
        assert!(is_granted(&life.run(life.decide(&third))));
        life.settle_down();
        assert_eq!(held(), usd(5 * estimate + lease));
    }
}

#[test]
fn what_a_lease_cannot_answer_is_asked_of_the_home() {
    let hot = hot();
    let before = hot.held();
    let other = aegis_state::Binding::from_bytes([2; 32]);
    let stolen = aegis_state::TokenCheck { binding: other, ..ask(2).token };
    assert!(!is_granted(&hot.decide(&Ask { token: stolen, ..ask(2) })));
    let rates = aegis_state::Rates { second: limit(9, 9), ..aegis_state::Rates::NONE };
    let rates = aegis_state::Counted { agent: rates, ..Default::default() };
    let in_flight = aegis_state::InFlight { agent: NonZeroU32::new(9), ..Default::default() };
    let asks = [
        once(3, "single"),
        Ask { rates, ..ask(4) },
        Ask { in_flight, ..ask(5) },
        Ask { hold_ttl: Ttl::from_s(41), ..ask(6) },
        Ask { estimate: usd(LEASE + 1), ..ask(7) },
    ];
    let mut held = before;
    for ask in asks {
        assert!(is_granted(&hot.decide(&ask)));
        held += ask.estimate.micro_usd();
        assert_eq!(hot.held(), held, "{ask:?}");
    }
    // A decision the home was asked about is its own also when it is asked again.
    assert!(is_granted(&hot.decide(&ask(1))));
    assert_eq!(hot.held(), held);
}

#[test]
fn a_call_grows_within_the_lease_and_then_with_it() {
    let hot = hot();
    assert!(is_granted(&hot.decide(&ask(2))));
    let before = hot.held();
    let extend = |total| hot.life.run(hot.life.extend(&ask(2).hold(), usd(total), at(1)));
    assert_eq!(extend(LEASE).unwrap(), Extended::Granted);
    assert_eq!(hot.held(), before);
    assert_eq!(extend(LEASE + 7).unwrap(), Extended::Granted);
    assert_eq!(hot.held(), before + 7);
    assert!(matches!(extend(2_000).unwrap(), Extended::Refused { .. }));
    hot.life.run(hot.life.settle(&ask(2).hold(), usd(LEASE + 7), at(1))).unwrap();
    assert!(matches!(extend(LEASE + 8), Err(StateError::NotHeld)));
    hot.life.run(hot.life.close(at(1))).unwrap();
    assert_eq!(hot.central(at(1)), (LEASE + 7, 10));
}

#[test]
fn a_lease_is_given_back_when_its_time_or_its_day_is_over() {
    let ends = Timestamp::from_unix_ms(at(DAY_ENDS).unix_ms() - 1);
    for (begins, now) in [(at(0), at(10)), (ends, at(DAY_ENDS))] {
        let (inner, _directory) = embedded();
        let notes = tempfile::tempdir().unwrap();
        let life = Life::begin(&inner, notes.path(), (begins, |_: &_| 0), 1);
        assert!(is_granted(&life.run(life.decide(&Ask { now: begins, ..ask(1) }))));
        life.settle_down();
        assert!(is_granted(&life.run(life.decide(&Ask { now: begins, ..ask(2) }))));
        life.settle_down();
        // This call is of the next lease, or of the next day.
        assert!(is_granted(&life.run(life.decide(&Ask { now, ..ask(3) }))));
        life.run(life.settle(&Ask { now: begins, ..ask(2) }.hold(), usd(3), now)).unwrap();
        life.run(life.reap(now, 100)).unwrap();
        let spend = life.run(inner.spend(&tenant_day(), begins)).unwrap();
        assert_eq!(spend.spent, usd(3));
    }
}

/// The home charges an expired lease whole, and is corrected as long as it can be.
#[test]
fn a_call_nobody_settles_costs_its_estimate_and_one_settled_late_its_cost() {
    for (settled_at, spent) in [(None, 10), (Some(300), 4)] {
        let hot = hot();
        assert!(is_granted(&hot.decide(&ask(2))));
        let reap = |s| hot.life.run(hot.life.reap(at(s), 100)).unwrap();
        reap(200);
        // The first call's estimate as well.
        assert_eq!(hot.central(at(0)), (10 + LEASE, 0));
        if let Some(s) = settled_at {
            hot.life.run(hot.life.settle(&ask(2).hold(), usd(4), at(s))).unwrap();
        }
        reap(615);
        hot.life.settle_down();
        assert_eq!(hot.central(at(0)), (10 + spent, 0));
        let late = hot.life.run(hot.life.settle(&ask(2).hold(), usd(1), at(616)));
        assert_eq!(late.is_ok(), settled_at.is_some(), "{late:?}");
    }
}

#[test]
fn a_killed_gateways_lease_costs_what_its_calls_cost_by_their_records() {
    let hot = hot();
    for n in 2..5 {
        assert!(is_granted(&hot.decide(&ask(n))));
    }
    hot.life.run(hot.life.settle(&ask(2).hold(), usd(4), at(1))).unwrap();
    let Hot { life, inner, notes, _directory } = hot;
    drop(life);
    // The second has its outcome, the third none, the fourth was never let out.
    let costs = |id: &DecisionId| match *id {
        id if id == crate::conformance::id(2) => 4,
        id if id == crate::conformance::id(3) => 10,
        _ => 0,
    };
    for _ in 0..2 {
        let life = Life::begin(&inner, notes.path(), (at(5), costs), 1);
        let spend = life.run(inner.spend(&tenant_day(), at(5))).unwrap();
        assert_eq!((spend.spent, spend.held), (usd(14), usd(0)));
    }
}

mod model;
mod noting;

use noting::Noting;

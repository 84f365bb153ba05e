//! The embedded home on disks that tear, fill up and fail, reopened after each.
//!
//! Not here: the cases every home must pass (`tests/conformance`). Invariant: after any fault the directory
//! opens, with exactly the changes that were answered.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aegis_domain::{
    AgentId, BudgetScope, BudgetWindow, DecisionId, HotRefusal, Hours, Jti, TeamId, TenantId,
    TokenUse, ToolName, Ttl,
};
use proptest::prelude::*;

use super::journal::Sink;
use super::*;
use aegis_state::{Binding, Budget, Budgets, Change, Counted, InFlight, Overrun, TokenCheck};

/// A disk with so many bytes left whose syncs fail when told to.
#[derive(Clone)]
struct Faulty {
    left: Arc<AtomicU64>,
    sync_fails: Arc<AtomicBool>,
    /// How long the files really are of which a sync has failed.
    lost: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
}

struct FaultySink {
    file: Arc<dyn Sink>,
    path: PathBuf,
    synced: AtomicU64,
    disk: Faulty,
}

impl Disk for Faulty {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn Sink>> {
        let (file, path, disk) = (Files.open(path)?, path.to_path_buf(), self.clone());
        Ok(Arc::new(FaultySink { file, path, synced: AtomicU64::new(0), disk }))
    }

    fn write_again(&self, path: &Path, len: u64) -> io::Result<()> {
        Files.write_again(path, len)?;
        self.lost.lock().remove(path);
        Ok(())
    }
}

impl Sink for FaultySink {
    /// Writes what fits before it fails, as a full disk does.
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let left = usize::try_from(self.disk.left.load(Ordering::Relaxed)).unwrap();
        let fits = left.min(bytes.len());
        self.file.append(&bytes[..fits])?;
        self.disk.left.fetch_sub(fits as u64, Ordering::Relaxed);
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        let synced = self.synced.load(Ordering::Relaxed);
        if self.disk.sync_fails.load(Ordering::Relaxed) {
            self.disk.lost.lock().entry(self.path.clone()).or_insert(synced);
            return Err(io::Error::other("no medium"));
        }
        self.synced.store(fs::metadata(&self.path)?.len(), Ordering::Relaxed);
        self.file.sync()
    }
}

impl Faulty {
    fn new() -> Self {
        let left = Arc::new(AtomicU64::new(1 << 30));
        Self { left, sync_fails: Arc::default(), lost: Arc::default() }
    }

    /// Takes what only memory held.
    fn cut_power(&self) {
        for (path, len) in self.lost.lock().iter() {
            fs::File::options().write(true).open(path).unwrap().set_len(*len).unwrap();
        }
    }

    fn open(&self, config: EmbeddedConfig) -> EmbeddedState {
        EmbeddedState::open_on(config, Arc::new(self.clone())).unwrap()
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn id(n: u64) -> DecisionId {
    DecisionId::new(n, [0; 10])
}

fn day(tenant: u64) -> BudgetKey {
    let tenant = TenantId::parse(&format!("t{tenant}")).unwrap();
    BudgetKey { tenant, scope: BudgetScope::Tenant, window: BudgetWindow::Day }
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_s(1_000_000_000 + s)
}

fn ask(n: u64) -> Ask {
    let limit = MicroUsd::new(1 << 40);
    let rolling = BudgetKey {
        scope: BudgetScope::Team(TeamId::parse("ops").unwrap()),
        window: BudgetWindow::Rolling(Hours::new(24).unwrap()),
        ..day(n % 3)
    };
    let soft =
        Budget { warn_at: Some(limit), overrun: Overrun::Warn, ..Budget::hard(rolling, limit) };
    Ask {
        id: id(n),
        tenant: day(n % 3).tenant,
        agent: AgentId::parse("a").unwrap(),
        tool: ToolName::parse("pay").unwrap(),
        token: TokenCheck {
            jti: Jti::parse(&format!("j{n}")).unwrap(),
            token_use: TokenUse::Once,
            binding: Binding::from_bytes([0; 32]),
            issued_at: None,
            expires_at: at(300),
        },
        rates: Counted::default(),
        in_flight: InFlight { tenant: NonZeroU32::new(1_000), ..InFlight::default() },
        budgets: Budgets::new(vec![Budget::hard(day(n % 3), limit), soft]).unwrap(),
        estimate: MicroUsd::new(10 + n),
        hold_ttl: Ttl::from_s(30),
        now: at(0),
    }
}

/// A correction of the rolling day of one tenant, up or down.
fn adjustment(n: u64) -> Adjustment {
    let key = BudgetKey { window: BudgetWindow::Rolling(Hours::new(24).unwrap()), ..day(n % 3) };
    let amount = MicroUsd::new(5 + n);
    let change = if n.is_multiple_of(2) { Change::Add(amount) } else { Change::Subtract(amount) };
    Adjustment { id: id(1_000 + n), key, change, now: at(n) }
}

/// Everything of a state that a caller can see.
type View = (Vec<Spend>, Vec<DecisionId>, Vec<bool>);

fn view(state: &EmbeddedState, calls: u64) -> View {
    let spends = (0..3).map(|t| run(state.spend(&day(t), at(0))).unwrap()).collect();
    let mut open: Vec<_> = state.open_holds().into_iter().map(|hold| hold.id).collect();
    open.sort();
    let core = state.shared.core.lock();
    let used = |n| core.ledger.tokens.check(&ask(n), at(0)) == tokens::Token::Replayed;
    (spends, open, (0..calls).map(used).collect())
}

fn small(directory: &Path) -> EmbeddedConfig {
    EmbeddedConfig { compact_bytes: 2_048, ..EmbeddedConfig::new(directory.into()) }
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_the_change_it_belongs_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = files::journal_path(directory.path(), 0);
    let state = EmbeddedState::open(EmbeddedConfig::new(directory.path().into())).unwrap();
    // The ledger's image after each length at which the journal was whole.
    let mut whole = BTreeMap::from([(0, image(&Ledger::new()))]);
    let mut mark = || {
        let image = image(&state.shared.core.lock().ledger);
        whole.insert(fs::metadata(&path).unwrap().len(), image);
    };
    mark();
    for n in 0..4 {
        run(state.decide(&ask(n)));
        mark();
    }
    run(state.extend(&ask(1).hold(), MicroUsd::new(90), at(1))).unwrap();
    mark();
    run(state.adjust(&adjustment(0))).unwrap();
    mark();
    run(state.settle(&ask(0).hold(), MicroUsd::new(3), at(1))).unwrap();
    mark();
    for _ in 0..2 {
        assert_eq!(run(state.reap(at(40), 1)).unwrap(), 1);
        mark();
    }
    run(state.settle(&ask(1).hold(), MicroUsd::new(3), at(41))).unwrap();
    mark();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, *whole.last_key_value().unwrap().0);

    let torn = tempfile::tempdir().unwrap();
    for cut in 0..=bytes.len() {
        fs::write(files::journal_path(torn.path(), 0), &bytes[..cut]).unwrap();
        let recovered = files::recover(torn.path(), u64::MAX).unwrap();
        let (len, expected) = whole.range(..=cut as u64).next_back().unwrap();
        assert_eq!(recovered.len, *len, "cut at {cut}");
        assert_eq!(&image(&recovered.ledger), expected, "cut at {cut}");
        // The same with bytes that were never written behind the cut.
        let zeroed: Vec<u8> = bytes[..cut].iter().copied().chain([0; 64]).collect();
        fs::write(files::journal_path(torn.path(), 0), zeroed).unwrap();
        if cut >= record::MAGIC.len() {
            let recovered = files::recover(torn.path(), u64::MAX).unwrap();
            assert_eq!(&image(&recovered.ledger), expected, "zeroes after {cut}");
        }
    }
}

/// A ledger as sorted text, to compare and to read when two differ.
fn image(ledger: &Ledger) -> Vec<String> {
    let mut image: Vec<String> = ledger.image().map(|record| format!("{record:?}")).collect();
    image.sort();
    image
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let state = disk.open(EmbeddedConfig::new(directory.path().into()));
    // A grant is longer than any of these rooms, so each leaves a torn frame of another length.
    for n in 0..120 {
        disk.left.store(n, Ordering::Relaxed);
        let before = view(&state, 120);
        assert_eq!(run(state.decide(&ask(n))), HotAnswer::Unanswered(Outage::Storage));
        assert!(run(state.health()).is_err(), "a full disk is not healthy");
        disk.left.store(n, Ordering::Relaxed);
        assert!(run(state.health()).is_err(), "nor is one with room for a probe alone");
        assert_eq!(view(&state, 120), before, "a failed append changed something");
        disk.left.store(1 << 30, Ordering::Relaxed);
        run(state.health()).unwrap();
        assert!(matches!(run(state.decide(&ask(n))), HotAnswer::Granted(_)));
    }
    disk.left.store(5, Ordering::Relaxed);
    assert!(run(state.settle(&ask(1).hold(), MicroUsd::new(1), at(1))).is_err());
    assert!(run(state.reap(at(40), 10)).is_err());
    let before = view(&state, 120);
    drop(state);
    let reopened = EmbeddedState::open(EmbeddedConfig::new(directory.path().into())).unwrap();
    assert_eq!(view(&reopened, 120), before);
}

#[test]
fn a_full_disk_during_compaction_keeps_the_journals() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let state = disk.open(EmbeddedConfig::new(directory.path().into()));
    (0..20).for_each(|n| assert!(matches!(run(state.decide(&ask(n))), HotAnswer::Granted(_))));
    let before = view(&state, 20);
    drop(state);
    files::start_journal(&disk, directory.path(), 1).unwrap();
    disk.left.store(100, Ordering::Relaxed);
    assert!(files::compact(&disk, directory.path(), 1).is_err());
    let reopened = EmbeddedState::open(EmbeddedConfig::new(directory.path().into())).unwrap();
    assert_eq!(view(&reopened, 20), before);
}

fn strict(directory: &Path) -> EmbeddedConfig {
    EmbeddedConfig { durability: Durability::Strict, ..EmbeddedConfig::new(directory.into()) }
}

#[test]
fn after_a_failed_sync_nothing_is_granted_until_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let config = strict(directory.path());
    let state = disk.open(config.clone());
    assert!(matches!(run(state.decide(&ask(1))), HotAnswer::Granted(_)));
    disk.sync_fails.store(true, Ordering::Relaxed);
    assert_eq!(run(state.decide(&ask(2))), HotAnswer::Unanswered(Outage::Storage));
    disk.sync_fails.store(false, Ordering::Relaxed);
    // A retry must not turn the grant that may be lost into an answer.
    assert_eq!(run(state.decide(&ask(2))), HotAnswer::Unanswered(Outage::Storage));
    assert_eq!(run(state.decide(&ask(3))), HotAnswer::Unanswered(Outage::Storage));
    assert!(matches!(run(state.health()), Err(StateError::SyncFailed)));
    drop(state);
    let reopened = EmbeddedState::open(config).unwrap();
    assert!(matches!(run(reopened.decide(&ask(3))), HotAnswer::Granted(_)));
}

#[test]
fn what_a_failed_sync_left_in_memory_alone_is_written_again_before_it_counts() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let config = strict(directory.path());
    let state = disk.open(config.clone());
    assert!(matches!(run(state.decide(&ask(1))), HotAnswer::Granted(_)));
    disk.sync_fails.store(true, Ordering::Relaxed);
    assert_eq!(run(state.decide(&ask(2))), HotAnswer::Unanswered(Outage::Storage));
    run(state.failed());
    disk.sync_fails.store(false, Ordering::Relaxed);
    drop(state);
    assert_eq!(disk.lost.lock().len(), 1);

    let state = disk.open(config.clone());
    assert!(matches!(run(state.decide(&ask(3))), HotAnswer::Granted(_)));
    let answered = view(&state, 4);
    drop(state);
    disk.cut_power();
    let state = disk.open(config);
    assert_eq!(view(&state, 4), answered);
}

/// The horizon of what was forgotten outlives the process and a compaction.
#[test]
fn a_clock_that_steps_back_after_a_restart_makes_no_token_good_twice() {
    let directory = tempfile::tempdir().unwrap();
    let config = || EmbeddedConfig::new(directory.path().into());
    let state = EmbeddedState::open(config()).unwrap();
    assert!(matches!(run(state.decide(&ask(1))), HotAnswer::Granted(_)));
    let token = TokenCheck { expires_at: at(900), ..ask(2).token };
    let ahead = Ask { now: at(600), token, ..ask(2) };
    assert!(matches!(run(state.decide(&ahead)), HotAnswer::Granted(_)));
    drop(state);
    files::start_journal(&Files, directory.path(), 1).unwrap();
    files::compact(&Files, directory.path(), 1).unwrap();
    let state = EmbeddedState::open(config()).unwrap();
    let again = Ask { id: id(3), ..ask(1) };
    assert_eq!(run(state.decide(&again)), HotAnswer::Refused(HotRefusal::Replayed));
}

#[test]
fn counts_of_calls_under_way_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let config = || EmbeddedConfig::new(directory.path().into());
    let state = EmbeddedState::open(config()).unwrap();
    let in_flight = InFlight { agent: NonZeroU32::new(1), ..InFlight::default() };
    let budgets = Budgets::none();
    let call = |n| Ask { in_flight, budgets: budgets.clone(), tenant: day(0).tenant, ..ask(n) };
    assert!(matches!(run(state.decide(&call(0))), HotAnswer::Granted(_)));
    drop(state);
    let state = EmbeddedState::open(config()).unwrap();
    let busy = HotRefusal::Busy { of: aegis_domain::CountScope::Agent, limit: 1 };
    assert_eq!(run(state.decide(&call(3))), HotAnswer::Refused(busy));
    run(state.settle(&call(0).hold(), MicroUsd::ZERO, at(1))).unwrap();
    drop(state);
    let state = EmbeddedState::open(config()).unwrap();
    assert!(matches!(run(state.decide(&call(3))), HotAnswer::Granted(_)));
}

#[test]
fn one_directory_serves_one_state() {
    let directory = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig::new(directory.path().into());
    let first = EmbeddedState::open(config.clone()).unwrap();
    assert!(matches!(EmbeddedState::open(config.clone()), Err(StateError::Locked)));
    drop(first);
    assert!(EmbeddedState::open(config).is_ok());
}

#[test]
fn damage_that_no_crash_explains_is_refused() {
    let config = |directory: &tempfile::TempDir| EmbeddedConfig::new(directory.path().into());
    let damaged = |directory: &tempfile::TempDir| {
        matches!(EmbeddedState::open(config(directory)), Err(StateError::Damaged { .. }))
    };
    let foreign = tempfile::tempdir().unwrap();
    fs::write(files::journal_path(foreign.path(), 0), b"something else").unwrap();
    assert!(damaged(&foreign));

    let gap = tempfile::tempdir().unwrap();
    fs::write(files::journal_path(gap.path(), 1), record::MAGIC).unwrap();
    assert!(damaged(&gap), "journal 0 is missing");

    let short = tempfile::tempdir().unwrap();
    files::start_journal(&Files, short.path(), 0).unwrap();
    files::start_journal(&Files, short.path(), 1).unwrap();
    files::compact(&Files, short.path(), 1).unwrap();
    let snapshot = short.path().join("snapshot-0000000001");
    let bytes = fs::read(&snapshot).unwrap();
    fs::write(&snapshot, &bytes[..bytes.len() - 1]).unwrap();
    assert!(damaged(&short), "the snapshot has no end");
}

#[test]
fn full_means_refused_and_expiry_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { tokens_max: 2, calls_max: 100, paced_max: 100 };
    let config = EmbeddedConfig { limits, ..EmbeddedConfig::new(directory.path().into()) };
    let state = EmbeddedState::open(config).unwrap();
    (0..2).for_each(|n| assert!(matches!(run(state.decide(&ask(n))), HotAnswer::Granted(_))));
    assert_eq!(run(state.decide(&ask(2))), HotAnswer::Unanswered(Outage::Storage));
    assert!(matches!(run(state.health()), Err(StateError::Full)));
    let token = TokenCheck { expires_at: at(800), ..ask(3).token };
    let later = Ask { now: at(500), token, ..ask(3) };
    assert!(matches!(run(state.decide(&later)), HotAnswer::Granted(_)));
}

#[test]
fn windows_are_dropped_a_week_after_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let state = EmbeddedState::open(EmbeddedConfig::new(directory.path().into())).unwrap();
    run(state.decide(&ask(0)));
    run(state.settle(&ask(0).hold(), MicroUsd::new(5), at(1))).unwrap();
    let spent = |s| {
        run(state.reap(at(s), 10)).unwrap();
        run(state.spend(&day(0), at(0))).unwrap().spent.micro_usd()
    };
    assert_eq!(spent(7 * 86_400), 5);
    assert_eq!(spent(9 * 86_400), 0);
}

/// One step of a life, over ten calls.
#[derive(Clone, Debug)]
enum Step {
    Decide(u64),
    Settle(u64, u64),
    Extend(u64, u64),
    Adjust(u64),
    Reap(u64),
    Reopen,
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..10).prop_map(Step::Decide),
        3 => (0u64..10, 0u64..50).prop_map(|(n, actual)| Step::Settle(n, actual)),
        2 => (0u64..10, 0u64..90).prop_map(|(n, total)| Step::Extend(n, total)),
        1 => (0u64..6).prop_map(Step::Adjust),
        1 => (0u64..80).prop_map(Step::Reap),
        1 => Just(Step::Reopen),
        1 => Just(Step::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// BerriAI/litellm#28247: each restart added what was already counted.
    #[test]
    fn reopening_and_compacting_change_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let mut state = EmbeddedState::open(small(directory.path())).unwrap();
        for step in steps {
            match step {
                Step::Decide(n) => {
                    let answer = run(state.decide(&ask(n)));
                    let refused = HotAnswer::Refused(HotRefusal::Replayed);
                    prop_assert!(matches!(answer, HotAnswer::Granted(_)) || answer == refused);
                }
                Step::Settle(n, actual) => {
                    run(state.settle(&ask(n).hold(), MicroUsd::new(actual), at(1))).unwrap();
                }
                Step::Extend(n, total) => {
                    let extended = run(state.extend(&ask(n).hold(), MicroUsd::new(total), at(1)));
                    let is_told = matches!(extended, Ok(Extended::Granted) | Err(StateError::NotHeld));
                    prop_assert!(is_told);
                }
                Step::Adjust(n) => {
                    run(state.adjust(&adjustment(n))).unwrap();
                }
                Step::Reap(s) => {
                    run(state.reap(at(s), 3)).unwrap();
                }
                Step::Reopen | Step::Compact => {
                    let before = image(&state.shared.core.lock().ledger);
                    drop(state);
                    if matches!(step, Step::Compact) {
                        let last = files::recover(directory.path(), u64::MAX).unwrap().generation;
                        files::start_journal(&Files, directory.path(), last + 1).unwrap();
                        files::compact(&Files, directory.path(), last + 1).unwrap();
                    }
                    state = EmbeddedState::open(small(directory.path())).unwrap();
                    prop_assert_eq!(image(&state.shared.core.lock().ledger), before);
                }
            }
        }
    }
}

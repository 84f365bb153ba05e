//! A gateway whose disk fails, hangs or is full, under calls that go on all the time.
//!
//! Not here: the journal by itself (`audit/ship/tests`), and the ledger's disk (`voters`). Invariant: whatever the disk does, an
//! upstream sees no call whose record is not on it; each call is answered; and afterwards the log, the upstream and the budgets say the
//! same.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_audit_chain::layout;
use aegis_audit_chain::record::{DecisionEntry, Entry};
use aegis_audit_verify::Verdict;
use aegis_control_client::ClientError;
use aegis_domain::{DecisionId, Effect, MicroUsd, Reason, Timestamp};
use aegis_state::{BudgetWindow, HotState as _};
use aegis_testkit::{Building, Fault, Plan};
use futures::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::GATEWAY;
use crate::changes::changes;
use crate::evidence::assert_verified;
use crate::voters::SmallDisk;

const CALLERS: usize = 4;
/// What a debug build on a busy machine gets for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a fault that ends by itself would take: longer than anybody here waits.
const FOR_EVER: &str = "delay_enter=600000000";

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered,
    Refused(Reason),
    /// Nobody was there.
    Gone,
}

/// What the callers learned.
#[derive(Default)]
struct Heard {
    is_over: Cell<bool>,
    /// Of each caller, how its calls ended, with the time they were sent.
    ends: RefCell<BTreeMap<usize, Vec<(Instant, End)>>>,
    answered: RefCell<BTreeSet<DecisionId>>,
}

impl Heard {
    /// Waits until each caller has sent a call from now on that ended so.
    async fn each(&self, wanted: End) {
        let (begun, since) = (Instant::now(), Instant::now());
        let is_so = |ends: &Vec<(Instant, End)>| {
            ends.iter().rev().take_while(|(sent, _)| *sent >= since).any(|(_, end)| *end == wanted)
        };
        loop {
            let done = self.ends.borrow().values().filter(|ends| is_so(ends)).count();
            if done == CALLERS {
                return;
            }
            let last = || {
                self.ends
                    .borrow()
                    .values()
                    .filter_map(|ends| ends.last().copied())
                    .collect::<Vec<_>>()
            };
            assert!(
                begun.elapsed() < PATIENCE,
                "{done} of {CALLERS} callers: {wanted:?}; {:?}",
                last()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn count(&self, wanted: End) -> usize {
        self.ends.borrow().values().flatten().filter(|(_, end)| *end == wanted).count()
    }
}

/// Calls that cost something until it is over, one after the other, each on a connection of its own.
async fn call_on(house: &Building, heard: &Heard, caller: usize) {
    while !heard.is_over.get() {
        let sent = Instant::now();
        let call = house.agent("bot").post("/pay/v1/out").json(&json!({ "amount": 1 }));
        let answered = async {
            let reply = call.try_begin().await.ok()?.whole().await;
            reply.broken.is_none().then_some(reply)
        };
        let reply = timeout(PATIENCE, answered).await;
        let end = match reply.unwrap_or_else(|_| unreachable!("a call is not answered")) {
            None => End::Gone,
            Some(reply) => match reply.refused_for() {
                Some(reason) => {
                    assert_eq!(reply.status.as_u16(), 503, "{}", reply.text());
                    End::Refused(reason)
                }
                None => {
                    heard.answered.borrow_mut().insert(reply.decision_id());
                    End::Answered
                }
            },
        };
        heard.ends.borrow_mut().entry(caller).or_default().push((sent, end));
        sleep(Duration::from_millis(5)).await;
    }
}

/// Plays a script while everybody calls.
async fn under_calls(house: &Building, heard: &Heard, script: impl Future<Output = ()>) {
    heard.is_over.set(false);
    let callers = join_all((0..CALLERS).map(|caller| call_on(house, heard, caller)));
    let script = async {
        heard.each(End::Answered).await;
        script.await;
        heard.is_over.set(true);
    };
    futures::join!(callers, script);
}

/// From now on every caller is refused for this reason, and the upstream sees nothing.
async fn nothing_leaves(house: &Building, heard: &Heard, reason: Reason) {
    // Then no call is under way that was let through before.
    heard.each(End::Refused(reason)).await;
    let seen = house.upstream().count();
    for _ in 0..3 {
        heard.each(End::Refused(reason)).await;
    }
    assert_eq!(house.upstream().count(), seen, "calls leave whose records are not on disk");
}

async fn plan() -> Plan {
    let plan = Plan::new().await.without("/tenants/abroad");
    plan.with("/tenants/acme/budgets", json!({ "month_usd": "1000" }))
        .with("/limits/record_deadline", json!("1s"))
        .with("/limits/drain", json!("5s"))
}

async fn is_ready(house: &Building) {
    let begun = Instant::now();
    while !house.is_ready().await {
        assert!(begun.elapsed() < PATIENCE, "{}", house.readiness().await);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Every file of the audit log that is being written.
fn logs(house: &Building) -> Vec<PathBuf> {
    fn below(folder: PathBuf, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(path, found);
            } else if path.extension().is_some_and(|extension| extension == "wal") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(house.data().join("audit"), &mut found);
    found
}

fn is_of_registry(path: &Path) -> bool {
    let names = path.iter().filter_map(OsStr::to_str);
    names.into_iter().any(layout::is_registry_dir)
}

fn streams(house: &Building) -> Vec<PathBuf> {
    logs(house).into_iter().filter(|path| !is_of_registry(path)).collect()
}

fn registries(house: &Building) -> Vec<PathBuf> {
    logs(house).into_iter().filter(|path| is_of_registry(path)).collect()
}

/// The gateway that has ended, or ends now, is started again, serves, and ends in order; then everything is compared.
async fn goes_on(mut house: Building, heard: &Heard) {
    house.start_again().await;
    under_calls(&house, heard, heard.each(End::Answered)).await;
    house.stop().await;
    adds_up(&house, heard).await;
}

/// The log, the upstream, those who were answered and the budgets say the same.
async fn adds_up(house: &Building, heard: &Heard) {
    let report = house.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{:?} {:?}", report.findings, report.gaps);
    assert_eq!(report.unsettled_count, 0);
    let (mut decisions, mut newest) = (BTreeMap::new(), Timestamp::from_unix_s(0));
    for record in house.journal().records() {
        newest = newest.max(Timestamp::from_unix_ns(record.head.ts));
        if let Entry::Decision(decision) = record.entry {
            assert!(decisions.insert(decision.id, *decision).is_none(), "decided twice");
        }
    }
    for id in heard.answered.borrow().iter() {
        assert!(decisions.contains_key(id), "decision {id} was answered and is not on record");
    }
    let is_let = |one: &&DecisionEntry| matches!(one.decision, Effect::Allow | Effect::Sanitize);
    let allowed: BTreeMap<String, DecisionId> = decisions
        .values()
        .filter(is_let)
        .map(|one| (one.trace.unwrap().trace_id_hex(), one.id))
        .collect();
    let (outcomes, mut sent) = (house.journal().outcomes(), BTreeSet::new());
    for call in house.upstream().calls() {
        let trace = call.header("traceparent").unwrap().split('-').nth(1).unwrap().to_owned();
        let id = allowed.get(&trace);
        sent.insert(*id.unwrap_or_else(|| unreachable!("call {trace} left without a record")));
    }
    let mut spent = MicroUsd::ZERO;
    for id in allowed.values() {
        let [outcome] = outcomes.get(id).map(Vec::as_slice).unwrap_or_default() else {
            unreachable!("{id}: {:?}", outcomes.get(id))
        };
        // What was refused for its record's sake was not sent, and costs nothing.
        let is_unsent = outcome.reason == Reason::AuditUnavailable;
        assert!(!(is_unsent && sent.contains(id)), "{id} is on record as not sent, and was");
        assert!(!is_unsent || outcome.cost == MicroUsd::ZERO);
        spent = spent.saturating_add(outcome.cost);
    }
    let budget = Building::budget("acme", None, BudgetWindow::Month);
    let spend = house.state().spend(&budget, newest).await.unwrap();
    assert_eq!((spend.spent, spend.held), (spent, MicroUsd::ZERO));
    println!(
        "{} calls answered, {} refused, {} nobody there; the upstream saw {}, {} were let through and {} cost nothing",
        heard.count(End::Answered),
        heard.count(End::Refused(Reason::AuditUnavailable))
            + heard.count(End::Refused(Reason::StateUnavailable)),
        heard.count(End::Gone),
        sent.len(),
        allowed.len(),
        outcomes.values().flatten().filter(|one| one.cost == MicroUsd::ZERO).count(),
    );
}

/// Lets calls fail until the process ends for it, as it says it will.
async fn ends_by(
    calls: &str,
    files: fn(&Building) -> Vec<PathBuf>,
    (reason, says): (Reason, &str),
) {
    if !Fault::is_possible() {
        return;
    }
    let (mut house, heard) = (plan().await.start(GATEWAY).await, Heard::default());
    under_calls(&house, &heard, async {
        let fault = Fault::begin(&house, (calls, "error=EIO"), &files(&house)).await;
        nothing_leaves(&house, &heard, reason).await;
        let said = house.readiness().await;
        assert!(said.starts_with("HTTP/1.1 503") && said.contains("failed"), "{said}");
        heard.each(End::Gone).await;
        let met = fault.end();
        assert!(met.iter().any(|line| line.contains("(INJECTED)")), "{met:?}");
    })
    .await;
    assert_eq!(house.ended().await.code(), Some(1));
    assert!(house.stderr().contains(says), "{}", house.stderr());
    goes_on(house, &heard).await;
}

#[tokio::test]
async fn a_sync_of_the_log_that_fails_ends_the_gateway_and_the_next_start_goes_on() {
    let says = "the audit journal could not be closed in order: the journal failed";
    ends_by("fdatasync", logs, (Reason::AuditUnavailable, says)).await;
}

#[tokio::test]
async fn a_disk_on_which_every_sync_fails_ends_the_gateway_and_the_next_start_goes_on() {
    let says = "the journal failed and takes no more records";
    // Whichever of the two on it is first.
    if !Fault::is_possible() {
        return;
    }
    let (mut house, heard) = (plan().await.start(GATEWAY).await, Heard::default());
    under_calls(&house, &heard, async {
        let fault = Fault::begin(&house, ("fdatasync,fsync", "error=EIO"), &[]).await;
        heard.each(End::Gone).await;
        assert!(!fault.end().is_empty());
    })
    .await;
    assert_eq!(house.ended().await.code(), Some(1));
    assert!(house.stderr().contains(says), "{}", house.stderr());
    assert!(heard.count(End::Refused(Reason::AuditUnavailable)) > 0);
    goes_on(house, &heard).await;
}

#[tokio::test]
async fn a_sync_of_the_hot_state_that_fails_ends_the_gateway_and_the_next_start_goes_on() {
    let journal = |house: &Building| vec![house.data().join("state/journal-0000000000")];
    let says = "the disk of the hot state failed";
    ends_by("fdatasync", journal, (Reason::StateUnavailable, says)).await;
}

/// Lets calls hang until somebody lets them go on; how many were let through and not sent.
async fn hangs(calls: &str, files: fn(&Building) -> Vec<PathBuf>) -> Option<usize> {
    if !Fault::is_possible() {
        return None;
    }
    let (mut house, heard) = (plan().await.start(GATEWAY).await, Heard::default());
    under_calls(&house, &heard, async {
        let fault = Fault::begin(&house, (calls, FOR_EVER), &files(&house)).await;
        nothing_leaves(&house, &heard, Reason::AuditUnavailable).await;
        let said = house.readiness().await;
        assert!(said.contains("the disk of the audit log has not answered for"), "{said}");
        // The first call of a tenant, for which a key would be made.
        let first = house.agent("bot").of("other").get("/open/x").send();
        let first = timeout(PATIENCE, first).await.unwrap();
        first.is_refused(Reason::AuditUnavailable);
        assert!(!fault.end().is_empty());
        heard.each(End::Answered).await;
        is_ready(&house).await;
    })
    .await;
    house.stop().await;
    let unsent = house.journal().outcomes().into_values().flatten();
    let unsent = unsent.filter(|outcome| outcome.reason == Reason::AuditUnavailable).count();
    adds_up(&house, &heard).await;
    Some(unsent)
}

#[tokio::test]
async fn while_the_log_hangs_calls_are_refused_in_time_and_go_on_by_themselves() {
    let unsent = hangs("fdatasync", streams).await;
    assert!(unsent.is_none_or(|unsent| unsent > 0), "nobody waited for the disk");
}

/// Records get to disk all the while; what is missing is a head that is signed for them.
#[tokio::test]
async fn while_the_registry_hangs_calls_are_refused_and_go_on_by_themselves() {
    hangs("fdatasync", registries).await;
}

#[tokio::test]
async fn while_the_whole_disk_hangs_calls_are_refused_in_time_and_go_on_by_themselves() {
    let unsent = hangs("fdatasync,fsync", |_| Vec::new()).await;
    assert!(unsent.is_none_or(|unsent| unsent > 0), "nobody waited for the disk");
}

/// Waits for the process to end by itself: whoever traces it holds back the news of that.
async fn has_exited(house: &Building) {
    let (begun, status) = (Instant::now(), format!("/proc/{}/status", house.process()));
    while !std::fs::read_to_string(&status).unwrap().contains("State:\tZ") {
        assert!(begun.elapsed() < PATIENCE, "the gateway does not end");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn who_is_told_to_stop_while_the_log_hangs_ends_and_the_next_start_goes_on() {
    if !Fault::is_possible() {
        return;
    }
    let plan = plan().await.with("/limits/drain", json!("100ms"));
    let plan = plan.with("/limits/grace", json!("1s"));
    let (mut house, heard) = (plan.start(GATEWAY).await, Heard::default());
    let hanging = Cell::new(None);
    under_calls(&house, &heard, async {
        hanging.set(Some(Fault::begin(&house, ("fdatasync", FOR_EVER), &logs(&house)).await));
        nothing_leaves(&house, &heard, Reason::AuditUnavailable).await;
        house.terminate();
        heard.each(End::Gone).await;
    })
    .await;
    has_exited(&house).await;
    assert!(!hanging.take().unwrap().end().is_empty());
    assert_eq!(house.ended().await.code(), Some(1));
    let says = "closing the audit journal has taken more than";
    assert!(house.stderr().contains(says), "{}", house.stderr());
    goes_on(house, &heard).await;
}

/// How a change of the region is answered, and whether it was made.
fn change(house: &Building, number: u32) -> Result<(), String> {
    let wish = json!({ "tenant": "acme", "id": format!("late-{number}"), "org": "acme" });
    match house.region().try_post("/v1/agents", wish) {
        Ok(_) => Ok(()),
        Err(ClientError::Refused { status: 503, kind, .. }) => Err(kind),
        Err(error) => unreachable!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_hangs_changes_are_answered_in_time_and_none_that_was_made_is_off_the_record()
{
    if !Fault::is_possible() {
        return;
    }
    let mut house = plan().await.keeping_the_registry().start(GATEWAY).await;
    change(&house, 0).unwrap();
    let fault = Fault::begin(&house, ("fdatasync", FOR_EVER), &logs(&house)).await;
    let asked = Instant::now();
    assert_eq!(change(&house, 1), Err("unknown".to_owned()));
    assert!(asked.elapsed() < PATIENCE);
    // By now the disk is known to hang, and nothing more is made.
    assert_eq!(change(&house, 2), Err("no-record".to_owned()));
    let agents = house.region().get("/v1/agents").to_string();
    assert!(agents.contains("late-1") && !agents.contains("late-2"), "{agents}");
    assert!(!fault.end().is_empty());
    is_ready(&house).await;
    let begun = Instant::now();
    while change(&house, 3).is_err() {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(50)).await;
    }
    house.stop().await;
    let targets: Vec<_> = changes(&house).into_iter().filter_map(|change| change.target).collect();
    let of = |number: u32| format!("agent acme/late-{number}");
    assert!([0, 1, 3].iter().all(|number| targets.contains(&of(*number))), "{targets:?}");
    assert!(!targets.contains(&of(2)), "{targets:?}");
    assert_verified(&house);
}

#[tokio::test]
async fn on_a_slow_disk_calls_are_slow_and_nothing_else() {
    if !Fault::is_possible() {
        return;
    }
    let plan = plan().await.with("/limits/record_deadline", json!("30s"));
    let (mut house, heard) = (plan.start(GATEWAY).await, Heard::default());
    under_calls(&house, &heard, async {
        let what = ("fdatasync,fsync", "delay_enter=700000");
        let fault = Fault::begin(&house, what, &[]).await;
        for _ in 0..3 {
            heard.each(End::Answered).await;
        }
        is_ready(&house).await;
        assert!(fault.end().len() > 3);
    })
    .await;
    house.stop().await;
    assert_eq!(heard.count(End::Answered), heard.ends.borrow().values().flatten().count());
    adds_up(&house, &heard).await;
}

/// On a file system that cannot reserve room, a full disk is met by a write.
#[tokio::test]
async fn a_disk_that_others_fill_ends_the_gateway_and_the_next_start_waits_for_room() {
    if !Fault::is_possible() {
        return;
    }
    let unreserved = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fallocate"];
    let inject = ["-e", "inject=fallocate:error=EOPNOTSUPP"];
    let plan = plan().await.under(&[&unreserved[..], &inject[..]].concat());
    let Some(disk) = SmallDisk::at(plan.path("audit")) else {
        println!("skipped: this user may mount nothing");
        return;
    };
    let (mut house, heard) = (plan.start(GATEWAY).await, Heard::default());
    under_calls(&house, &heard, async {
        disk.fill();
        nothing_leaves(&house, &heard, Reason::AuditUnavailable).await;
        let said = house.readiness().await;
        assert!(said.contains("no storage space"), "{said}");
        heard.each(End::Gone).await;
    })
    .await;
    assert_eq!(house.ended().await.code(), Some(1));
    house.fails_again("No space left on device").await;
    disk.clear();
    goes_on(house, &heard).await;
}

#[tokio::test]
async fn while_the_hot_state_has_no_room_calls_are_refused_and_go_on_by_themselves() {
    let plan = plan().await;
    let disks = ["state", "disclosures"].map(|folder| SmallDisk::at(plan.path(folder)));
    let [Some(state), Some(disclosures)] = disks else {
        println!("skipped: this user may mount nothing");
        return;
    };
    let (mut house, heard) = (plan.start(GATEWAY).await, Heard::default());
    under_calls(&house, &heard, async {
        // What opens digests is kept as long as there is room for it; calls do not wait for any.
        disclosures.fill();
        heard.each(End::Answered).await;
        state.fill();
        nothing_leaves(&house, &heard, Reason::StateUnavailable).await;
        let said = house.readiness().await;
        assert!(said.contains("cannot append to the journal"), "{said}");
        state.clear();
        heard.each(End::Answered).await;
        is_ready(&house).await;
    })
    .await;
    disclosures.clear();
    house.stop().await;
    // What could not be settled meanwhile is settled then.
    goes_on(house, &heard).await;
}

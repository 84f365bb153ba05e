//! What everybody saw, held against the ledger, the upstream and every audit log.
//!
//! Not here: how it was seen (`agents`, `people`, `overrides`, `revocations`). Invariant: nothing is judged by how long it
//! took; times are told, for whoever reads them.

use std::collections::{BTreeMap, BTreeSet};

use aegis_audit_chain::record::DecisionEntry;
use aegis_audit_verify::{Gap, Verdict};
use aegis_domain::{DecisionId, Effect};
use aegis_linear::{
    Grant, GrantCall, GrantReply, LineCall, Of, Pointer, PointerCall, PointerReply, check, check_by,
};
use aegis_testkit::Building;

use crate::agents::Diary;
use crate::lines::Chronicle;
use crate::overrides::Overrides;
use crate::people::Pointers;
use crate::reads::Counts;
use crate::revocations::Out;
use crate::roamers::Roamed;
use crate::rollouts::{self, Lines};
use crate::served::{self, Served};
use crate::town::{PATIENCE, Town};

const CONFIGURATIONS_MAX: usize = 5_000_000;

pub(crate) struct Seen {
    pub(crate) calls: Vec<Diary>,
    pub(crate) pointers: Pointers,
    pub(crate) overrides: Overrides,
    pub(crate) revoked: Out,
    /// What was seen of the line whose versions come by stages.
    pub(crate) lines: Lines,
    /// What its agents were answered, by gateway.
    pub(crate) roamed: Vec<Vec<Roamed>>,
    pub(crate) reads: Counts,
    /// Of the pointer, once all voters knew the same.
    pub(crate) epoch: u64,
}

type Decisions = BTreeMap<DecisionId, DecisionEntry>;

pub(crate) async fn judge(town: &mut Town, seen: Seen) {
    every_call_was_answered(&seen.calls);
    who_was_revoked_stays_out(town, &seen.revoked);
    gateways_end_where_the_ledger_does(town, &seen.pointers).await;
    rollouts_end_where_the_ledger_does(town, &seen.lines.chronicle).await;
    let epochs = Epochs::of(&seen.pointers, seen.epoch);
    reads_were_of_what_was(&epochs, &seen.pointers, seen.reads);
    histories_have_an_order(seen.pointers.history, &seen.overrides);
    rollouts_have_an_order(&seen.lines);
    let decisions = logs(town).await;
    rollouts_decided_as_agreed(&seen.lines.chronicle, &seen.roamed, &decisions);
    every_call_sent_is_on_record(town, &decisions);
    no_override_let_two_calls_out(town, &seen.overrides);
    for diary in &seen.calls {
        let answered = diary.calls.iter().filter_map(|call| call.heard.as_ref().ok()?.decision);
        epochs.explain(answered.map(|id| &decisions[diary.gateway][&id]), &seen.pointers.digests);
    }
}

/// Decisions go on, whatever becomes of the voters: every call is answered, none is refused; that no answer waited for the end of
/// a fault, the fault has waited for.
fn every_call_was_answered(diaries: &[Diary]) {
    let (mut count, mut longest) = (0, std::time::Duration::ZERO);
    for diary in diaries {
        longest = longest.max(diary.gap);
        for call in &diary.calls {
            count += 1;
            let heard = call.heard.as_ref();
            let heard = heard.unwrap_or_else(|error| panic!("{:?}: {error}", call.at));
            assert_eq!(heard.status, 200, "gateway {}: {heard:?}", diary.gateway);
        }
    }
    eprintln!("{count} calls answered; the longest time without one at a gateway was {longest:?}");
}

fn who_was_revoked_stays_out(town: &Town, Out { revoked, overtaken }: &Out) {
    assert!(*overtaken > 0, "no gateway heard later news");
    for house in &town.gateways {
        let door = house.at(house.port());
        let back: Vec<_> =
            revoked.iter().filter(|it| it.is_let_in(door)).map(|it| &it.id).collect();
        assert!(back.is_empty(), "revoked, refused, and let in again: {back:?}");
    }
    let longest = revoked.iter().map(|it| it.took).max();
    assert!(longest.is_some(), "nobody was revoked");
    let count = revoked.len();
    eprintln!("{count} agents revoked; the last gateway refused after {longest:?}");
    eprintln!("{overtaken} times later news was known, and each time the revocation before it");
}

/// What decides on each gateway is what is active.
async fn gateways_end_where_the_ledger_does(town: &Town, seen: &Pointers) {
    let client = town.voters[0].client();
    let pointer = client.get(&format!("{}/pointer", crate::people::LINE)).unwrap();
    let active = pointer.body["active"].as_u64().unwrap();
    let swung = seen.history.iter().filter(|it| it.call != PointerCall::Read);
    assert!(swung.count() > 1, "the pointer was never swung");
    for house in &town.gateways {
        let begun = std::time::Instant::now();
        while house.metric("aegis_policy_version{tenant=\"acme\"}").await != active {
            assert!(begun.elapsed() < PATIENCE, "a gateway does not get to {active}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// What decides on each gateway once nothing is under way any more is what is active.
async fn rollouts_end_where_the_ledger_does(town: &Town, chronicle: &Chronicle) {
    let (_, last) = chronicle.views.last_key_value().unwrap();
    for house in &town.gateways {
        let begun = std::time::Instant::now();
        let active = u64::from(last.active);
        while house.metric("aegis_policy_version{tenant=\"other\"}").await != active {
            assert!(begun.elapsed() < PATIENCE, "a gateway does not get to {last:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

fn reads_were_of_what_was(epochs: &Epochs, pointers: &Pointers, Counts { agreed, own }: Counts) {
    for (epoch, version) in &pointers.perhaps_old {
        let versions = epochs.0.get(epoch);
        let is_known = versions.is_some_and(|versions| versions.contains(version));
        assert!(is_known, "a voter shows {version} at epoch {epoch}, which never was");
    }
    assert!(agreed > 0, "no read was agreed");
    eprintln!("{agreed} reads that a quorum agreed to, {own} of what one voter knew");
}

fn rollouts_have_an_order(lines: &Lines) {
    let drives = served::drives(&lines.chronicle);
    let history: Vec<_> = lines.history.iter().cloned().chain(drives).collect();
    let commands = lines.history.iter().filter(|it| it.call != LineCall::Look).count();
    eprintln!("{commands} calls on rollouts and {} looks", lines.history.len() - commands);
    let verdict = check(&rollouts::model(), &history, CONFIGURATIONS_MAX);
    if let aegis_linear::Verdict::Violated(violation) = &verdict {
        let explained: Vec<_> = violation.explained.iter().rev().take(12).collect();
        let explained: Vec<_> = explained.into_iter().rev().map(|it| &history[*it]).collect();
        panic!("{explained:#?} and then {:#?}", history[violation.unexplained]);
    }
    assert!(matches!(verdict, aegis_linear::Verdict::Linear(_)), "{verdict:?}");
}

/// Every call of the line's agents was decided by what decided for its agent at some epoch of then.
fn rollouts_decided_as_agreed(
    chronicle: &Chronicle,
    roamed: &[Vec<Roamed>],
    decisions: &[Decisions],
) {
    let driven = served::stages_lasted(chronicle).unwrap_or_else(|error| panic!("{error}"));
    let (mut by_candidates, mut latest, mut calls) = (0, 0, 0);
    for (gateway, roamed) in roamed.iter().enumerate() {
        let served: Vec<_> = roamed.iter().map(|it| served_by(it, &decisions[gateway])).collect();
        let late = u64::try_from(PATIENCE.as_nanos()).unwrap();
        let told = served::explain(chronicle, &served, late);
        let told = told.unwrap_or_else(|error| panic!("gateway {gateway}: {error}"));
        by_candidates += told.by_candidates;
        latest = latest.max(told.latest);
        calls += served.len();
    }
    assert!(by_candidates > 0, "no candidate decided anything");
    let epochs = chronicle.views.len();
    let latest = std::time::Duration::from_nanos(latest);
    eprintln!(
        "{calls} calls by {epochs} epochs of rollouts, {by_candidates} of them by candidates; {driven:?}; \
         the longest that one decided which was over was {latest:?}"
    );
}

fn served_by(call: &Roamed, decisions: &Decisions) -> Served {
    let decision = &decisions[&call.decision];
    let policy = decision.policy.as_ref().unwrap_or_else(|| panic!("{decision:?}"));
    let version = u32::try_from(policy.version).unwrap();
    let is_denied = decision.decision == Effect::Deny;
    assert_eq!(call.status, if is_denied { 403 } else { 200 }, "{decision:?}");
    Served { agent: call.agent.clone(), at: call.at, version, is_denied }
}

fn histories_have_an_order(pointers: Vec<Of<Pointer>>, overrides: &Overrides) {
    let used = overrides.history.iter().filter(|(_, operation)| {
        operation.call == GrantCall::Use
            && operation.reply.as_ref().is_some_and(|(reply, _)| *reply == GrantReply::Done)
    });
    eprintln!(
        "{} calls on the pointer, {} on overrides, {} of them let out",
        pointers.len(),
        overrides.history.len(),
        used.count(),
    );
    let verdict = check(&Pointer, &pointers, CONFIGURATIONS_MAX);
    assert!(matches!(verdict, aegis_linear::Verdict::Linear(_)), "{verdict:?} {pointers:#?}");
    let wrong = check_by(&Grant, overrides.history.iter().cloned(), CONFIGURATIONS_MAX);
    assert!(wrong.is_empty(), "overrides are not linearizable: {wrong:#?}");
}

/// Ends everybody in order, verifies every log from its files, and reads the gateways'.
async fn logs(town: &mut Town) -> Vec<Decisions> {
    let mut decisions = Vec::new();
    for house in &mut town.gateways {
        decisions.push(log(house).await);
    }
    for voter in &mut town.voters {
        decisions.push(log(&mut voter.house).await);
    }
    for voter in &mut town.left {
        decisions.push(log(&mut voter.house).await);
    }
    decisions
}

async fn log(house: &mut Building) -> Decisions {
    let is_lost = !house.is_running();
    if !is_lost {
        house.stop().await;
    }
    let report = house.verify();
    // Whoever was killed and never started again could sign no head over its last records.
    let is_end = |gap: &Gap| matches!(gap, Gap::Unanchored { .. } | Gap::Tail { .. });
    let is_cut_off = is_lost && report.gaps.iter().all(is_end);
    let wanted =
        if is_cut_off && !report.gaps.is_empty() { Verdict::Incomplete } else { Verdict::Pass };
    assert_eq!(report.verdict(), wanted, "{:?} {:?}", report.findings, report.gaps);
    house.journal().decisions().into_iter().map(|decision| (decision.id, decision)).collect()
}

/// Every call that left has one allowing decision, in one log.
fn every_call_sent_is_on_record(town: &Town, logs: &[Decisions]) {
    let mut allowed = BTreeSet::new();
    for decision in logs.iter().flat_map(BTreeMap::values) {
        let is_sent = matches!(decision.decision, Effect::Allow | Effect::Sanitize);
        if let Some(trace) = decision.trace.as_ref().filter(|_| is_sent) {
            assert!(allowed.insert(trace.trace_id_hex()), "a call was decided twice");
        }
    }
    let traces = traces(town);
    for trace in &traces {
        assert!(allowed.contains(trace), "call {trace} left without a record");
    }
    let decided: usize = logs.iter().map(BTreeMap::len).sum();
    eprintln!(
        "{} calls reached an upstream; {decided} decisions in {} logs",
        traces.len(),
        logs.len()
    );
}

/// Of the calls that reached an upstream.
fn traces(town: &Town) -> Vec<String> {
    let house = &town.voters[0].house;
    let calls = house.upstream().calls().into_iter().chain(house.plain_upstream().calls());
    let trace = |parent: String| parent.split('-').nth(1).unwrap().to_owned();
    calls.map(|call| trace(call.header("traceparent").unwrap())).collect()
}

fn no_override_let_two_calls_out(town: &Town, overrides: &Overrides) {
    let mut let_out = BTreeMap::<&str, usize>::new();
    for trace in traces(town) {
        if let Some(id) = overrides.shown.get(&trace) {
            *let_out.entry(id).or_default() += 1;
        }
    }
    assert!(let_out.values().all(|count| *count == 1), "used twice: {let_out:?}");
    assert!(!let_out.is_empty(), "no override was used");
    eprintln!("{} overrides let one call out each", let_out.len());
}

/// What each epoch of the pointer may have led to: one version where its call was answered, else those that were asked for.
struct Epochs(BTreeMap<u64, BTreeSet<u32>>);

impl Epochs {
    fn of(pointers: &Pointers, last: u64) -> Self {
        let (mut known, mut perhaps) = (BTreeMap::new(), BTreeMap::<u64, BTreeSet<u32>>::new());
        for operation in &pointers.history {
            let PointerCall::Swing { seen, to } = operation.call else { continue };
            match &operation.reply {
                Some((PointerReply::Swung(epoch), _)) => {
                    let before = known.insert(*epoch, BTreeSet::from([to]));
                    assert!(before.is_none(), "epoch {epoch} was won twice");
                }
                None => drop(perhaps.entry(seen + 1).or_default().insert(to)),
                Some(_) => {}
            }
        }
        for (epoch, versions) in perhaps {
            known.entry(epoch).or_insert(versions);
        }
        known.retain(|epoch, _| *epoch <= last);
        let reached = u64::try_from(known.len()).unwrap();
        assert_eq!(reached, last, "an epoch came from nowhere: {known:?}");
        Self(known)
    }

    /// What one agent was decided by, call after call, are versions that were published and activated, in the order of their
    /// epochs and none after a later one.
    fn explain<'a>(
        &self,
        decisions: impl Iterator<Item = &'a DecisionEntry>,
        digests: &BTreeMap<u32, String>,
    ) {
        let mut epoch = 1;
        for decision in decisions {
            let policy = decision.policy.as_ref().unwrap();
            let version = u32::try_from(policy.version).unwrap();
            // One whose publication was not answered for is known by its number alone.
            let digest = digests.get(&version).unwrap_or(&policy.bundle_sha256);
            assert_eq!(*digest, policy.bundle_sha256, "another version {version}");
            let later = self.0.range(epoch..).find(|(_, versions)| versions.contains(&version));
            let found = later.map(|(later, _)| *later);
            epoch = found.unwrap_or_else(|| {
                panic!("{} is no version of epoch {epoch} or later: {:?}", policy.revision, self.0)
            });
        }
    }
}

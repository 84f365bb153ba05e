//! The journal against a real directory: durability, recovery, failure.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aegis_audit_chain::Hash;
use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_ship::{Journal, JournalError, Tail};
use aegis_audit_verify::Verdict;
use aegis_domain::Ttl;

use crate::support::{config, decision, outcome, verify};

#[test]
fn an_append_has_its_place_before_it_is_durable_and_is_found_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = Journal::open(config(dir.path())).unwrap();
    assert!(recovered.streams.is_empty());

    let pending = journal.append_blocking(decision(1).draft().unwrap()).unwrap();
    let place = pending.position().clone();
    assert_eq!(place.seq, 2, "after genesis and anchor_ref");
    let sealed = pending.durable_blocking().unwrap();
    assert_eq!(sealed.position(), &place);
    journal.append_blocking(outcome(place.seq, &decision(1)).draft().unwrap()).unwrap();
    journal.close().unwrap();
    assert!(matches!(
        journal.append_blocking(decision(2).draft().unwrap()),
        Err(JournalError::Closed)
    ));

    let (_next, recovered) = Journal::open(config(dir.path())).unwrap();
    assert!(recovered.streams.is_empty() && recovered.unsettled.is_empty());
}

#[test]
fn a_record_nobody_waits_for_gets_to_disk_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let draft = || decision(1).draft().unwrap();
    let alone = runtime.block_on(journal.append_unhurried(draft())).unwrap();
    assert_eq!(alone.durable_blocking().unwrap().position().seq, 2);
    let unhurried = runtime.block_on(journal.append_unhurried(draft())).unwrap();
    let hurried = journal.append_blocking(draft()).unwrap().durable_blocking().unwrap();
    let shared = unhurried.durable_blocking().unwrap();
    assert_eq!((shared.position().seq, hurried.position().seq), (3, 4));
}

#[test]
fn a_second_process_cannot_open_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = Journal::open(config(dir.path())).unwrap();
    assert!(matches!(Journal::open(config(dir.path())), Err(JournalError::Locked)));
}

/// Appends twenty records; every third is not waited for, and must be there all the same.
async fn produce(journal: Arc<Journal>, producer: u64) -> Vec<(u64, Hash)> {
    let mut places = Vec::new();
    for n in 0..20 {
        let draft = decision(producer * 100 + n).draft().unwrap();
        let pending = journal.append(draft).await.unwrap();
        let place = pending.position().clone();
        if n % 3 != 0 {
            assert_eq!(pending.durable().await.unwrap().position(), &place);
        }
        places.push((place.seq, place.leaf));
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_producers_get_one_order_and_a_dropped_future_loses_no_accepted_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    let journal = Arc::new(journal);
    let producers = (0..32_u64).map(|n| tokio::spawn(produce(Arc::clone(&journal), n)));
    let mut places = Vec::new();
    for producer in producers.collect::<Vec<_>>() {
        places.extend(producer.await.unwrap());
    }
    tokio::task::spawn_blocking(move || journal.close()).await.unwrap().unwrap();

    let stored = Tail::new(dir.path(), None).read(usize::MAX).unwrap();
    places.sort_unstable();
    places.dedup_by_key(|place| place.0);
    assert_eq!(places.len(), 32 * 20);
    for (seq, leaf) in places {
        let record = stored.iter().find(|one| one.seq == seq).unwrap();
        assert_eq!(Hash::leaf(&record.bytes), leaf);
    }
    let report = verify(dir.path());
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[test]
fn a_full_queue_refuses_or_waits_and_never_drops() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    let (mut placed, mut refused) = (0, 0);
    for n in 0..200 {
        match journal.try_append(decision(n).draft().unwrap()) {
            Ok(_) => placed += 1,
            Err(JournalError::Full) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    journal.close().unwrap();
    assert_eq!(placed + refused, 200);
    let report = verify(dir.path());
    assert_eq!((report.verdict(), report.unsettled_count), (Verdict::Pass, placed));
}

#[test]
fn a_step_of_the_wall_clock_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(dir.path());
    let skew_s = Arc::new(AtomicU64::new(0));
    let (clock, skew) = (Arc::clone(&settings.clock), Arc::clone(&skew_s));
    settings.clock =
        Arc::new(move || clock().plus(Ttl::from_s(skew.load(std::sync::atomic::Ordering::SeqCst))));
    let (journal, _) = Journal::open(settings).unwrap();
    skew_s.store(3, std::sync::atomic::Ordering::SeqCst);
    journal.append_blocking(decision(1).draft().unwrap()).unwrap();
    journal.close().unwrap();
    let stored = Tail::new(dir.path(), None).read(usize::MAX).unwrap();
    let entry = Record::parse(&stored[2].bytes).unwrap().entry;
    let Entry::Clock(step) = entry else { panic!("{entry:?}") };
    assert!((2_900_000_000..3_100_000_000).contains(&step.step_ns), "{step:?}");
    assert_eq!(verify(dir.path()).verdict(), Verdict::Pass);
}

//! The gateway is killed, again and again, while it ships: nothing that was acknowledged is missing from the bucket.
//!
//! `AEGIS_KILLS` says how often; the numbers are printed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_chain::source::LogSource as _;
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Origin, layout};
use aegis_audit_ship::{Address, Bucket, BucketLog, Indexes};
use aegis_audit_trust::Trust;
use aegis_audit_verify::Verdict;
use aegis_buckets::Moto;
use aegis_domain::DecisionId;
use aegis_testkit::Building;
use parking_lot::Mutex;
use serde_json::json;

use crate::{GATEWAY, Ships as _, address, plan, s3, verify};

const KILLS: usize = 10;
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_while_shipping_loses_an_acknowledged_record() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let asked = std::env::var("AEGIS_KILLS").ok();
    let kills = asked.map_or(KILLS, |kills| kills.parse().unwrap());
    let plan = plan().await.ships(s3(moto.port(), "audit/gw-1"));
    let plan = plan.with("/audit/ship/retention", json!({ "mode": "compliance", "days": 30 }));
    let mut house = plan.start(GATEWAY).await;
    let (stop, heard) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    for kill in 0..kills {
        stop.store(false, Ordering::Release);
        let goal = house.upstream().count() + 5 + (kill * 7) % 40;
        let clients = (0..CLIENTS).map(|_| load(&house, &stop, &heard));
        let killed = async {
            house.upstream().reached(goal).await;
            house.shoot();
            stop.store(true, Ordering::Release);
        };
        futures::join!(futures::future::join_all(clients), killed);
        house.ended().await;
        house.start_again().await;
    }
    house.stop().await;
    let place = address(moto.port(), "audit/gw-1");
    let report = verify(&house, place.clone()).await;
    assert_eq!(report.verdict(), Verdict::Pass, "{:?} {:?}", report.findings, report.gaps);
    assert_eq!(report.unsettled_count, 0);
    let shipped =
        decisions(&house, place, report.streams.iter().map(|one| one.origin.clone())).await;
    let heard = heard.into_inner();
    let lost: Vec<_> = heard.difference(&shipped).collect();
    assert!(lost.is_empty(), "acknowledged, and not in the bucket: {lost:?}");
    eprintln!(
        "kills {kills}, decisions acknowledged {}, in the bucket {}, lost 0, streams {}, records {}",
        heard.len(),
        shipped.len(),
        report.streams.len(),
        report.records,
    );
}

async fn load(house: &Building, stop: &AtomicBool, heard: &Mutex<BTreeSet<DecisionId>>) {
    let token = house.agent("bot").token();
    while !stop.load(Ordering::Acquire) {
        let ask = house.agent("bot").post("/open/x").bearer(&token).json(&json!({ "text": "a" }));
        if let Ok(answering) = ask.try_begin().await {
            heard.lock().insert(answering.decision_id());
        }
    }
}

/// Every decision in the bucket's streams.
async fn decisions(
    house: &Building,
    place: Address,
    streams: impl Iterator<Item = Origin>,
) -> BTreeSet<DecisionId> {
    let trust = std::fs::read_to_string(house.data().join("trust.txt")).unwrap();
    let trust = Trust::parse(&trust).unwrap();
    let streams: Vec<Origin> = streams.collect();
    let work = tokio::task::spawn_blocking(move || {
        let bucket = Bucket::open(&place).unwrap();
        let log = BucketLog::open(&bucket, &trust, Indexes::Checked).unwrap();
        let mut found = BTreeSet::new();
        let mut note = |record: &[u8]| {
            if let Entry::Decision(one) = Record::parse(record).unwrap().entry {
                found.insert(one.id);
            }
        };
        for origin in streams {
            let names = log.list(&layout::wal_dir(&origin)).unwrap();
            let mut firsts: Vec<u64> =
                names.iter().filter_map(|name| layout::parse_wal_name(name)).collect();
            firsts.sort_unstable();
            let mut walker = Walker::new(origin.clone());
            for first in firsts {
                let bytes = log.read(&layout::wal_file(&origin, first)).unwrap().unwrap();
                walk_file(&mut walker, (first, &bytes), &mut |_, step| note(step.record));
            }
        }
        found
    });
    work.await.unwrap()
}

//! What three voters on one machine do, and what etcd does there: the figures of `docs/slo.md`.
//!
//! Not here: whether they do it right (`main`). Invariant: nothing fails on a figure; both are asked in the same run, each write
//! by a client that waits for its answer.

use std::time::{Duration, Instant};

use aegis_domain::TenantId;
use aegis_testkit::hot::Network;
use aegis_voters::{Said, Told};

use crate::clients::{line, place_of, prepare, swing};
use crate::cluster::{Cluster, Disks, Talk};
use crate::etcd::{self, Etcd};

const SPAN: Duration = Duration::from_secs(8);
const CLIENTS: [u64; 3] = [1, 16, 64];
const TENANTS: u64 = 1_000;

fn kills() -> usize {
    std::env::var("AEGIS_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20)
}

/// Has so many clients write for a while, and says how long each write took.
fn write(clients: u64, client: impl Fn(u64) -> Box<dyn FnMut() -> bool + Send>) -> Vec<Duration> {
    let clients = (0..clients).map(|number| {
        let mut write = client(number);
        std::thread::spawn(move || {
            let (until, mut took) = (Instant::now() + SPAN, Vec::new());
            while Instant::now() < until {
                let begun = Instant::now();
                if write() {
                    took.push(begun.elapsed());
                }
            }
            took
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

fn ms(took: &mut [Duration], percent: usize) -> f64 {
    took.sort();
    let nth = (took.len() * percent / 100).min(took.len().saturating_sub(1));
    took.get(nth).map_or(f64::NAN, |took| took.as_secs_f64() * 1_000.0)
}

fn row(who: &str, clients: u64, mut took: Vec<Duration>) {
    let rate = u64::try_from(took.len()).unwrap() / SPAN.as_secs();
    let (middle, high) = (ms(&mut took, 50), ms(&mut took, 99));
    eprintln!("| {who} | {clients} | {rate} | {middle:.1} | {high:.1} |");
}

/// Kills the leader, and says how long it took until somebody else had a write.
fn failovers(who: &str, mut fail: impl FnMut() -> Duration) {
    let mut took: Vec<_> = (0..kills()).map(|_| fail()).collect();
    let (least, middle, most) = (ms(&mut took, 0), ms(&mut took, 50), ms(&mut took, 100));
    eprintln!("| {who} | {} | {least:.0} | {middle:.0} | {most:.0} |", took.len());
}

fn of_voters() {
    let mut cluster = Cluster::found(Network::new().unwrap(), 3, Disks::Real);
    let mut talk = Talk::with(cluster.control(cluster.leader())).unwrap();
    let mut propose = |action| {
        let said = talk.ask(&Told::Propose { by: "figures".into(), action });
        assert!(matches!(said, Some(Said::Answer(Ok(_)))), "{said:?}");
    };
    prepare(*CLIENTS.last().unwrap()).for_each(&mut propose);
    for clients in CLIENTS {
        let door = cluster.control(cluster.leader());
        let took = write(clients, |number| {
            let mut talk = Talk::with(door).unwrap();
            let Some(Said::Pointer { epoch, .. }) = talk.ask(&Told::Pointer(line(number))) else {
                panic!("the leader does not answer");
            };
            let mut seen = epoch;
            Box::new(move || {
                let action = swing(number, seen, 1);
                let said = talk.ask(&Told::Propose { by: "figures".into(), action });
                seen += 1;
                matches!(said, Some(Said::Answer(Ok(_))))
            })
        });
        row("voters", clients, took);
    }
    for number in 0..TENANTS {
        propose(place_of(&TenantId::parse(&format!("t-{number}")).unwrap()));
    }
    let resident: Vec<_> = cluster.ids().into_iter().map(|id| cluster.resident_kib(id)).collect();
    eprintln!("voters with {TENANTS} tenants hold {resident:?} KiB");
    let mut number = 0;
    failovers("voters", || {
        let leader = cluster.leader();
        let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
        cluster.kill(leader);
        let killed = Instant::now();
        loop {
            number += 1;
            let action = place_of(&TenantId::parse(&format!("f-{number}")).unwrap());
            let told = Told::Propose { by: "figures".into(), action };
            let door = cluster.control(others[number % others.len()]);
            let said = Talk::with(door).and_then(|mut talk| talk.ask(&told));
            if matches!(said, Some(Said::Answer(Ok(_)))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let took = killed.elapsed();
        cluster.start(leader);
        cluster.settle();
        took
    });
}

fn of_etcd() {
    let Some(mut etcd) = Etcd::found() else {
        eprintln!("etcd is not installed: nothing to compare with");
        return;
    };
    let value = "v".repeat(400);
    for clients in CLIENTS {
        let ip = etcd.ip(etcd.leader());
        let took = write(clients, |number| {
            let mut talk = etcd::Talk::with(&ip).unwrap();
            let (key, value) = (format!("key{number}"), value.clone());
            Box::new(move || talk.put(&key, &value) == Some(true))
        });
        row("etcd", clients, took);
    }
    let mut talk = etcd.talk(etcd.leader()).unwrap();
    (0..TENANTS).for_each(|number| assert_eq!(talk.put(&format!("t{number}"), &value), Some(true)));
    let resident: Vec<_> = (0..3).map(|nth| etcd.resident_kib(nth)).collect();
    eprintln!("etcd with {TENANTS} keys more holds {resident:?} KiB");
    let mut number = 0;
    failovers("etcd", || {
        let leader = etcd.leader();
        let others: Vec<_> = (0..3).filter(|nth| *nth != leader).collect();
        etcd.kill(leader);
        let killed = Instant::now();
        loop {
            number += 1;
            let talk = etcd.talk(others[number % others.len()]);
            if talk.and_then(|mut talk| talk.put("failover", &value)) == Some(true) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let took = killed.elapsed();
        etcd.start(leader);
        std::thread::sleep(Duration::from_secs(2));
        took
    });
}

#[test]
#[ignore = "figures are for a quiet machine: `make voterfigures`"]
fn figures() {
    eprintln!("| | clients | writes/s | P50 ms | P99 ms |");
    of_voters();
    of_etcd();
}

/// As much content as a ledger takes (`ledger/src/releases.rs`).
const CONTENTS: u32 = 256 * 1_024 / 700;
const CONTENT_BYTES: usize = 700 * 1_024;

/// The voters write a snapshot every 500 entries, each of them by itself, while others write.
#[test]
#[ignore = "figures are for a quiet machine: `make voterfigures`"]
fn figures_of_a_full_ledger() {
    let mut cluster = Cluster::found(Network::new().unwrap(), 3, Disks::Real);
    let leader = cluster.leader();
    let mut talk = Talk::with(cluster.control(leader)).unwrap();
    prepare(1).for_each(|action| {
        let told = Told::Propose { by: "figures".into(), action };
        assert!(matches!(talk.ask(&told), Some(Said::Answer(Ok(_)))));
    });
    let mut stored = Vec::new();
    for number in 0..CONTENTS {
        let mut content = vec![0; CONTENT_BYTES];
        let block = aegis_audit_chain::Hash::of(&number.to_be_bytes());
        content.iter_mut().zip(block.as_bytes().iter().cycle()).for_each(|(to, from)| *to = *from);
        let digest = aegis_audit_chain::Hash::of(&content);
        let action =
            aegis_ledger::Action::Release(aegis_ledger::ReleaseAct::Store { digest, content });
        let begun = Instant::now();
        let said = talk.ask(&Told::Propose { by: "figures".into(), action });
        assert!(matches!(said, Some(Said::Answer(Ok(_)))), "{number}: {said:?}");
        stored.push(begun.elapsed());
    }
    eprintln!(
        "{CONTENTS} contents of 700 KiB: P50 {:.0} ms, most {:.0} ms",
        ms(&mut stored, 50),
        ms(&mut stored, 100)
    );
    let (mut seen, mut took, mut unknown) = (0, Vec::new(), 0);
    let until = Instant::now() + 5 * SPAN;
    while Instant::now() < until {
        let begun = Instant::now();
        let said = talk.ask(&Told::Propose { by: "figures".into(), action: swing(0, seen, 1) });
        match said {
            Some(Said::Answer(Ok(_))) => seen += 1,
            Some(Said::Pointer { .. } | Said::Answer(Err(_))) | None => panic!("{said:?}"),
            Some(other) => {
                if unknown < 5 {
                    eprintln!("{other:?}");
                }
                unknown += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        took.push(begun.elapsed());
    }
    let (middle, high, most) = (ms(&mut took, 50), ms(&mut took, 99), ms(&mut took, 100));
    eprintln!(
        "{} writes, {unknown} not answered: P50 {middle:.1} ms, P99 {high:.1} ms, most {most:.0} ms",
        took.len()
    );
    let resident: Vec<_> = cluster.ids().into_iter().map(|id| cluster.resident_kib(id)).collect();
    eprintln!("resident {resident:?} KiB");
    let follower = cluster.ids().into_iter().find(|id| *id != cluster.leader()).unwrap();
    for (what, id) in [("a follower", follower), ("the leader", cluster.leader())] {
        cluster.kill(id);
        let begun = Instant::now();
        cluster.start(id);
        cluster.settle();
        eprintln!(
            "{what} was killed and all agreed again after {:.1} s",
            begun.elapsed().as_secs_f64()
        );
    }
}

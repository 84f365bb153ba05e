//! How long a store keeps what it was given, after the start as well: its promise is asked for again, and each object's lock is compared.
//!
//! Not here: a promise that is too weak from the beginning (`s3`, `google`, `azure`), and what a lock holds (`worm`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aegis_audit_ship::{
    Address, Journal, JournalConfig, LockMode, Retention, ShipConfig, Shipper, Standing, start,
};
use aegis_audit_verify::Verdict;
use aegis_buckets::{Fault, Moto, Proxy};
use aegis_domain::Timestamp;

use crate::address;
use crate::kept::the_verifier_names_what_is_kept_for_less;
use crate::s3::ASKED;
use crate::support::{Place, verify, wait_for, write_calls};
use crate::worm::Ceph;

const HOUR_S: u64 = 60 * 60;
const DAY_S: u64 = 24 * HOUR_S;

/// A gateway whose clock can be put forward.
struct Life {
    journal: Journal,
    shipper: Shipper,
    ahead_s: Arc<AtomicU64>,
}

impl Life {
    fn begin(place: &Place, address: Address, (asked, ahead_s): (Retention, u64)) -> Self {
        let ahead_s = Arc::new(AtomicU64::new(ahead_s));
        let (config, ahead) = (place.journal(), Arc::clone(&ahead_s));
        let real = Arc::clone(&config.clock);
        let clock = Arc::new(move || {
            let ahead_ns = ahead.load(Ordering::Relaxed) * 1_000_000_000;
            Timestamp::from_unix_ns(real().unix_ns() + ahead_ns)
        });
        let journal = Journal::open(JournalConfig { clock, ..config }).unwrap().0;
        let shipping = ShipConfig { address, retention: Some(asked), ..place.shipping() };
        let shipper = start(shipping, &journal).unwrap();
        Self { journal, shipper, ahead_s }
    }

    /// The same with a call that is in the bucket, and nothing more to send.
    fn settled(place: &Place, address: Address) -> Self {
        let life = Self::begin(place, address, (ASKED, 0));
        write_calls(&life.journal, 1);
        wait_for(&life.shipper, |standing| standing.segments >= 2 && standing.backlog_bytes == 0);
        // The last head is signed a second after the last record.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(life.shipper.standing().trouble, None);
        life
    }

    fn an_hour_passes(&self) {
        self.ahead_s.fetch_add(HOUR_S, Ordering::Relaxed);
    }

    fn trouble(&self, wished: &str) -> Standing {
        wait_for(&self.shipper, |standing| {
            standing.trouble.as_ref().is_some_and(|trouble| trouble.contains(wished))
        })
    }

    fn end(self) -> Standing {
        self.journal.close().unwrap();
        self.shipper.stop(Duration::from_secs(60))
    }
}

/// One start, which takes longer than what follows. Moto takes no other rule for a bucket that has objects.
#[test]
fn in_ceph_what_is_kept_for_less_than_was_asked_for_does_not_count() {
    let Some(ceph) = Ceph::start() else { return };
    a_promise_that_is_weakened_later_stops_the_shipping_until_it_is_mended(&ceph);
    an_object_that_is_kept_for_less_does_not_count_until_its_lock_is_lengthened(&ceph);
    an_object_without_a_lock_where_others_have_one_does_not_count(&ceph);
    what_was_written_on_an_earlier_day_is_held_to_what_was_asked_for_then(&ceph);
    the_verifier_names_what_is_kept_for_less(&ceph);
}

fn a_promise_that_is_weakened_later_stops_the_shipping_until_it_is_mended(ceph: &Ceph) {
    ceph.ask("promise", &["make", "COMPLIANCE", "30"]);
    let (place, address) = (Place::new(), address::of_port(ceph.port, "promise"));
    let life = Life::settled(&place, address.clone());
    ceph.ask("promise", &["lock", "COMPLIANCE", "2"]);
    life.an_hour_passes();
    let weak = life.trouble("the store promises COMPLIANCE for 2 days, and COMPLIANCE for 30 days");
    write_calls(&life.journal, 3);
    std::thread::sleep(Duration::from_secs(2));
    let standing = life.shipper.standing();
    assert_eq!((standing.segments, standing.is_stopped), (weak.segments, false), "{standing:?}");

    ceph.ask("promise", &["lock", "COMPLIANCE", "30"]);
    wait_for(&life.shipper, |now| now.trouble.is_none() && now.segments > weak.segments);
    assert_eq!(life.end().trouble, None);
    assert_eq!(verify(&address).verdict(), Verdict::Pass);
}

fn an_object_that_is_kept_for_less_does_not_count_until_its_lock_is_lengthened(ceph: &Ceph) {
    ceph.ask("kept", &["make", "COMPLIANCE", "30"]);
    let (place, address) = (Place::new(), address::of_port(ceph.port, "kept"));
    let life = Life::settled(&place, address.clone());
    ceph.ask("kept", &["lock", "COMPLIANCE", "2"]);
    write_calls(&life.journal, 1);
    let weak = life.trouble("by this lock: COMPLIANCE 20");
    let trouble = weak.trouble.unwrap();
    assert!(trouble.contains("COMPLIANCE for 30 days was asked for"), "{trouble}");
    assert!(!weak.is_stopped);

    // The bucket's rule holds for what is written from now on.
    ceph.ask("kept", &["lock", "COMPLIANCE", "30"]);
    std::thread::sleep(Duration::from_secs(2));
    let standing = life.shipper.standing();
    assert_eq!((standing.segments, standing.trouble), (weak.segments, Some(trouble.clone())));
    let key = trouble.split(' ').find(|word| word.starts_with("v1/")).unwrap();
    assert_eq!(ceph.ask("kept", &["lengthen", &format!("gw-1/{key}")]), "200 lengthen\n");
    wait_for(&life.shipper, |now| now.trouble.is_none() && now.segments > weak.segments);
    assert_eq!(life.end().trouble, None);
    assert_eq!(verify(&address).verdict(), Verdict::Pass);
}

fn an_object_without_a_lock_where_others_have_one_does_not_count(ceph: &Ceph) {
    ceph.ask("bare", &["make", "COMPLIANCE", "30"]);
    let place = Place::new();
    let life = Life::settled(&place, address::of_port(ceph.port, "bare"));
    ceph.ask("bare", &["lock", "none", "0"]);
    let before = life.shipper.standing().segments;
    write_calls(&life.journal, 1);
    assert_eq!(life.trouble("by this lock: nothing").segments, before);
}

fn what_was_written_on_an_earlier_day_is_held_to_what_was_asked_for_then(ceph: &Ceph) {
    ceph.ask("raised", &["make", "COMPLIANCE", "2"]);
    let (place, address) = (Place::new(), address::of_port(ceph.port, "raised"));
    let short = Retention { mode: LockMode::Compliance, days: 2 };
    let life = Life::begin(&place, address.clone(), (short, 0));
    write_calls(&life.journal, 1);
    assert_eq!(life.end().trouble, None);

    ceph.ask("raised", &["lock", "COMPLIANCE", "30"]);
    let same_day = Life::begin(&place, address.clone(), (ASKED, 0));
    same_day.trouble("genesis.note");
    same_day.end();
    let later = Life::begin(&place, address, (ASKED, 2 * DAY_S));
    write_calls(&later.journal, 1);
    assert_eq!(later.end().trouble, None);
}

#[test]
fn a_store_that_cannot_be_asked_again_gets_what_it_is_sent_all_the_same() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let place = Place::new();
    let faults = [&[Fault::Slow][..], &[Fault::Refused(500); 20]].concat();
    let proxy = Proxy::before(moto.own_port(), "GET /audit/?object-lock", &faults);
    let life = Life::settled(&place, address::of_port(proxy.port(), "audit"));
    assert_eq!(proxy.left(), 20, "it was asked once: {:?}", proxy.heard());
    let before = life.shipper.standing().segments;
    life.an_hour_passes();
    write_calls(&life.journal, 3);
    let standing = wait_for(&life.shipper, |standing| standing.segments > before);
    assert_eq!(standing.trouble, None);
    assert!(proxy.left() < 20, "it was asked again");
    assert_eq!(life.end().trouble, None);
}

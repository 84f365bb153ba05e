//! What fails on the way to a store, the same for every kind: whatever does, each object is written once.

use aegis_audit_ship::{Address, Retention, ShipConfig};
use aegis_audit_verify::Verdict;
use aegis_buckets::{Fault, Proxy};

use crate::s3::live_as;
use crate::support::{Place, verify};

/// A store that a proxy can stand before.
pub(crate) struct Store<'s> {
    /// Where clients find it, and where the proxy does.
    pub ports: (u16, u16),
    pub make: &'s (dyn Fn(&str) + Sync),
    pub address: fn(u16, &str) -> Address,
    pub asked: Option<Retention>,
    /// The header by which a put creates only.
    pub condition: &'static str,
}

impl Store<'_> {
    /// Each fault to the first three puts of a life, and in another to the first three gets and listings.
    pub(crate) fn holds_each_object_once(&self) {
        let faults = [
            Fault::ReplyLost,
            Fault::DoneButRefused(500),
            Fault::Refused(409),
            Fault::Refused(500),
            Fault::Refused(503),
            Fault::RequestCut,
            Fault::ReplyCut,
            Fault::Slow,
        ];
        std::thread::scope(|scope| {
            for (method, fault) in ["PUT", "GET"].iter().flat_map(|m| faults.map(|f| (*m, f))) {
                scope.spawn(move || self.fails_on_the_way(method, fault));
            }
        });
    }

    fn fails_on_the_way(&self, method: &'static str, fault: Fault) {
        let name = format!("{method}-{fault:?}").to_ascii_lowercase();
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        (self.make)(&name);
        let place = Place::new();
        let proxy = Proxy::before(self.ports.1, method, &[fault; 3]);
        let direct = (self.address)(self.ports.0, &name);
        let shipping = |address| ShipConfig { address, retention: self.asked, ..place.shipping() };
        let standing = live_as(&place, shipping((self.address)(proxy.port(), &name)));
        assert_eq!((proxy.left(), standing.is_stopped), (0, false), "{name} {standing:?}");
        for head in proxy.heard().iter().filter(|head| head.starts_with("put ")) {
            assert!(head.contains(&format!("\r\n{}\r\n", self.condition)), "{head}");
        }
        if standing.trouble.is_some() {
            live_as(&place, shipping(direct.clone()));
        }
        // A second version of any object would be a finding here.
        let report = verify(&direct);
        assert_eq!(report.verdict(), Verdict::Pass, "{name}: {report:#?}");
    }
}

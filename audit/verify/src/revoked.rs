//! Streams whose keys were revoked: what stands of them, what may be somebody else's, and what cannot be believed.
//!
//! Not here: who revokes, and how a verifier is told (`audit/trust`, the registry). Invariant: a head that the stream's key signed behind
//! the one that stands is never let pass, whoever says that the key was revoked; nor is a stream gone of which some stands.

use std::collections::BTreeMap;

use aegis_audit_chain::{Hash, Head, Origin};
use aegis_audit_registry::{Registry, Stream};
use aegis_audit_trust::{Revoked, Trust};

use crate::Run;
use crate::report::{Flaw, Place};

/// The heads up to which a stream is believed, by its registry and by whoever verifies; none where nobody revoked its key. It is
/// believed up to the first. The records must lead to each: whoever has the region's key may revoke at another head.
pub fn stands(stream: &Stream, trust: &Trust) -> Vec<Head> {
    let origin = &stream.born.origin;
    let own = stream.revoked.as_ref();
    let own = own.map(|it| Head { origin: origin.clone(), size: it.size, root: it.root });
    let given = trust.revoked(origin).map(Revoked::head).cloned();
    let mut heads: Vec<Head> = own.into_iter().chain(given).collect();
    heads.sort_by_key(|head| head.size);
    heads.dedup();
    heads
}

/// Has a head compared that stands, besides those that the registry holds.
pub(crate) fn expect(head: &Head, expected: &mut BTreeMap<u64, Hash>) -> Option<(Place, Flaw)> {
    let known = if head.size == 0 { None } else { expected.insert(head.size, head.root) };
    let size = head.size;
    let (place, agreed) = (Place { seq: Some(size), ..Place::of(&head.origin) }, 0);
    known.filter(|known| *known != head.root).map(|_| (place, Flaw::Root { size, agreed }))
}

/// What stands behind the head that does: heads that the key signed up to `signed`, and records up to `found`.
pub(crate) fn behind(stands: &Head, (signed, found): (u64, u64)) -> Vec<(Place, Flaw)> {
    let Head { origin, size, .. } = stands;
    let place = || Place { seq: Some(*size), ..Place::of(origin) };
    let head = (signed > *size).then(|| (place(), Flaw::RevokedHead { stands: *size, signed }));
    let records = (found > *size).then(|| (place(), Flaw::Revoked { from: *size, to: found }));
    head.into_iter().chain(records).collect()
}

impl Run<'_> {
    /// Streams of which some stands, and that no registry names that was read and speaks for them.
    pub(crate) fn revoked_are_named(&mut self) {
        let is_missing = |origin: &Origin| {
            let speaks = |it: &&Registry| it.walker().origin().vouches_for(origin);
            let of: Vec<&Registry> = self.registries.iter().filter(speaks).collect();
            !of.is_empty() && of.iter().all(|registry| registry.stream(origin).is_none())
        };
        let stood = self.trust.all_revoked().map(Revoked::head).filter(|head| head.size > 0);
        let gone: Vec<Head> = stood.filter(|head| is_missing(&head.origin)).cloned().collect();
        for Head { origin, size: signed, .. } in gone {
            self.report.fail(Place::of(&origin), Flaw::StreamGone { signed });
        }
    }
}

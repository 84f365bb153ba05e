//! What witnesses said of the registry: that it never forked and never shrank, as far and as long as they saw it.
//!
//! Not here: cosignatures and quorums (`audit/chain`). Invariant: each witnessed head is held against the registry, also
//! where the trust file asks for no witness; only one that a trusted quorum cosigned speaks for what comes before it.

use aegis_audit_chain::note::{NoteError, Verifier, split};
use aegis_audit_chain::{Origin, layout};
use aegis_audit_registry::Registry;
use aegis_audit_trust::Witnessed;
use aegis_domain::Timestamp;

use crate::Run;
use crate::report::{Flaw, Gap, Place, WitnessedHead};

/// How far two clocks may be apart, with the time that a witness took to answer.
const CLOCKS_APART_NS: u64 = 600 * 1_000_000_000;

impl Run<'_> {
    pub(crate) fn witnessed(
        &mut self,
        registry: &Registry,
        sizes: &[u64],
        (origin, region): (&Origin, &Verifier),
    ) {
        let mut newest = None;
        for size in sizes.iter().copied() {
            let path = layout::witnessed_file(origin, size);
            let Some(head) = self.head_note(&path, size, (origin, region)) else { continue };
            self.reached(registry, &head);
            match self.by_quorum(&path) {
                Ok(None) => {}
                Ok(Some(Witnessed { by, at })) => {
                    self.dated(registry, (&path, size), at);
                    newest = Some(WitnessedHead { head, by, at });
                }
                Err(why) => self.report.fail(Place::file(origin, &path), Flaw::Note(why)),
            }
        }
        if self.trust.asks_for_witnesses() {
            self.judge(registry, origin, newest);
        }
    }

    /// Holds the registry's own clock against the witnesses': what they saw was signed before, and what it signed next after that.
    fn dated(&mut self, registry: &Registry, (path, size): (&str, u64), seen: Timestamp) {
        let (signed, next) = registry.signed_at(size);
        let (seen_ns, seen_s) = (seen.unix_ns(), seen.unix_s());
        let is_late = signed.is_some_and(|ts| ts > seen_ns.saturating_add(CLOCKS_APART_NS));
        let is_early = next.is_some_and(|ts| ts.saturating_add(CLOCKS_APART_NS) < seen_ns);
        if is_late || is_early {
            let place = Place { seq: Some(size), ..Place::file(registry.walker().origin(), path) };
            self.report.fail(place, Flaw::Dated { size, seen_s });
        }
    }

    fn by_quorum(&mut self, path: &str) -> Result<Option<Witnessed>, NoteError> {
        // It was read and opened a moment ago; what cannot be read again was never cosigned.
        let bytes = self.source.read(path).ok().flatten().unwrap_or_default();
        let note = std::str::from_utf8(&bytes).unwrap_or_default();
        let (text, lines) = split(note)?;
        self.trust.witnessed(text, lines)
    }

    fn judge(&mut self, registry: &Registry, origin: &Origin, newest: Option<WitnessedHead>) {
        let Some(newest) = newest else {
            return self.report.gaps.push(Gap::Unwitnessed { origin: origin.clone() });
        };
        if self.options.witnessed_since.is_some_and(|since| newest.at < since) {
            let (origin, at) = (origin.clone(), newest.at);
            let (from, to) = (newest.head.size, registry.walker().size());
            self.report.gaps.push(Gap::WitnessedLongAgo { origin, at, from, to });
        }
        self.report.witnessed.push(newest);
    }
}

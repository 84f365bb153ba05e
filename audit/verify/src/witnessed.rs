//! What witnesses said of the registry: that it never forked and never shrank, as far and as long as they saw it.
//!
//! Not here: cosignatures and quorums (`audit/chain`). Invariant: each witnessed head is held against the registry, also
//! where the trust file asks for no witness; only one that a trusted quorum cosigned speaks for what comes before it.

use aegis_audit_chain::note::{NoteError, Verifier, split};
use aegis_audit_chain::{Origin, layout};
use aegis_audit_registry::Registry;
use aegis_audit_trust::Witnessed;

use crate::Run;
use crate::report::{Flaw, Gap, Place, WitnessedHead};

impl Run<'_> {
    pub(crate) fn witnessed(
        &mut self,
        registry: &Registry,
        (origin, region): (&Origin, &Verifier),
    ) {
        let dir = layout::witnessed_dir(origin);
        let mut newest = None;
        for size in self.files(&dir, origin, layout::parse_head_name).unwrap_or_default() {
            let path = layout::witnessed_file(origin, size);
            let Some(head) = self.head_note(&path, size, (origin, region)) else { continue };
            self.reached(registry, &head);
            match self.by_quorum(&path) {
                Ok(None) => {}
                Ok(Some(Witnessed { by, at })) => newest = Some(WitnessedHead { head, by, at }),
                Err(why) => self.report.fail(Place::file(origin, &path), Flaw::Note(why)),
            }
        }
        if self.trust.asks_for_witnesses() {
            self.judge(registry, origin, newest);
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

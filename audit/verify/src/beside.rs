//! What stands beside a log's own files: below a stream or a registry, and where all of them lie.
//!
//! Not here: files that bear the names of a log's own (`stream`). Invariant: whatever the log did not write is named; below a
//! stream or a registry it is taken for a change of that log, beside them for somebody who was there.

use aegis_audit_chain::{Origin, layout};

use crate::Run;
use crate::report::{Flaw, Place};

impl Run<'_> {
    /// Whatever stands in the directory of a log beside its own files and folders is a finding.
    pub(crate) fn beside(&mut self, origin: &Origin) {
        let dir = layout::stream_dir(origin);
        for name in self.list(&dir).unwrap_or_default() {
            // A draft is a note that a crash kept from getting its name.
            if !layout::is_part(origin, &name) && !name.ends_with(".tmp") {
                self.report.fail(Place::file(origin, &format!("{dir}/{name}")), Flaw::Stray);
            }
        }
    }

    /// Beside the logs. A bucket has none of this: what it has beside a region's objects is others' concern.
    pub(crate) fn beside_all(&mut self) {
        for name in self.list("").unwrap_or_default() {
            if !layout::is_top(&name) {
                self.guest(name);
            } else if layout::is_registry_dir(&name) {
                let lives = self.list(&name).unwrap_or_default();
                let guests = lives.into_iter().filter(|life| !layout::is_epoch(life));
                guests.for_each(|guest| self.guest(format!("{name}/{guest}")));
            }
        }
    }

    fn guest(&mut self, path: String) {
        let place = Place { file: Some(path), ..Place::default() };
        self.report.fail(place, Flaw::Guest);
    }
}

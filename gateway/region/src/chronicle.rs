//! Changes of the region on the record of this gateway.
//!
//! Not here: what a change is (`control`), and the journal (`audit/ship`). Invariant: a record counts once it is on disk.

use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::Hash;
use aegis_audit_chain::record::ChangeEntry;
use aegis_audit_ship::Journal;
use aegis_control::{Begun, Changed, Chronicle, ChronicleError, RECORD_WITHIN, UnderWay};
use async_trait::async_trait;

/// As long as a proposal waits for a quorum, and a little more.
const LAST_CHANGES: Duration = Duration::from_secs(7);

/// The journal that decisions are written to as well.
#[derive(Debug)]
pub(crate) struct Journalled {
    journal: Arc<Journal>,
    under_way: UnderWay,
}

impl Journalled {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self { journal, under_way: UnderWay::default() }
    }

    /// Takes no more changes on, and returns when the record of each that was begun is written.
    pub(crate) async fn close(&self) {
        if tokio::time::timeout(LAST_CHANGES, self.under_way.close()).await.is_err() {
            let changes = self.under_way.count();
            tracing::error!(
                changes,
                "some changes of the region did not end in time; those that are made yet are not on record"
            );
        }
    }
}

#[async_trait]
impl Chronicle for Journalled {
    fn begin(&self) -> Result<Begun, ChronicleError> {
        let begun = self.under_way.begin()?;
        self.journal.health().map_err(|_| ChronicleError)?;
        // On a disk that hangs changes would be made whose records wait, more and more of them.
        let hangs = self.journal.writing_for() >= RECORD_WITHIN;
        if hangs { Err(ChronicleError) } else { Ok(begun) }
    }

    async fn note(&self, change: Changed) -> Result<(), ChronicleError> {
        let Changed { tenant, revision, by, act, target, command } = change;
        let (by, command) = (by.as_str().to_owned(), Hash::from_bytes(command));
        let entry = ChangeEntry { tenant, revision, by, act, target, command };
        let draft = entry.draft().map_err(|_| ChronicleError)?;
        let pending = self.journal.append(draft).await;
        let written = match pending {
            Ok(pending) => pending.durable().await.map(drop),
            Err(error) => Err(error),
        };
        written.map_err(|error| {
            tracing::error!(%error, "a change of the region could not be put on record");
            ChronicleError
        })
    }
}

//! Changes of the region on the record of this gateway.
//!
//! Not here: what a change is (`control`), and the journal (`audit/ship`). Invariant: a record counts once it is on disk.

use std::sync::Arc;

use aegis_audit_chain::Hash;
use aegis_audit_chain::record::ChangeEntry;
use aegis_audit_ship::Journal;
use aegis_control::{Changed, Chronicle, ChronicleError};
use async_trait::async_trait;

/// The journal that decisions are written to as well.
#[derive(Debug)]
pub(crate) struct Journalled(pub(crate) Arc<Journal>);

#[async_trait]
impl Chronicle for Journalled {
    fn ready(&self) -> Result<(), ChronicleError> {
        self.0.health().map_err(|_| ChronicleError)
    }

    async fn note(&self, change: Changed) -> Result<(), ChronicleError> {
        let Changed { tenant, revision, by, act, target, command } = change;
        let (by, command) = (by.as_str().to_owned(), Hash::from_bytes(command));
        let entry = ChangeEntry { tenant, revision, by, act, target, command };
        let draft = entry.draft().map_err(|_| ChronicleError)?;
        let pending = self.0.append(draft).await;
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

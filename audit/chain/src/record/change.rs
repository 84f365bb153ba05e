//! What someone changed in the region: an agent, a key, a policy, an approval, a session.
//!
//! Not here: the change itself, which the region's ledger keeps; the record says who, what and when, and by its digest which
//! command. Invariant: nothing of the command is told but what kind it was and whose thing it concerned.

use aegis_domain::TenantId;

use super::json::{Reader, Writer};
use super::{Draft, Kind, RecordError};
use crate::Hash;

/// The body of a `change` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeEntry {
    /// Whose thing was changed; `None` where it was the region's.
    pub tenant: Option<TenantId>,
    /// How many commands the ledger had applied by then, this one among them.
    pub revision: u64,
    /// In whose name.
    pub by: String,
    /// The part of the ledger and what was done there: `registry.revoke`, `approval.grant`.
    pub act: String,
    /// What it was done to, by a name that may be told.
    pub target: Option<String>,
    /// SHA-256 of the command as the ledger keeps it.
    pub command: Hash,
}

impl ChangeEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Change);
        w.opt_text("tenant", self.tenant.as_ref().map(TenantId::as_str));
        w.wide("revision", self.revision).text("by", &self.by).text("act", &self.act);
        w.opt_text("target", self.target.as_deref()).hash("command_sha256", &self.command);
        w.finish(Draft { tenant: self.tenant.clone(), ..Draft::empty(Kind::Change) })
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            tenant: r.opt("tenant", |text| TenantId::parse(text).ok())?,
            revision: r.wide("revision")?,
            by: r.text("by")?.into_owned(),
            act: r.text("act")?.into_owned(),
            target: r.opt("target", |text| Some(text.to_owned()))?,
            command: r.parsed("command_sha256", Hash::parse)?,
        })
    }
}

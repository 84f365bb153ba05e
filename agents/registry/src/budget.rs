//! What a budget allows, as the region sets it.
//!
//! Not here: what is spent (`state`), and limits of a gateway's own configuration (`config`). Invariant: where the region
//! sets a budget, its terms replace the configured ones of the same name as a whole; nothing is merged.

use aegis_domain::{BudgetKey, MicroUsd, Overrun, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::listed::Listed;
use crate::{Actor, instant};

/// One budget of the region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    #[serde(with = "key")]
    pub key: BudgetKey,
    pub terms: BudgetTerms,
    /// Who set it last, and when.
    pub by: Actor,
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// The serial of the event that last changed it.
    pub changed: u64,
}

impl Listed for Budget {
    type Name = BudgetKey;

    fn name(&self) -> BudgetKey {
        self.key.clone()
    }
}

/// How much may be spent in one window, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetTerms {
    pub limit: MicroUsd,
    /// From here on calls are told how little is left; at most the limit.
    pub warn_at: Option<MicroUsd>,
    #[serde(with = "overrun")]
    pub overrun: Overrun,
}

/// A budget's key in what is kept and sent: its tenant and its name.
pub(crate) mod key {
    use serde::{Deserializer, Serializer, de::Error as _};

    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Kept {
        tenant: TenantId,
        name: String,
    }

    pub(crate) fn serialize<S: Serializer>(key: &BudgetKey, to: S) -> Result<S::Ok, S::Error> {
        Kept { tenant: key.tenant.clone(), name: key.to_string() }.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BudgetKey, D::Error> {
        let Kept { tenant, name } = Kept::deserialize(from)?;
        BudgetKey::parse(tenant, &name).map_err(D::Error::custom)
    }
}

mod overrun {
    use serde::{Deserializer, Serializer, de::Error as _};

    use super::*;

    pub(super) fn serialize<S: Serializer>(overrun: &Overrun, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(overrun.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Overrun, D::Error> {
        let text = String::deserialize(from)?;
        Overrun::parse(&text).ok_or_else(|| D::Error::custom("an overrun is refuse or warn"))
    }
}

//! Whether an assertion or a proof was used before, asked of the same hot state as calls are.
//!
//! Not here: what must be asked (`agents/tokens`). Invariant: what the hot state does not answer counts as used.

use std::fmt;
use std::sync::Arc;

use aegis_control::{FirstUse, Replay, ReplayError};
use aegis_corridor::clock;
use aegis_domain::{AgentId, HotAnswer, HotRefusal, MicroUsd, TenantId, Timestamp, ToolName, Ttl};
use aegis_identity::ReplayCheck;
use aegis_state::{Ask, Binding, Budgets, Counted, HotState, InFlight, TokenCheck};
use async_trait::async_trait;

/// In whose name the hot state is asked; no call of an agent goes by it.
const ASKER: &str = "aegis:token-service";
const TOOL: &str = "-";

/// The memory of a region.
pub(crate) struct HotReplay(Arc<dyn HotState>);

impl HotReplay {
    pub(crate) fn new(state: Arc<dyn HotState>) -> Self {
        Self(state)
    }
}

impl fmt::Debug for HotReplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the hot state's memory")
    }
}

#[async_trait]
impl Replay for HotReplay {
    async fn first_use(
        &self,
        tenant: &TenantId,
        check: &ReplayCheck,
        now: Timestamp,
    ) -> Result<FirstUse, ReplayError> {
        let ask = Ask {
            id: clock::decision_id(now).map_err(|_| ReplayError::Outage)?,
            tenant: tenant.clone(),
            agent: AgentId::parse(ASKER).map_err(|_| ReplayError::Outage)?,
            tool: ToolName::parse(TOOL).map_err(|_| ReplayError::Outage)?,
            token: TokenCheck {
                jti: check.jti.clone(),
                token_use: check.token_use,
                binding: Binding::from_bytes(check.binding.unwrap_or_default()),
                issued_at: check.issued_at,
                expires_at: check.expires_at,
            },
            rates: Counted::default(),
            in_flight: InFlight::default(),
            budgets: Budgets::none(),
            estimate: MicroUsd::ZERO,
            hold_ttl: Ttl::from_s(1),
            now,
        };
        match self.0.decide(&ask).await {
            HotAnswer::Granted(_) => {
                // Nothing is held; only the record of the call is closed. Its loss costs nothing but a moment's memory.
                self.0.release(&ask.hold(), now).await.ok();
                Ok(FirstUse::Yes)
            }
            HotAnswer::Refused(HotRefusal::Replayed) => Ok(FirstUse::No),
            HotAnswer::Refused(_) | HotAnswer::Unanswered(_) => Err(ReplayError::Outage),
        }
    }
}

//! Which calls are under way, for the scopes that limit how many may be.
//!
//! Not here: what they cost (`ledger`). Invariant: a call counts until its hold ends or expires, whichever is first, so
//! nobody has to come back for a count to go down.

use std::collections::{BTreeSet, HashMap};

use aegis_domain::{CountScope, DecisionId, HotRefusal, TenantId, Timestamp};

use aegis_state::{Ask, Hold, InFlightName};

/// Calls by the expiry of their holds.
type Calls = BTreeSet<(Timestamp, DecisionId)>;

#[derive(Debug, Default)]
pub(super) struct Flight {
    by_tenant: HashMap<TenantId, HashMap<InFlightName, Calls>>,
}

impl Flight {
    pub(super) fn check(&self, ask: &Ask) -> Result<(), HotRefusal> {
        for of in CountScope::ALL {
            let Some(limit) = ask.in_flight.get(of) else { continue };
            let name = InFlightName::of(of, &ask.agent, &ask.tool);
            if self.count(&ask.tenant, &name, ask.now) >= limit.get() {
                return Err(HotRefusal::Busy { of, limit: limit.get() });
            }
        }
        Ok(())
    }

    pub(super) fn count(&self, tenant: &TenantId, name: &InFlightName, now: Timestamp) -> u32 {
        let Some(calls) = self.by_tenant.get(tenant).and_then(|names| names.get(name)) else {
            return 0;
        };
        // Few are expired: the reaper ends them.
        let expired = calls.iter().take_while(|(expires_at, _)| *expires_at <= now).count();
        u32::try_from(calls.len().saturating_sub(expired)).unwrap_or(u32::MAX)
    }

    pub(super) fn begin(&mut self, hold: &Hold) {
        for name in InFlightName::all_of(hold) {
            let names = self.by_tenant.entry(hold.tenant.clone()).or_default();
            names.entry(name).or_default().insert((hold.expires_at, hold.id));
        }
    }

    pub(super) fn end(&mut self, hold: &Hold) {
        for name in InFlightName::all_of(hold) {
            let Some(names) = self.by_tenant.get_mut(&hold.tenant) else { continue };
            let Some(calls) = names.get_mut(&name) else { continue };
            calls.remove(&(hold.expires_at, hold.id));
            if calls.is_empty() {
                names.remove(&name);
            }
            if names.is_empty() {
                self.by_tenant.remove(&hold.tenant);
            }
        }
    }
}

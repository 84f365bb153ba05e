//! Room 3: the one hot-state trip. Replay, rates and the budget hold come back as facts.
//!
//! Not here: what a fact means (`decide`). Invariant: whatever goes wrong on the trip becomes a fact too.

use std::net::IpAddr;

use aegis_domain::{AgentIdentity, Facts, Grant, HotAnswer, Outage};
use aegis_state::{Ask, Binding, TokenCheck};
use sha2::{Digest as _, Sha256};

use crate::Corridor;
use crate::allowance::{self, Allowance};
use crate::bounds::Bounds;
use crate::context::{Arrival, CallContext, Identified, Read};

/// Asks the hot state about a call that has been read.
pub async fn gather(
    corridor: &Corridor,
    ctx: &mut CallContext,
    identified: &Identified,
    read: &Read,
    arrival: &Arrival,
) -> Facts {
    let now = ctx.arrived;
    let bounds = Bounds::of(identified, read, &corridor.roster.read().view);
    let hot = match bounds.map(|bounds| ask(ctx, identified, (read, bounds), arrival)) {
        Ok(ask) => {
            let answer = corridor.state.decide(&ask).await;
            ctx.allowance = Some(Allowance::of(&ask, answer));
            if let HotAnswer::Granted(grant) = answer {
                ctx.hold = Some(ask.hold());
                warn(corridor, ctx, &ask, grant);
            }
            answer
        }
        Err(error) => {
            tracing::error!(decision = %ctx.id, %error, "a call's budgets cannot be asked about");
            HotAnswer::Unanswered(Outage::Storage)
        }
    };
    Facts { now, hot, dlp: read.dlp.clone() }
}

fn ask(
    ctx: &CallContext,
    Identified { agent: identity, replay, .. }: &Identified,
    (read, Bounds { rates, in_flight, budgets }): (&Read, Bounds),
    arrival: &Arrival,
) -> Ask {
    Ask {
        id: ctx.id,
        tenant: identity.tenant.clone(),
        agent: identity.agent.clone(),
        tool: read.call.route.clone(),
        token: TokenCheck {
            jti: replay.jti.clone(),
            token_use: replay.token_use,
            binding: replay
                .binding
                .map_or_else(|| binding(identity, arrival.peer), Binding::from_bytes),
            issued_at: replay.issued_at,
            expires_at: replay.expires_at,
        },
        rates,
        in_flight,
        budgets,
        estimate: read.call.estimated_cost,
        hold_ttl: read.binding.hold,
        now: ctx.arrived,
    }
}

/// Notes which budgets this call is the first to bring past their warning, and tells operators.
fn warn(corridor: &Corridor, ctx: &mut CallContext, ask: &Ask, grant: Grant) {
    for budget in allowance::warned(ask, grant.warned) {
        if corridor.warnings.is_first(budget, ask.now) {
            let (tenant, limit_usd) = (&ask.tenant, budget.limit);
            tracing::warn!(%tenant, budget = %budget.key, %limit_usd, "a budget is past its warning");
            ctx.warned.push(budget.key.clone());
        }
    }
}

/// A bearer token is tied to the agent and the network it is first used from: an IPv4 address, an IPv6 /64.
fn binding(identity: &AgentIdentity, peer: Option<IpAddr>) -> Binding {
    let mut hash = Sha256::new();
    hash.update(b"aegis-binding-v1\0");
    hash.update(identity.agent.as_str());
    hash.update(b"\0");
    match peer.map(|peer| peer.to_canonical()) {
        Some(IpAddr::V4(v4)) => hash.update(v4.octets()),
        Some(IpAddr::V6(v6)) => hash.update(v6.octets().get(..8).unwrap_or_default()),
        None => {}
    }
    Binding::from_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_holds_within_one_network_only() {
        let agent = testkit_agent();
        let of = |text: &str| binding(&agent, Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }

    fn testkit_agent() -> AgentIdentity {
        use aegis_domain::{AgentId, Jti, KeyId, OrgId, TenantId, Timestamp, TokenUse};
        AgentIdentity {
            org: OrgId::parse("acme").unwrap(),
            tenant: TenantId::parse("demo").unwrap(),
            agent: AgentId::parse("bot").unwrap(),
            parent_agent: None,
            scopes: Default::default(),
            groups: Default::default(),
            attributes: Default::default(),
            jti: Jti::parse("j").unwrap(),
            key_id: KeyId::parse("k").unwrap(),
            token_use: TokenUse::Bound,
            expires_at: Timestamp::from_unix_s(1),
        }
    }
}

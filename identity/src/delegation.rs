//! Who acts for whom: the `sub` and `act` claims of a delegated token (RFC 8693 §4.1).
//!
//! Not here: who may delegate to whom (`agents`). Invariant: the caller is the outermost actor, everyone behind it
//! is named once, and what is written is read back.

use aegis_domain::AgentId;
use serde_json::{Map, Value};

use crate::payload::Payload;
use crate::{Claims, TokenError};

/// How many agents may stand between a caller and the one whose authority it uses.
const DELEGATIONS_MAX: usize = 8;

/// The caller, and those it acts for.
pub(crate) fn read(payload: Payload<'_>) -> Result<(AgentId, Vec<AgentId>), TokenError> {
    let actors = actors(payload)?;
    let Some((caller, prior)) = actors.split_first() else {
        return Ok((sole_agent(payload)?, Vec::new()));
    };
    if payload.text("agent_id")?.is_some_and(|agent_id| agent_id != caller.as_str()) {
        return Err(TokenError::ClaimsDisagree { first: "agent_id", second: "act" });
    }
    let mut acts_for = prior.to_vec();
    acts_for.push(payload.required_id("sub", AgentId::parse)?);
    Ok((caller.clone(), acts_for))
}

/// The chain of actors, the current one outermost (RFC 8693 §4.1).
fn actors(payload: Payload<'_>) -> Result<Vec<AgentId>, TokenError> {
    let mut actors = Vec::new();
    let mut inner = payload.object("act")?;
    while let Some(act) = inner {
        let actor = act.required_id("sub", AgentId::parse);
        actors.push(actor.map_err(|_| TokenError::ClaimMalformed { claim: "act" })?);
        if actors.len() > DELEGATIONS_MAX {
            return Err(TokenError::ClaimMalformed { claim: "act" });
        }
        inner = act.object("act")?;
    }
    Ok(actors)
}

fn sole_agent(payload: Payload<'_>) -> Result<AgentId, TokenError> {
    let sub = payload.text("sub")?;
    let Some(agent_id) = payload.text("agent_id")? else {
        return payload.required_id("sub", AgentId::parse);
    };
    if sub.is_some_and(|sub| sub != agent_id) {
        return Err(TokenError::ClaimsDisagree { first: "agent_id", second: "sub" });
    }
    payload.required_id("agent_id", AgentId::parse)
}

pub(crate) fn parent(
    payload: Payload<'_>,
    acts_for: &[AgentId],
) -> Result<Option<AgentId>, TokenError> {
    match (payload.id("parent_agent_id", AgentId::parse)?, acts_for.first()) {
        (Some(named), Some(parent)) if named != *parent => {
            Err(TokenError::ClaimsDisagree { first: "parent_agent_id", second: "act" })
        }
        (Some(named), _) => Ok(Some(named)),
        (None, parent) => Ok(parent.cloned()),
    }
}

/// Writes what `read` reads: `sub` and, for a delegation, `act`.
pub(crate) fn write(claims: &Claims) -> Result<(Value, Option<Value>), TokenError> {
    let Some((root, prior)) = claims.acts_for.split_last() else {
        return Ok((claims.agent.as_str().into(), None));
    };
    if prior.len() >= DELEGATIONS_MAX {
        return Err(TokenError::ClaimMalformed { claim: "act" });
    }
    if claims.parent_agent.as_ref() != claims.acts_for.first() {
        return Err(TokenError::ClaimsDisagree { first: "parent_agent_id", second: "act" });
    }
    let nest = |inner: Option<Value>, actor: &AgentId| {
        let mut act = Map::from_iter([("sub".to_owned(), actor.as_str().into())]);
        act.extend(inner.map(|inner| ("act".to_owned(), inner)));
        Some(Value::Object(act))
    };
    let act = prior.iter().rev().chain([&claims.agent]).fold(None, nest);
    Ok((root.as_str().into(), act))
}

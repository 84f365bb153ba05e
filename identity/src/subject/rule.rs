//! Which agent a foreign subject is: `spiffe://example.org/ns/{ns}/sa/{name}` becomes `{ns}.{name}`.
//!
//! Not here: whether the subject is believed (`subject`). Invariant: a rule reads a subject in at most one way: a
//! capture ends where the literal text goes on, and that text begins with a character no capture can hold.

use std::collections::BTreeMap;

use aegis_domain::{AgentId, TenantId};

const RULE_BYTES_MAX: usize = 512;

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("rule is longer than {RULE_BYTES_MAX} bytes")]
    TooLong,
    #[error("brackets do not enclose a name of a-z and _")]
    Brackets,
    #[error("{{{name}}} stands twice in the subject")]
    Twice { name: String },
    #[error("what follows {{{name}}} could belong to it")]
    Ambiguous { name: String },
    #[error("{{{name}}} is not in the subject")]
    Unknown { name: String },
}

/// One line of the mapping from subjects to agents of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectRule {
    subject: Vec<Piece>,
    agent: Vec<Piece>,
    tenant: TenantId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Capture(String),
}

/// What a capture may hold: one segment of a SPIFFE id, a Kubernetes name, one part of a GitHub subject.
fn is_captured(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

impl SubjectRule {
    /// Reads `subject`, whose `{name}`s stand for one part each, and `agent`, where they are put in again.
    pub fn parse(subject: &str, agent: &str, tenant: TenantId) -> Result<Self, RuleError> {
        let rule = Self { subject: pieces(subject)?, agent: pieces(agent)?, tenant };
        let mut names = Vec::new();
        for (at, piece) in rule.subject.iter().enumerate() {
            let Piece::Capture(name) = piece else { continue };
            if names.contains(&name) {
                return Err(RuleError::Twice { name: name.clone() });
            }
            names.push(name);
            let is_open = match at.checked_add(1).and_then(|next| rule.subject.get(next)) {
                None => false,
                Some(Piece::Capture(_)) => true,
                Some(Piece::Literal(text)) => text.bytes().next().is_none_or(is_captured),
            };
            if is_open {
                return Err(RuleError::Ambiguous { name: name.clone() });
            }
        }
        let unknown = rule.agent.iter().find_map(|piece| match piece {
            Piece::Capture(name) if !names.contains(&name) => Some(name.clone()),
            Piece::Capture(_) | Piece::Literal(_) => None,
        });
        match unknown {
            Some(name) => Err(RuleError::Unknown { name }),
            None => Ok(rule),
        }
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The agent a subject is by this rule, if it is one.
    pub(super) fn agent(&self, subject: &str) -> Option<AgentId> {
        let mut captured: BTreeMap<&str, &str> = BTreeMap::new();
        let mut rest = subject;
        for piece in &self.subject {
            match piece {
                Piece::Literal(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::Capture(name) => {
                    let end = rest.bytes().position(|byte| !is_captured(byte));
                    let (held, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
                    if held.is_empty() {
                        return None;
                    }
                    captured.insert(name, held);
                    rest = after;
                }
            }
        }
        if !rest.is_empty() {
            return None;
        }
        let text = |piece: &Piece| match piece {
            Piece::Literal(text) => Some(text.clone()),
            Piece::Capture(name) => captured.get(name.as_str()).map(|held| (*held).to_owned()),
        };
        let agent = self.agent.iter().map(text).collect::<Option<String>>()?;
        AgentId::parse(&agent).ok()
    }
}

fn pieces(rule: &str) -> Result<Vec<Piece>, RuleError> {
    if rule.len() > RULE_BYTES_MAX {
        return Err(RuleError::TooLong);
    }
    let mut pieces = Vec::new();
    let mut rest = rule;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(RuleError::Brackets)?;
        let is_name = |byte| matches!(byte, b'a'..=b'z' | b'_');
        if literal.contains('}') || name.is_empty() || !name.bytes().all(is_name) {
            return Err(RuleError::Brackets);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        pieces.push(Piece::Capture(name.to_owned()));
        rest = after;
    }
    if rest.contains('}') {
        return Err(RuleError::Brackets);
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(subject: &str, agent: &str) -> Result<SubjectRule, RuleError> {
        SubjectRule::parse(subject, agent, TenantId::parse("acme").unwrap())
    }

    fn agent(subject: &str, agent: &str, of: &str) -> Option<String> {
        Some(rule(subject, agent).unwrap().agent(of)?.to_string())
    }

    #[test]
    fn a_subject_becomes_the_agent_that_its_rule_names() {
        let spiffe = ("spiffe://acme.example/ns/{ns}/sa/{name}", "{ns}.{name}");
        let of = |subject| agent(spiffe.0, spiffe.1, subject);
        assert_eq!(of("spiffe://acme.example/ns/pay/sa/bot-1").unwrap(), "pay.bot-1");
        assert_eq!(
            agent("system:serviceaccount:pay:bot", "bot", "system:serviceaccount:pay:bot").unwrap(),
            "bot"
        );
        for other in [
            "spiffe://acme.example/ns/pay/sa/",
            "spiffe://acme.example/ns/pay/sa/bot/x",
            "spiffe://acme.example/ns/pay/sa/bot ",
            "spiffe://acme.example/ns/a/b/sa/bot",
            "spiffe://acme.example.evil/ns/pay/sa/bot",
            "xspiffe://acme.example/ns/pay/sa/bot",
            "spiffe://acme.example/ns//sa/bot",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_rule_that_could_be_read_two_ways_is_refused() {
        let name = |name: &str| name.to_owned();
        for (subject, to, refused) in [
            ("{a}{b}", "x", RuleError::Ambiguous { name: name("a") }),
            ("{a}-{b}", "x", RuleError::Ambiguous { name: name("a") }),
            ("{a}bot", "x", RuleError::Ambiguous { name: name("a") }),
            ("{a}/{a}", "x", RuleError::Twice { name: name("a") }),
            ("{a}/x", "{b}", RuleError::Unknown { name: name("b") }),
            ("{A}", "x", RuleError::Brackets),
            ("{}", "x", RuleError::Brackets),
            ("{a", "x", RuleError::Brackets),
            ("a}", "x", RuleError::Brackets),
            ("}{a}", "x", RuleError::Brackets),
            ("{a}", "{{a}}", RuleError::Brackets),
            (&"a".repeat(513), "x", RuleError::TooLong),
        ] {
            assert_eq!(rule(subject, to), Err(refused), "{subject} {to}");
        }
    }

    #[test]
    fn what_would_be_no_agent_id_is_no_agent() {
        assert_eq!(agent("{a}", "x y{a}", "z"), None);
        assert_eq!(agent("{a}", "{a}", &"a".repeat(129)), None);
    }
}

//! How one tenant's hot state is laid out in Redis: the names of keys, and open holds.
//!
//! Not here: the fields of sums (`sheets`), and what the scripts do with them (`scripts`). Invariant: every key of a
//! tenant carries the hash tag `{tenant}`, so all keys of one decision are in one slot of a Cluster
//! (`docs/spec/hot-state.md`).

use aegis_domain::{
    AgentId, BudgetScope, BudgetWindow, DecisionId, Hours, Jti, TeamId, TenantId, ToolName,
};

use super::sheets::{Sheet, Terms};
use crate::InFlightName;

/// The keys of one tenant.
#[derive(Clone, Debug)]
pub(super) struct Keys(String);

impl Keys {
    pub(super) fn of(tenant: &TenantId) -> Self {
        Self(format!("ag:{{{tenant}}}:"))
    }

    pub(super) fn epoch(&self) -> String {
        format!("{}e", self.0)
    }

    pub(super) fn open(&self) -> String {
        format!("{}o", self.0)
    }

    pub(super) fn call(&self, id: &DecisionId) -> String {
        format!("{}c:{id}", self.0)
    }

    pub(super) fn token(&self, jti: &Jti) -> String {
        format!("{}j:{jti}", self.0)
    }

    pub(super) fn rates(&self, of: &InFlightName) -> String {
        format!("{}r:{}", self.0, name(of))
    }

    pub(super) fn flight(&self, of: &InFlightName) -> String {
        format!("{}f:{}", self.0, name(of))
    }

    pub(super) fn adjustment(&self, id: &DecisionId) -> String {
        format!("{}a:{id}", self.0)
    }

    /// The sheet of a day, of a month, or of the hours of a day.
    pub(super) fn sheet(&self, window: BudgetWindow, index: u32) -> String {
        format!("{}s:{}", self.0, period(window, index))
    }
}

fn name(of: &InFlightName) -> String {
    match of {
        InFlightName::Agent(agent) => format!("a:{agent}"),
        InFlightName::Tenant => "t".to_owned(),
        InFlightName::Tool(tool) => format!("u:{tool}"),
    }
}

/// `d20769`, `m682`, `24h498456`.
fn period(window: BudgetWindow, index: u32) -> String {
    match window {
        BudgetWindow::Day => format!("d{index}"),
        BudgetWindow::Month => format!("m{index}"),
        BudgetWindow::Rolling(hours) => format!("{}h{index}", hours.get()),
    }
}

fn parse_period(text: &str) -> Option<(BudgetWindow, u32)> {
    let letter = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, rest) = text.split_at_checked(letter)?;
    let mut rest = rest.chars();
    let window = match (rest.next()?, count) {
        ('d', "") => BudgetWindow::Day,
        ('m', "") => BudgetWindow::Month,
        ('h', count) => BudgetWindow::Rolling(Hours::new(count.parse().ok()?)?),
        _ => return None,
    };
    Some((window, rest.as_str().parse().ok()?))
}

/// A scope in as few letters as tell it from any other.
pub(super) fn short(scope: &BudgetScope) -> String {
    match scope {
        BudgetScope::Tenant => "t".to_owned(),
        BudgetScope::Team(team) => format!("g:{team}"),
        BudgetScope::Agent(agent) => format!("a:{agent}"),
        BudgetScope::Tool(tool) => format!("u:{tool}"),
    }
}

fn parse_scope(text: &str) -> Option<BudgetScope> {
    match text.split_once(':') {
        None if text == "t" => Some(BudgetScope::Tenant),
        Some(("g", team)) => TeamId::parse(team).ok().map(BudgetScope::Team),
        Some(("a", agent)) => AgentId::parse(agent).ok().map(BudgetScope::Agent),
        Some(("u", tool)) => ToolName::parse(tool).ok().map(BudgetScope::Tool),
        None | Some(_) => None,
    }
}

/// An open hold as the reaper finds it: enough to charge it without asking anyone else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: DecisionId,
    pub(super) sheets: Vec<Sheet>,
}

impl std::fmt::Display for Member {
    /// `<id>|d20769=t|24h498456=a:bot`; neither `|` nor `=` can be in an id.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id.as_str())?;
        for Sheet { window, index, lines } in &self.sheets {
            for (scope, _) in lines {
                write!(f, "|{}={}", period(*window, *index), short(scope))?;
            }
        }
        Ok(())
    }
}

impl Member {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('|');
        let id = DecisionId::parse(parts.next()?).ok()?;
        let entries = parts.map(|part| {
            let (period, scope) = part.split_once('=')?;
            let (window, index) = parse_period(period)?;
            Some((window, index, parse_scope(scope)?, Terms::NONE))
        });
        Some(Self { id, sheets: Sheet::group(entries.collect::<Option<Vec<_>>>()?) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope() -> impl Strategy<Value = BudgetScope> {
        prop_oneof![
            Just(BudgetScope::Tenant),
            "[A-Za-z0-9._:/@-]{1,40}".prop_map(|a| BudgetScope::Agent(AgentId::parse(&a).unwrap())),
            "[a-z][a-z0-9]{1,40}".prop_map(|t| BudgetScope::Team(TeamId::parse(&t).unwrap())),
            "[a-z][a-z0-9]{1,40}".prop_map(|t| BudgetScope::Tool(ToolName::parse(&t).unwrap())),
        ]
    }

    fn window() -> impl Strategy<Value = BudgetWindow> {
        prop_oneof![
            Just(BudgetWindow::Day),
            Just(BudgetWindow::Month),
            (1..=Hours::MAX).prop_map(|hours| BudgetWindow::Rolling(Hours::new(hours).unwrap())),
        ]
    }

    proptest! {
        #[test]
        fn a_hold_reads_back_from_its_member(
            entries in proptest::collection::vec((window(), 0u32..900_000, scope()), 0..8),
            random in any::<[u8; 10]>(),
        ) {
            let entries = entries.into_iter();
            let sheets = Sheet::group(entries.map(|(window, index, scope)| (window, index, scope, Terms::NONE)));
            let member = Member { id: DecisionId::new(1, random), sheets };
            prop_assert_eq!(Member::parse(&member.to_string()), Some(member));
        }

        #[test]
        fn no_text_makes_the_reaper_fail(text in ".{0,80}") {
            let _read = Member::parse(&text);
        }
    }

    #[test]
    fn all_keys_of_a_tenant_share_one_hash_tag() {
        let keys = Keys::of(&TenantId::parse("acme").unwrap());
        // A token id may hold braces; the tag is the first pair (Redis Cluster specification, "Hash tags").
        let token = keys.token(&Jti::parse("}{other}").unwrap());
        assert_eq!(token, "ag:{acme}:j:}{other}");
        assert_eq!(keys.sheet(BudgetWindow::Day, 20_769), "ag:{acme}:s:d20769");
        assert_eq!(keys.flight(&InFlightName::Tenant), "ag:{acme}:f:t");
    }
}

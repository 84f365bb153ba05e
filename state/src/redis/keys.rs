//! How one tenant's hot state is laid out in Redis: the names of keys, fields and open holds.
//!
//! Not here: what the scripts do with them (`scripts`). Invariant: every key of a tenant carries the hash tag
//! `{tenant}`, so all keys of one decision are in one slot of a Cluster (`docs/spec/hot-state.md`).

use aegis_domain::{
    AgentId, BudgetKey, BudgetScope, BudgetWindow, DecisionId, Hours, Jti, MicroUsd, TeamId,
    TenantId, Timestamp, ToolName, Ttl,
};

use crate::{Budget, Budgets, Period};

/// How long after its end a window's sums are kept, for reports.
const WINDOW_KEPT: Ttl = Ttl::from_s(7 * 86_400);

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

    pub(super) fn rates(&self, agent: &AgentId) -> String {
        format!("{}r:{agent}", self.0)
    }

    pub(super) fn sheet(&self, window: BudgetWindow, index: u32) -> String {
        format!("{}s:{}", self.0, period(window, index))
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

/// The fields of one budget in its sheet: what is spent, and what is held.
pub(super) fn fields(scope: &BudgetScope) -> (String, String) {
    let name = short(scope);
    (format!("s{name}"), format!("h{name}"))
}

/// A scope in as few letters as tell it from any other.
fn short(scope: &BudgetScope) -> String {
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

/// The sums of one window: a hash with two fields for each budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) window: BudgetWindow,
    pub(super) index: u32,
    pub(super) lines: Vec<(BudgetScope, MicroUsd)>,
}

impl Sheet {
    /// The sheets a call counts in that was decided at `at`.
    pub(super) fn all(budgets: &Budgets, at: Timestamp) -> Vec<Sheet> {
        let entries = budgets.iter().map(|Budget { key, limit, .. }| {
            (key.window, Period::of(key.window, at).index, key.scope.clone(), *limit)
        });
        Self::group(entries)
    }

    fn group(
        entries: impl IntoIterator<Item = (BudgetWindow, u32, BudgetScope, MicroUsd)>,
    ) -> Vec<Sheet> {
        let mut sheets: Vec<Sheet> = Vec::new();
        for (window, index, scope, limit) in entries {
            let known = sheets.iter_mut().find(|s| s.window == window && s.index == index);
            match known {
                Some(sheet) => sheet.lines.push((scope, limit)),
                None => sheets.push(Sheet { window, index, lines: vec![(scope, limit)] }),
            }
        }
        sheets
    }

    /// How long from `now` the sheet is of use. Relative, so that a server whose clock is off keeps it as long.
    pub(super) fn life(&self, now: Timestamp) -> Ttl {
        let kept_until = Period::nth(self.window, self.index).ends_at.plus(WINDOW_KEPT);
        kept_until.since(now).max(Ttl::from_s(1))
    }
}

/// An open hold as the reaper finds it: enough to charge it without asking anyone else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: DecisionId,
    pub(super) sheets: Vec<Sheet>,
}

impl std::fmt::Display for Member {
    /// `<id>|d20769=t|m682=a:<agent>`; neither `|` nor `=` can be in an id.
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
            Some((window, index, parse_scope(scope)?, MicroUsd::MAX))
        });
        Some(Self { id, sheets: Sheet::group(entries.collect::<Option<Vec<_>>>()?) })
    }
}

/// The sheet and the fields of one budget at one instant.
pub(super) fn place(key: &BudgetKey, at: Timestamp) -> (String, String, String) {
    let sheet = Keys::of(&key.tenant).sheet(key.window, Period::of(key.window, at).index);
    let (spent, held) = fields(&key.scope);
    (sheet, spent, held)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope() -> impl Strategy<Value = BudgetScope> {
        prop_oneof![
            Just(BudgetScope::Tenant),
            "[A-Za-z0-9._:/@-]{1,40}".prop_map(|a| BudgetScope::Agent(AgentId::parse(&a).unwrap())),
        ]
    }

    proptest! {
        #[test]
        fn a_hold_reads_back_from_its_member(
            entries in proptest::collection::vec((any::<bool>(), 0u32..40_000, scope()), 0..8),
            random in any::<[u8; 10]>(),
        ) {
            let window = |day| if day { BudgetWindow::Day } else { BudgetWindow::Month };
            let entries = entries.into_iter();
            let sheets = Sheet::group(entries.map(|(day, index, scope)| (window(day), index, scope, MicroUsd::MAX)));
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
    }
}

//! Budgets by name: whose money, over which window.
//!
//! Not here: limits (`config`, the registry), windows of time and what is spent in them (`state`). Invariant: a name has
//! one spelling, so that a record, a key in the hot state and a command mean the same budget.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::{AgentId, TeamId, TenantId, ToolName};

/// Whose spend a budget counts, always within one tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetScope {
    /// Everything the tenant's agents spend.
    Tenant,
    /// Everything the agents of a team spend.
    Team(TeamId),
    Agent(AgentId),
    /// Everything that is spent on a tool.
    Tool(ToolName),
}

impl fmt::Display for BudgetScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BudgetScope::Tenant => f.write_str("tenant"),
            BudgetScope::Team(team) => write!(f, "team:{team}"),
            BudgetScope::Agent(agent) => write!(f, "agent:{agent}"),
            BudgetScope::Tool(tool) => write!(f, "tool:{tool}"),
        }
    }
}

impl FromStr for BudgetScope {
    type Err = BudgetNameError;

    fn from_str(text: &str) -> Result<Self, BudgetNameError> {
        let wrong = |_| BudgetNameError::Scope;
        match text.split_once(':') {
            None if text == "tenant" => Ok(BudgetScope::Tenant),
            Some(("team", name)) => TeamId::parse(name).map(BudgetScope::Team).map_err(wrong),
            Some(("agent", name)) => AgentId::parse(name).map(BudgetScope::Agent).map_err(wrong),
            Some(("tool", name)) => ToolName::parse(name).map(BudgetScope::Tool).map_err(wrong),
            Some(_) | None => Err(BudgetNameError::Scope),
        }
    }
}

/// How many hours a rolling window looks back, the one under way included: 1 to 744, which is 31 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hours(NonZeroU16);

impl Hours {
    pub const MAX: u16 = 744;
    /// The last of all windows in their order.
    pub const LONGEST: Hours = match NonZeroU16::new(Self::MAX) {
        Some(hours) => Hours(hours),
        None => Hours(NonZeroU16::MIN),
    };

    pub fn new(hours: u16) -> Option<Self> {
        NonZeroU16::new(hours).filter(|hours| hours.get() <= Self::MAX).map(Self)
    }

    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// Over which window a budget counts. Days, months and hours are those of UTC, so that every gateway means the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetWindow {
    Day,
    Month,
    /// The last so many hours. Money leaves the window a whole hour at a time.
    Rolling(Hours),
}

impl fmt::Display for BudgetWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BudgetWindow::Day => f.write_str("day"),
            BudgetWindow::Month => f.write_str("month"),
            BudgetWindow::Rolling(hours) => write!(f, "{}h", hours.get()),
        }
    }
}

impl FromStr for BudgetWindow {
    type Err = BudgetNameError;

    fn from_str(text: &str) -> Result<Self, BudgetNameError> {
        match text {
            "day" => Ok(BudgetWindow::Day),
            "month" => Ok(BudgetWindow::Month),
            rolling => {
                let digits = rolling.strip_suffix('h').ok_or(BudgetNameError::Window)?;
                // One spelling: no sign and no zero before the number.
                let is_plain = digits.starts_with(|first: char| matches!(first, '1'..='9'));
                let hours = digits.parse().ok().filter(|_| is_plain).and_then(Hours::new);
                hours.map(BudgetWindow::Rolling).ok_or(BudgetNameError::Window)
            }
        }
    }
}

/// What becomes of a call that would spend more than a budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Overrun {
    /// It is refused.
    Refuse,
    /// It goes, and its grant tells that the budget is overspent (`Grant::warned`).
    Warn,
}

impl Overrun {
    pub fn as_str(self) -> &'static str {
        match self {
            Overrun::Refuse => "refuse",
            Overrun::Warn => "warn",
        }
    }

    /// Reads what `as_str` writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Overrun::Refuse, Overrun::Warn].into_iter().find(|overrun| overrun.as_str() == text)
    }
}

/// The name of a budget; its limit may change, its name may not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    pub tenant: TenantId,
    pub scope: BudgetScope,
    pub window: BudgetWindow,
}

impl BudgetKey {
    /// Reads what `Display` writes.
    pub fn parse(tenant: TenantId, name: &str) -> Result<Self, BudgetNameError> {
        // An agent's name may hold slashes, a window's may not.
        let (scope, window) = name.rsplit_once('/').ok_or(BudgetNameError::Form)?;
        Ok(Self { tenant, scope: scope.parse()?, window: window.parse()? })
    }
}

impl fmt::Display for BudgetKey {
    /// As records name it: `tenant/day`, `agent:bot/month`, `tool:pay/24h`. The tenant is said elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scope, self.window)
    }
}

/// Why a text names no budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetNameError {
    #[error("a budget is named by scope and window, such as `agent:bot/day`")]
    Form,
    #[error("a scope is `tenant`, `team:<name>`, `agent:<id>` or `tool:<name>`")]
    Scope,
    #[error("a window is `day`, `month` or 1 to {} hours, such as `24h`", Hours::MAX)]
    Window,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Result<BudgetKey, BudgetNameError> {
        BudgetKey::parse(TenantId::parse("acme").unwrap(), name)
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in
            ["tenant/day", "team:ops/month", "agent:spiffe://a/b:c/24h", "tool:pay.out/744h"]
        {
            assert_eq!(key(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        for (name, error) in [
            ("tenant", BudgetNameError::Form),
            ("Tenant/day", BudgetNameError::Scope),
            ("team:/day", BudgetNameError::Scope),
            ("org:acme/day", BudgetNameError::Scope),
            ("tenant/week", BudgetNameError::Window),
            ("tenant/0h", BudgetNameError::Window),
            ("tenant/024h", BudgetNameError::Window),
            ("tenant/+24h", BudgetNameError::Window),
            ("tenant/745h", BudgetNameError::Window),
        ] {
            assert_eq!(key(name).err(), Some(error), "{name}");
        }
    }
}

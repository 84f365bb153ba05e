//! Values as bytes, and back: what the bodies of records are made of.
//!
//! Not here: which values make up a record (`record`). Invariant: what is read was written so; any other bytes are
//! `None`, never a value that comes close.

use std::num::NonZeroU32;

use aegis_domain::{
    AgentId, BudgetKey, BudgetScope, BudgetWindow, CountScope, DecisionId, Grant, Hours, Jti,
    MicroUsd, TeamId, TenantId, Timestamp, ToolName,
};

use super::tokens::{FirstUse, Used};
use aegis_state::{Adjustment, Binding, Budget, Budgets, Change, Hold, InFlight, Overrun};

pub(super) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(super) fn at_the_end_of(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Every id is at most 255 bytes long, by its type.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn money(&mut self, amount: MicroUsd) -> &mut Self {
        self.u64(amount.micro_usd())
    }

    pub(super) fn time(&mut self, time: Timestamp) -> &mut Self {
        self.u64(time.unix_ns())
    }

    pub(super) fn grant(&mut self, grant: Grant) -> &mut Self {
        // No budget has this place.
        let tightest = grant.tightest.unwrap_or(u8::MAX);
        self.money(grant.held).money(grant.budget_left).u8(tightest).u16(grant.warned)
    }

    pub(super) fn key(&mut self, key: &BudgetKey) -> &mut Self {
        self.text(key.tenant.as_str());
        match &key.scope {
            BudgetScope::Tenant => self.u8(1),
            BudgetScope::Agent(agent) => self.u8(2).text(agent.as_str()),
            BudgetScope::Team(team) => self.u8(3).text(team.as_str()),
            BudgetScope::Tool(tool) => self.u8(4).text(tool.as_str()),
        };
        match key.window {
            BudgetWindow::Day => self.u8(1),
            BudgetWindow::Month => self.u8(2),
            BudgetWindow::Rolling(hours) => self.u8(3).u16(hours.get()),
        }
    }

    fn budget(&mut self, budget: &Budget) -> &mut Self {
        self.key(&budget.key).money(budget.limit);
        match budget.warn_at {
            None => self.u8(0),
            Some(warn_at) => self.u8(1).money(warn_at),
        };
        self.u8(match budget.overrun {
            Overrun::Refuse => 1,
            Overrun::Warn => 2,
        })
    }

    pub(super) fn hold(&mut self, hold: &Hold) -> &mut Self {
        self.text(hold.id.as_str()).text(hold.tenant.as_str());
        self.text(hold.agent.as_str()).text(hold.tool.as_str());
        for of in CountScope::ALL {
            let limit = hold.in_flight.get(of).map_or(0, NonZeroU32::get);
            self.u64(u64::from(limit));
        }
        self.u8(u8::try_from(hold.budgets.len()).unwrap_or(u8::MAX));
        for budget in hold.budgets.iter() {
            self.budget(budget);
        }
        self.money(hold.estimate).time(hold.decided_at).time(hold.expires_at)
    }

    pub(super) fn adjustment(&mut self, adjustment: &Adjustment) {
        let Adjustment { id, key, change, now } = adjustment;
        self.text(id.as_str()).key(key);
        match change {
            Change::Add(more) => self.u8(1).money(*more),
            Change::Subtract(less) => self.u8(2).money(*less),
        };
        self.time(*now);
    }

    pub(super) fn first_use(&mut self, first: &FirstUse) {
        self.text(first.tenant.as_str()).text(first.jti.as_str());
        match &first.used {
            Used::Bound(binding) => {
                self.u8(1).0.extend_from_slice(binding.as_bytes());
            }
            Used::Once(id) => {
                self.u8(2).text(id.as_str());
            }
        }
        self.time(first.forget_at);
    }
}

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u8()?);
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    pub(super) fn id(&mut self) -> Option<DecisionId> {
        DecisionId::parse(self.text()?).ok()
    }

    fn tenant(&mut self) -> Option<TenantId> {
        TenantId::parse(self.text()?).ok()
    }

    fn agent(&mut self) -> Option<AgentId> {
        AgentId::parse(self.text()?).ok()
    }

    fn tool(&mut self) -> Option<ToolName> {
        ToolName::parse(self.text()?).ok()
    }

    pub(super) fn money(&mut self) -> Option<MicroUsd> {
        self.u64().map(MicroUsd::new)
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        self.u64().map(Timestamp::from_unix_ns)
    }

    pub(super) fn grant(&mut self) -> Option<Grant> {
        let (held, budget_left) = (self.money()?, self.money()?);
        let tightest = Some(self.u8()?).filter(|nth| *nth != u8::MAX);
        Some(Grant { held, budget_left, tightest, warned: self.u16()?, rate: None })
    }

    pub(super) fn key(&mut self) -> Option<BudgetKey> {
        let tenant = self.tenant()?;
        let scope = match self.u8()? {
            1 => BudgetScope::Tenant,
            2 => BudgetScope::Agent(self.agent()?),
            3 => BudgetScope::Team(TeamId::parse(self.text()?).ok()?),
            4 => BudgetScope::Tool(self.tool()?),
            _ => return None,
        };
        let window = match self.u8()? {
            1 => BudgetWindow::Day,
            2 => BudgetWindow::Month,
            3 => BudgetWindow::Rolling(Hours::new(self.u16()?)?),
            _ => return None,
        };
        Some(BudgetKey { tenant, scope, window })
    }

    fn budget(&mut self) -> Option<Budget> {
        let (key, limit) = (self.key()?, self.money()?);
        let warn_at = match self.u8()? {
            0 => None,
            1 => Some(self.money()?),
            _ => return None,
        };
        let overrun = match self.u8()? {
            1 => Overrun::Refuse,
            2 => Overrun::Warn,
            _ => return None,
        };
        Some(Budget { key, limit, warn_at, overrun })
    }

    fn count(&mut self) -> Option<Option<NonZeroU32>> {
        u32::try_from(self.u64()?).ok().map(NonZeroU32::new)
    }

    pub(super) fn hold(&mut self) -> Option<Hold> {
        let (id, tenant, agent, tool) = (self.id()?, self.tenant()?, self.agent()?, self.tool()?);
        let in_flight =
            InFlight { agent: self.count()?, tenant: self.count()?, tool: self.count()? };
        let mut list = Vec::new();
        for _ in 0..self.u8()? {
            list.push(self.budget()?);
        }
        Some(Hold {
            id,
            tenant,
            agent,
            tool,
            in_flight,
            budgets: Budgets::new(list).ok()?,
            estimate: self.money()?,
            decided_at: self.time()?,
            expires_at: self.time()?,
        })
    }

    pub(super) fn adjustment(&mut self) -> Option<Adjustment> {
        let (id, key) = (self.id()?, self.key()?);
        let change = match self.u8()? {
            1 => Change::Add(self.money()?),
            2 => Change::Subtract(self.money()?),
            _ => return None,
        };
        Some(Adjustment { id, key, change, now: self.time()? })
    }

    pub(super) fn first_use(&mut self) -> Option<FirstUse> {
        let tenant = self.tenant()?;
        let jti = Jti::parse(self.text()?).ok()?;
        let used = match self.u8()? {
            1 => Used::Bound(Binding::from_bytes(self.take()?)),
            2 => Used::Once(self.id()?),
            _ => return None,
        };
        Some(FirstUse { tenant, jti, used, forget_at: self.time()? })
    }
}

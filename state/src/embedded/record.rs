//! What happened, as bytes: one framed record for each change of the ledger.
//!
//! Not here: files (`journal`). Invariant: a frame is its length, the CRC-32C of length and body, and the body;
//! bytes that are not a whole frame are never taken for a record.

use std::num::NonZeroU32;

use aegis_domain::{
    AgentId, BudgetKey, BudgetScope, BudgetWindow, CountScope, DecisionId, Grant, Hours, Jti,
    MicroUsd, TeamId, TenantId, Timestamp, ToolName,
};

use super::tokens::{FirstUse, Used};
use crate::{Binding, Budget, Budgets, Hold, InFlight, Overrun, Spend};

/// The first bytes of every file: what it is, and the version of its frames.
pub(super) const MAGIC: &[u8; 8] = b"aegisHS2";

/// The longest body a frame may announce; sixteen budgets with the longest names need less than 7 KiB.
const BODY_MAX: usize = 8_192;

/// Where a granted call stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open(Box<Hold>),
    /// The estimate was charged; a late settlement corrects it.
    Expired(Box<Hold>),
    Settled,
}

/// One change. The first four are written as they happen, the others make up a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Grant {
        hold: Hold,
        grant: Grant,
        first_use: Option<FirstUse>,
    },
    /// Carries the whole hold, so the cost counts even where the grant was lost.
    Settle {
        hold: Hold,
        actual: MicroUsd,
        now: Timestamp,
    },
    Expire {
        id: DecisionId,
        now: Timestamp,
    },
    /// Says only that the file can be written again.
    Probe,
    Sum {
        key: BudgetKey,
        index: u32,
        spend: Spend,
    },
    Call {
        id: DecisionId,
        grant: Grant,
        expires_at: Timestamp,
        phase: Phase,
    },
    Token(FirstUse),
    /// The last record of a snapshot: without it, the snapshot is not whole.
    End {
        records: u64,
        latest: Timestamp,
    },
}

impl Record {
    /// Appends the record as one frame.
    pub(super) fn frame(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        self.body(&mut Writer(out));
        let Some((head, body)) =
            out.get_mut(start..).and_then(|frame| frame.split_first_chunk_mut())
        else {
            return;
        };
        *head = header(body);
    }

    fn body(&self, w: &mut Writer<'_>) {
        match self {
            Record::Grant { hold, grant, first_use } => {
                w.u8(1).hold(hold).grant(*grant).u8(u8::from(first_use.is_some()));
                first_use.iter().for_each(|first| w.first_use(first));
            }
            Record::Settle { hold, actual, now } => {
                w.u8(2).hold(hold).money(*actual).time(*now);
            }
            Record::Expire { id, now } => {
                w.u8(3).text(id.as_str()).time(*now);
            }
            Record::Probe => {
                w.u8(4);
            }
            Record::Sum { key, index, spend } => {
                w.u8(5).key(key).u64(u64::from(*index)).money(spend.spent).money(spend.held);
            }
            Record::Call { id, grant, expires_at, phase } => {
                w.u8(6).text(id.as_str()).grant(*grant).time(*expires_at);
                match phase {
                    Phase::Open(hold) => w.u8(1).hold(hold),
                    Phase::Expired(hold) => w.u8(2).hold(hold),
                    Phase::Settled => w.u8(3),
                };
            }
            Record::Token(first) => w.u8(7).first_use(first),
            Record::End { records, latest } => {
                w.u8(8).u64(*records).time(*latest);
            }
        }
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut r = Reader(body);
        let record = match r.u8()? {
            1 => {
                let (hold, grant) = (r.hold()?, r.grant()?);
                let first_use = if r.u8()? == 1 { Some(r.first_use()?) } else { None };
                Record::Grant { hold, grant, first_use }
            }
            2 => Record::Settle { hold: r.hold()?, actual: r.money()?, now: r.time()? },
            3 => Record::Expire { id: r.id()?, now: r.time()? },
            4 => Record::Probe,
            5 => {
                let (key, index) = (r.key()?, u32::try_from(r.u64()?).ok()?);
                Record::Sum { key, index, spend: Spend { spent: r.money()?, held: r.money()? } }
            }
            6 => {
                let (id, grant, expires_at) = (r.id()?, r.grant()?, r.time()?);
                let phase = match r.u8()? {
                    1 => Phase::Open(Box::new(r.hold()?)),
                    2 => Phase::Expired(Box::new(r.hold()?)),
                    3 => Phase::Settled,
                    _ => return None,
                };
                Record::Call { id, grant, expires_at, phase }
            }
            7 => Record::Token(r.first_use()?),
            8 => Record::End { records: r.u64()?, latest: r.time()? },
            _ => return None,
        };
        r.0.is_empty().then_some(record)
    }
}

/// What the next bytes of a file are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Record(Record),
    /// A whole frame whose body means nothing to this version.
    Unknown,
    /// The end, or a frame that was not written to its end.
    Nothing,
}

/// Takes one frame off the front of `bytes`.
pub(super) fn next(bytes: &mut &[u8]) -> Next {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Next::Nothing };
    let [a, b, c, d, ..] = *head;
    let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if len == 0 || len > BODY_MAX {
        return Next::Nothing;
    }
    let Some((body, after)) = rest.split_at_checked(len) else { return Next::Nothing };
    if header(body) != *head {
        return Next::Nothing;
    }
    *bytes = after;
    Record::parse(body).map_or(Next::Unknown, Next::Record)
}

fn header(body: &[u8]) -> [u8; 8] {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), body).to_le_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (len, crc);
    [a, b, c, d, e, f, g, h]
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Every id is at most 255 bytes long, by its type.
    fn text(&mut self, text: &str) -> &mut Self {
        self.u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn money(&mut self, amount: MicroUsd) -> &mut Self {
        self.u64(amount.micro_usd())
    }

    fn time(&mut self, time: Timestamp) -> &mut Self {
        self.u64(time.unix_ns())
    }

    fn grant(&mut self, grant: Grant) -> &mut Self {
        // No budget has this place.
        let tightest = grant.tightest.unwrap_or(u8::MAX);
        self.money(grant.held).money(grant.budget_left).u8(tightest).u16(grant.warned)
    }

    fn key(&mut self, key: &BudgetKey) -> &mut Self {
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

    fn hold(&mut self, hold: &Hold) -> &mut Self {
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

    fn first_use(&mut self, first: &FirstUse) {
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

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u8()?);
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn id(&mut self) -> Option<DecisionId> {
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

    fn money(&mut self) -> Option<MicroUsd> {
        self.u64().map(MicroUsd::new)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.u64().map(Timestamp::from_unix_ns)
    }

    fn grant(&mut self) -> Option<Grant> {
        let (held, budget_left) = (self.money()?, self.money()?);
        let tightest = Some(self.u8()?).filter(|nth| *nth != u8::MAX);
        Some(Grant { held, budget_left, tightest, warned: self.u16()?, rate: None })
    }

    fn key(&mut self) -> Option<BudgetKey> {
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

    fn hold(&mut self) -> Option<Hold> {
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

    fn first_use(&mut self) -> Option<FirstUse> {
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

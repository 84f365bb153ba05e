//! What happened, as bytes: one framed record for each change of the ledger.
//!
//! Not here: files (`journal`). Invariant: a frame is its length, the CRC-32C of length and body, and the body;
//! bytes that are not a whole frame are never taken for a record.

use aegis_domain::{BudgetKey, DecisionId, Grant, MicroUsd, Timestamp};

use super::codec::{Reader, Writer};
use super::tokens::FirstUse;
use aegis_state::{Adjustment, Hold, Spend};

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

/// One change. Those down to `Probe` are written as they happen, the others make up a snapshot.
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
    /// Carries the hold as it was before: one that held nothing had no record of its grant.
    Extend {
        hold: Hold,
        total: MicroUsd,
        now: Timestamp,
    },
    Adjust(Adjustment),
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
    Adjusted {
        id: DecisionId,
        forget_at: Timestamp,
    },
    /// The last record of a snapshot: without it, the snapshot is not whole.
    End {
        records: u64,
        latest: Timestamp,
        forgotten: Timestamp,
    },
}

impl Record {
    /// Appends the record as one frame.
    pub(super) fn frame(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        self.body(&mut Writer::at_the_end_of(out));
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
            Record::End { records, latest, forgotten } => {
                w.u8(8).u64(*records).time(*latest).time(*forgotten);
            }
            Record::Extend { hold, total, now } => {
                w.u8(9).hold(hold).money(*total).time(*now);
            }
            Record::Adjust(adjustment) => {
                w.u8(10).adjustment(adjustment);
            }
            Record::Adjusted { id, forget_at } => {
                w.u8(11).text(id.as_str()).time(*forget_at);
            }
        }
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut r = Reader::of(body);
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
            8 => Record::End { records: r.u64()?, latest: r.time()?, forgotten: r.time()? },
            9 => Record::Extend { hold: r.hold()?, total: r.money()?, now: r.time()? },
            10 => Record::Adjust(r.adjustment()?),
            11 => Record::Adjusted { id: r.id()?, forget_at: r.time()? },
            _ => return None,
        };
        r.is_empty().then_some(record)
    }
}

/// What the next bytes of a file are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Record(Box<Record>),
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
    Record::parse(body).map_or(Next::Unknown, |record| Next::Record(Box::new(record)))
}

fn header(body: &[u8]) -> [u8; 8] {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), body).to_le_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (len, crc);
    [a, b, c, d, e, f, g, h]
}

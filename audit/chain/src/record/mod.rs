//! The record: one event for ever. What is written, how it is encoded, and how it is read back.
//!
//! Not here: its place in the chain (`link` patches the head) and on disk (`frame`). Invariant: the encoding is the
//! meaning; a record is hashed, stored and verified as the exact bytes it was written with.

mod alphabet;
mod change;
mod decision;
mod head;
mod json;
mod outcome;
mod registry;
mod scan;
mod skim;
mod stream;

use aegis_domain::{Effect, MicroUsd, TenantId};

pub use change::ChangeEntry;
pub use decision::{BodyDigest, BudgetHold, DecisionEntry, Dest, Mode, OutcomeDue, Redaction};
pub(crate) use head::BYTES as HEAD_BYTES;
pub use head::Head;
pub(crate) use head::{Fields, hash};
pub use outcome::{Of, OutcomeEntry, Usage};
pub use registry::{
    AnchorEntry, BornEntry, ClosedEntry, Ending, FailedEntry, HeadEntry, RevokedEntry, TornTail,
};
pub use skim::{Skimmed, skim};
pub use stream::{
    AnchorRefEntry, ClockEntry, GenesisEntry, Previous, SealEntry, Tally, TenantSealEntry,
};

/// The most bytes a record may have; C2SP tiles would allow 65,535.
pub const MAX_BYTES: usize = 16_384;

/// Why an entry cannot be written, or bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record would be longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the record's head is not in the fixed form")]
    Head,
    #[error("field {field} is not as it must be at byte {at}")]
    Malformed { field: &'static str, at: usize },
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What a record tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)+
        }

        impl Kind {
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$name => $text,)+
                }
            }

            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Kind::$name),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// The first record of every stream.
    Genesis = "genesis",
    /// What was decided about one call.
    Decision = "decision",
    /// How a call that was let through ended.
    Outcome = "outcome",
    /// The wall clock moved against the monotonic one.
    Clock = "clock",
    /// A head of the registry, so that each stream vouches for the others.
    AnchorRef = "anchor_ref",
    /// What someone changed in the region.
    Change = "change",
    /// How far a tenant's own records reach, before the end of a segment.
    TenantSeal = "tenant_seal",
    /// The end of a segment, with its sums.
    Seal = "seal",
    /// The last record of a stream that ended in order.
    Close = "close",
    /// Registry: a stream was born.
    Born = "stream_born",
    /// Registry: a head of a stream.
    Anchor = "anchor",
    /// Registry: a stream could not be written any more.
    Failed = "stream_failed",
    /// Registry: a stream's key is not believed from here on.
    Revoked = "stream_revoked",
    /// Registry: the final size and root of a stream.
    Closed = "stream_closed",
    /// Registry: the region key's signature over everything before.
    Head = "head",
    /// Registry: bytes after the last whole record of a file were left behind by a crash.
    Gap = "gap",
}

/// An encoded record whose head is still to be filled in by the sequencer.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) effect: Option<Effect>,
    pub(crate) cost: MicroUsd,
}

impl Draft {
    fn empty(kind: Kind) -> Self {
        Self { bytes: Vec::new(), kind, tenant: None, effect: None, cost: MicroUsd::ZERO }
    }

    /// Length of the record this becomes.
    pub fn record_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The last record of a stream.
    pub fn close() -> Result<Self, RecordError> {
        json::Writer::new(Kind::Close).finish(Self::empty(Kind::Close))
    }
}

/// The body of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Genesis(GenesisEntry),
    Decision(Box<DecisionEntry>),
    Outcome(Box<OutcomeEntry>),
    Clock(ClockEntry),
    AnchorRef(AnchorRefEntry),
    Change(ChangeEntry),
    TenantSeal(TenantSealEntry),
    Seal(SealEntry),
    Close,
    Born(BornEntry),
    Anchor(AnchorEntry),
    Failed(FailedEntry),
    Revoked(RevokedEntry),
    Closed(ClosedEntry),
    Head(HeadEntry),
    Gap(TornTail),
}

/// A record as readers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub head: Head,
    pub entry: Entry,
}

impl Record {
    /// Reads a whole record; anything but the one encoding is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let head = Head::parse(bytes).ok_or(RecordError::Head)?;
        Ok(Self { head, entry: Entry::parse(bytes)? })
    }
}

impl Entry {
    /// Reads the body of a record whose head has been checked.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        if record.len() > MAX_BYTES {
            return Err(RecordError::TooLong);
        }
        let mut reader = json::Reader::new(record)?;
        let entry = match reader.kind()? {
            Kind::Genesis => Entry::Genesis(GenesisEntry::read(&mut reader)?),
            Kind::Decision => Entry::Decision(Box::new(DecisionEntry::read(&mut reader)?)),
            Kind::Outcome => Entry::Outcome(Box::new(OutcomeEntry::read(&mut reader)?)),
            Kind::Clock => Entry::Clock(ClockEntry::read(&mut reader)?),
            Kind::AnchorRef => Entry::AnchorRef(AnchorRefEntry::read(&mut reader)?),
            Kind::Change => Entry::Change(ChangeEntry::read(&mut reader)?),
            Kind::TenantSeal => Entry::TenantSeal(TenantSealEntry::read(&mut reader)?),
            Kind::Seal => Entry::Seal(SealEntry::read(&mut reader)?),
            Kind::Close => Entry::Close,
            Kind::Born => Entry::Born(BornEntry::read(&mut reader)?),
            Kind::Anchor => Entry::Anchor(AnchorEntry::read(&mut reader)?),
            Kind::Failed => Entry::Failed(FailedEntry::read(&mut reader)?),
            Kind::Revoked => Entry::Revoked(RevokedEntry::read(&mut reader)?),
            Kind::Closed => Entry::Closed(ClosedEntry::read(&mut reader)?),
            Kind::Head => Entry::Head(HeadEntry::read(&mut reader)?),
            Kind::Gap => Entry::Gap(TornTail::read(&mut reader)?),
        };
        reader.finish()?;
        Ok(entry)
    }
}

/// The kind and the tenant of a record whose head has been checked, without reading the rest.
pub fn kind_and_tenant(record: &[u8]) -> Option<(&str, Option<&str>)> {
    let (kind, rest) = until_quote(record.get(head::BYTES..)?)?;
    let tenant = match rest.strip_prefix(b",\"tenant\":\"") {
        Some(rest) => Some(until_quote(rest)?.0),
        None => None,
    };
    Some((kind, tenant))
}

fn until_quote(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (text, rest) = bytes.split_at_checked(memchr::memchr(b'"', bytes)?)?;
    Some((std::str::from_utf8(text).ok()?, rest.get(1..)?))
}

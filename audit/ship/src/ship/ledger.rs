//! How far each stream is signed for, as the registry on disk says it, followed while it grows.
//!
//! Not here: the streams' records (`sealer`). Invariant: nothing counts that no signed head of the registry covers.

use std::collections::BTreeMap;
use std::path::Path;

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::{Ending, Entry, Kind};
use aegis_audit_chain::{Hash, Head, Origin};
use aegis_audit_registry::Stream;

use super::error::{ShipError, io_error};
use crate::registry_log::read_registry;
use crate::stream_reader::{StreamReader, Wants};

/// How far a stream reaches for sure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) origin: Origin,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    /// How it ended, where it did.
    pub(crate) ended: Option<Ending>,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    region: Verifier,
    reader: StreamReader,
    walker: Walker,
    /// Entries that no head covers yet.
    waiting: Vec<Entry>,
    /// By incarnation, which is the order of births.
    streams: BTreeMap<u64, Reach>,
    /// The registry itself, up to and with its newest signed head.
    own: Reach,
}

impl Ledger {
    /// Reads what is there; the journal has made sure that something is.
    pub(crate) fn open(root: &Path, origin: &Origin, region: &Verifier) -> Result<Self, ShipError> {
        let missing = || ShipError::Short { origin: origin.clone(), found: 0, signed: 1 };
        let (registry, _) = read_registry(root, origin, region)?.ok_or_else(missing)?;
        let mut streams = BTreeMap::new();
        for stream in registry.streams() {
            streams.insert(stream.born.origin.incarnation(), reach(stream));
        }
        let walker = registry.walker().clone();
        let reader = StreamReader::new(root, origin.clone(), walker.size());
        let own = own(&walker);
        Ok(Self { region: region.clone(), reader, walker, waiting: Vec::new(), streams, own })
    }

    /// In the order of their births.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &Reach> {
        self.streams.values()
    }

    pub(crate) fn own(&self) -> &Reach {
        &self.own
    }

    /// Reads what was written since, up to `durable` records: a power cut can take back what the disk does not hold yet.
    pub(crate) fn advance(&mut self, durable: u64) -> Result<(), ShipError> {
        let Self { region, reader, walker, waiting, streams, own: newest } = self;
        let mut flawed = false;
        let read = reader.read(durable, &mut |_, record| {
            let Ok(checked) = walker.check(record) else {
                flawed = true;
                return Wants::Enough;
            };
            let is_head = checked.kind == Kind::Head.as_str();
            match Entry::parse(record) {
                Ok(Entry::Head(head)) => {
                    let known = walker.head();
                    let signed = region.check(&known.checkpoint(), &head.sig).is_ok();
                    flawed |= !signed || (head.size, head.root) != (known.size, known.root);
                }
                Ok(entry) => waiting.push(entry),
                Err(_) => flawed = true,
            }
            walker.accept(record, &checked);
            if flawed {
                return Wants::Enough;
            }
            if is_head {
                *newest = own(walker);
                for entry in waiting.drain(..) {
                    apply(streams, entry);
                }
            }
            Wants::More
        });
        read.map_err(io_error("reading the registry"))?;
        let size = self.walker.size();
        if flawed {
            Err(ShipError::Changed { origin: self.own.origin.clone(), size })
        } else {
            Ok(())
        }
    }
}

/// The registry's own reach.
fn own(walker: &Walker) -> Reach {
    let Head { origin, size, root } = walker.head();
    Reach { origin, size, root, ended: None }
}

fn reach(stream: &Stream) -> Reach {
    let failed = stream.failed.as_ref().map(|failed| (failed.size, failed.root));
    let closed = stream.closed.as_ref().map(|closed| (closed.size, closed.root));
    let last = closed.or_else(|| failed.max(stream.last()));
    let (size, root) = last.unwrap_or((0, Hash::empty_root()));
    let ended = stream.closed.as_ref().map(|closed| closed.how);
    Reach { origin: stream.born.origin.clone(), size, root, ended }
}

fn apply(streams: &mut BTreeMap<u64, Reach>, entry: Entry) {
    let (origin, size, root, ended) = match entry {
        Entry::Born(born) => (born.origin, 0, Hash::empty_root(), None),
        Entry::Anchor(anchor) => (anchor.origin, anchor.size, anchor.root, None),
        Entry::Failed(failed) => (failed.origin, failed.size, failed.root, None),
        Entry::Closed(closed) => (closed.origin, closed.size, closed.root, Some(closed.how)),
        Entry::Genesis(_)
        | Entry::Clock(_)
        | Entry::Head(_)
        | Entry::Gap(_)
        // It says nothing of how far the stream goes that an anchor did not.
        | Entry::Revoked(_)
        | Entry::Decision(_)
        | Entry::Outcome(_)
        | Entry::AnchorRef(_)
        | Entry::Change(_)
        | Entry::TenantSeal(_)
        | Entry::Seal(_)
        | Entry::Close => return,
    };
    streams.insert(origin.incarnation(), Reach { origin, size, root, ended });
}

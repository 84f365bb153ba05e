//! The anchor thread: signs heads of the stream and puts them in the registry, at most a second behind.
//!
//! Not here: the write path; appenders never wait for an anchor. Invariant: a head is signed only after its records were
//! read back from the files and hashed a second time, so a bit that flipped on the way to disk is never signed over.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::record::{
    AnchorEntry, AnchorRefEntry, ClosedEntry, Ending, FailedEntry, RevokedEntry,
};
use aegis_audit_chain::roster::Roster;
use aegis_audit_chain::tree::Frontier;
use aegis_audit_chain::{Head, layout};
use parking_lot::{Condvar, Mutex};

use crate::JournalError;
use crate::disk::Disk;
use crate::error::io_error;
use crate::journal::{Failure, Haste, Shared};
use crate::registry_log::RegistryLog;
use crate::stream_reader::{StreamReader, Wants};

/// No durable record waits longer than this for its anchor, unless more than `ANCHOR_RECORDS` come first.
const ANCHOR_EVERY: Duration = Duration::from_secs(1);
const ANCHOR_RECORDS: u64 = 4_096;
/// How often a registry head is written into the stream, and to a file of its own.
const REFER_EVERY: Duration = Duration::from_secs(60);

/// The newest durable tree, on its way from the writer.
#[derive(Debug, Default)]
pub(crate) struct AnchorSlot {
    slot: Mutex<Slot>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    tree: Option<Frontier>,
    /// Size of the tree that was taken last.
    taken: u64,
    end: Option<End>,
}

/// How the writer ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Finished,
    Abandoned(io::ErrorKind),
}

impl AnchorSlot {
    pub(crate) fn offer(&self, tree: Frontier) {
        let mut slot = self.slot.lock();
        let is_first = slot.tree.is_none();
        let is_due = tree.size().saturating_sub(slot.taken) >= ANCHOR_RECORDS;
        slot.tree = Some(tree);
        drop(slot);
        // In between, the anchorer's own clock wakes it: a wake-up for every batch would cost more than the batch.
        if is_first || is_due {
            self.news.notify_one();
        }
    }

    pub(crate) fn finish(&self) {
        self.slot.lock().end = Some(End::Finished);
        self.news.notify_one();
    }

    pub(crate) fn abandon(&self, kind: io::ErrorKind) {
        self.slot.lock().end = Some(End::Abandoned(kind));
        self.news.notify_one();
    }
}

pub(crate) struct Anchorer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<AnchorSlot>,
    pub(crate) registry: RegistryLog,
    pub(crate) signer: Signer,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) rereader: Rereader,
}

impl Anchorer {
    /// Runs until the writer has ended and the registry says so.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.anchor_all() {
            tracing::error!(%error, origin = %self.shared.origin, "audit anchoring failed");
            self.shared.fail(Failure::Disk(kind_of(&error)));
        }
    }

    fn anchor_all(&mut self) -> Result<(), JournalError> {
        let (mut anchored_at, mut referred_at) = (Instant::now(), Instant::now());
        let mut anchored = self.rereader.size();
        loop {
            let (tree, end) = self.next(anchored, anchored_at);
            match end {
                Some(End::Finished) => return self.close(tree),
                Some(End::Abandoned(kind)) => return self.abandon(tree, kind),
                None => {}
            }
            let Some(tree) = tree else { continue };
            anchored = tree.size();
            self.shared.is_anchoring(Some(Instant::now()));
            let registry = self.anchor(&tree)?;
            anchored_at = Instant::now();
            if referred_at.elapsed() >= REFER_EVERY {
                referred_at = anchored_at;
                self.registry.write_head_note()?;
                self.refer(&registry);
            }
            self.shared.is_anchoring(None);
        }
    }

    /// Waits for a tree that is due, or for the end.
    fn next(&self, anchored: u64, anchored_at: Instant) -> (Option<Frontier>, Option<End>) {
        let mut slot = self.slot.slot.lock();
        loop {
            if slot.end.is_some() {
                return (slot.tree.take(), slot.end);
            }
            let waited = anchored_at.elapsed();
            match slot.tree.as_ref().map(|tree| tree.size().saturating_sub(anchored)) {
                Some(new) if new >= ANCHOR_RECORDS || waited >= ANCHOR_EVERY => {
                    slot.taken = anchored.saturating_add(new);
                    return (slot.tree.take(), None);
                }
                Some(_) => {
                    self.slot.news.wait_for(&mut slot, ANCHOR_EVERY.saturating_sub(waited));
                }
                None => self.slot.news.wait(&mut slot),
            }
        }
    }

    fn anchor(&mut self, tree: &Frontier) -> Result<Head, JournalError> {
        let anchor = self.signed(tree)?;
        let head = self.registry.commit(vec![anchor.draft()?])?;
        self.shared.anchored.lock().head = Some(anchor);
        Ok(head)
    }

    /// Signs a head, once the files agree with it.
    fn signed(&mut self, tree: &Frontier) -> Result<AnchorEntry, JournalError> {
        let head =
            Head { origin: self.shared.origin.clone(), size: tree.size(), root: tree.root() };
        if self.rereader.read_to(head.size).map_err(io_error("reading back the journal"))? != head {
            let source = io::Error::from(io::ErrorKind::InvalidData);
            return Err(JournalError::Io {
                what: "comparing the journal with what was written",
                source,
            });
        }
        Ok(self.rereader.anchor(&self.signer))
    }

    /// Writes the registry's head into the stream: each vouches for the other.
    fn refer(&self, registry: &Head) {
        let entry = AnchorRefEntry {
            registry: registry.origin.clone(),
            size: registry.size,
            root: registry.root,
        };
        // A journal that is closing takes no more; its end is anchored anyway.
        let _closing = entry
            .draft()
            .map_err(JournalError::from)
            .and_then(|draft| self.shared.place(draft, 0, Haste::Soon));
    }

    fn close(&mut self, tree: Option<Frontier>) -> Result<(), JournalError> {
        let mut drafts = Vec::new();
        if let Some(tree) = tree {
            drafts.push(self.signed(&tree)?.draft()?);
        }
        let head = self.rereader.head();
        self.write_head_note(&head)?;
        let closed = ClosedEntry {
            origin: head.origin,
            how: Ending::Closed,
            size: head.size,
            root: head.root,
            tenants: self.rereader.roster(),
            torn: None,
        };
        drafts.push(closed.draft()?);
        self.registry.commit(drafts)?;
        self.registry.write_head_note()
    }

    /// Says in the registry how far the stream was durable, if the disk still takes that.
    fn abandon(&mut self, tree: Option<Frontier>, kind: io::ErrorKind) -> Result<(), JournalError> {
        let reason = self.shared.revoked.lock().take();
        if let Some(reason) = reason {
            return self.revoke(reason);
        }
        let head = match tree {
            Some(tree) => {
                self.rereader.read_to(tree.size()).map_err(io_error("reading back the journal"))?
            }
            None => self.rereader.head(),
        };
        let error = format!("{kind:?}");
        let failed = FailedEntry { origin: head.origin, size: head.size, root: head.root, error };
        self.registry.commit(vec![failed.draft()?]).map(|_| ())
    }

    /// Says in the registry that the key is not believed behind what was anchored last.
    fn revoke(&mut self, reason: String) -> Result<(), JournalError> {
        let origin = self.shared.origin.clone();
        let anchored = self.shared.anchored.lock().head.clone();
        let revoked = RevokedEntry::of((origin, anchored.as_ref()), reason);
        self.registry.commit(vec![revoked.draft()?])?;
        self.registry.write_head_note()
    }

    fn write_head_note(&self, head: &Head) -> Result<(), JournalError> {
        let path = self.rereader.root().join(layout::head_file(&head.origin, head.size));
        let note = head.note(&self.signer);
        self.disk.write_whole(&path, note.as_bytes()).map_err(io_error("writing the final head"))
    }
}

fn kind_of(error: &JournalError) -> io::ErrorKind {
    match error {
        JournalError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    }
}

/// The second path: from the files to a head, sharing nothing with the writer.
#[derive(Debug)]
pub(crate) struct Rereader {
    root: std::path::PathBuf,
    /// Is told every leaf, for proofs.
    shared: Arc<Shared>,
    reader: StreamReader,
    walker: Walker,
}

impl Rereader {
    pub(crate) fn new(root: &Path, shared: Arc<Shared>) -> Self {
        let origin = shared.origin.clone();
        let reader = StreamReader::new(root, origin.clone(), 0);
        Self { root: root.to_path_buf(), shared, reader, walker: Walker::new(origin) }
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn size(&self) -> u64 {
        self.walker.size()
    }

    fn head(&self) -> Head {
        self.walker.head()
    }

    fn roster(&self) -> Option<Roster> {
        self.walker.roster_lines().roster()
    }

    /// The signed head over what was read, and whose records that is.
    pub(crate) fn anchor(&self, signer: &Signer) -> AnchorEntry {
        let (head, tenants) = (self.head(), self.roster());
        let sig = signer.sign(&head.checkpoint());
        AnchorEntry { origin: head.origin, size: head.size, root: head.root, tenants, sig }
    }

    /// Reads on until `size` records were seen, or the files have no more that fit.
    pub(crate) fn read_to(&mut self, size: u64) -> io::Result<Head> {
        let Self { shared, reader, walker, .. } = self;
        let mut leaves = Vec::new();
        reader.read(size, &mut |_, record| match walker.check(record) {
            Ok(checked) => {
                leaves.push(walker.accept(record, &checked));
                Wants::More
            }
            Err(_) => Wants::Enough,
        })?;
        let blocks = &mut shared.anchored.lock().blocks;
        leaves.into_iter().for_each(|leaf| blocks.push(leaf));
        Ok(self.walker.head())
    }
}

//! One round of the shipper: what the registry signs for by now goes into the bucket, streams first, the registry last.
//!
//! Not here: when rounds are made (`mod`). Invariant: a round can end anywhere, by an error or with the process, and the next
//! one goes on from what is on disk; no object is ever written with other bytes than before.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aegis_audit_chain::frame::FRAME_OVERHEAD;
use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::record::Ending;
use aegis_audit_chain::segment::{Digest, Manifest};
use aegis_audit_chain::{Hash, Origin, layout};

use super::error::{ShipError, io_error};
use super::ledger::{Ledger, Reach};
use super::promise::{Heard, Promise};
use super::prune::Pruner;
use super::sealer::{Sealer, Segment};
use super::spool::Spool;
use super::{Shared, ShipConfig};
use crate::pruned;
use crate::resume;
use crate::stream_reader::names;
use aegis_audit_bucket::{Bucket, BucketError, Receipt};

/// How an object is written: as a new one, or as one that a try before may have written.
type Write = fn(&Bucket, &str, Vec<u8>) -> Result<Receipt, BucketError>;

/// So many witnessed heads go in a round: records that are new do not wait for a day's.
const WITNESSED_MAX: usize = 32;

pub(crate) struct Carrier {
    dir: PathBuf,
    bucket: Bucket,
    region: Signer,
    ledger: Ledger,
    spool: Spool,
    /// Streams that are under way.
    sealers: BTreeMap<Origin, Sealer>,
    promise: Promise,
    /// Whether the store has shown that it keeps what it has when somebody writes over it.
    is_held: bool,
    pruner: Option<Pruner>,
    /// The size of the last witnessed head of the registry that is in the bucket.
    witnessed: u64,
    shared: Arc<Shared>,
}

impl Carrier {
    pub(crate) fn open(
        config: ShipConfig,
        (bucket, heard): (Bucket, Heard),
        shared: Arc<Shared>,
    ) -> Result<Self, ShipError> {
        let ShipConfig { dir, registry, region_key, disk, retention, keep, .. } = config;
        let region = Signer::new(registry.as_str(), region_key);
        let ledger = Ledger::open(&dir, &registry, region.verifier())?;
        let spool = Spool::open(&dir, Arc::clone(&disk)).map_err(io_error("opening the spool"))?;
        let pruner = keep.map(|keep| Pruner { dir: dir.clone(), disk, keep });
        let promise = Promise::new(retention, heard, shared.journal.now().wall);
        let sealers = BTreeMap::new();
        let witnessed = spool.witnessed(&registry);
        let witnessed = witnessed.map_err(io_error("reading how far witnesses' words went"))?;
        let carrier = Self {
            dir,
            bucket,
            region,
            ledger,
            spool,
            sealers,
            promise,
            is_held: false,
            pruner,
            witnessed,
            shared,
        };
        carrier.measure_older();
        Ok(carrier)
    }

    /// How far this life's stream is confirmed.
    pub(crate) fn live_size(&self) -> u64 {
        self.sealers.get(&self.shared.journal.origin).map_or(0, Sealer::size)
    }

    pub(crate) fn round(&mut self) -> Result<(), ShipError> {
        self.promise.ask(&self.bucket, self.shared.journal.now().wall)?;
        let durable = self.shared.registry.get().map_or(0, |(size, _)| size.saturating_add(1));
        // At the start it was read from the files, where a head may stand that is still on its way to the disk.
        if self.ledger.own().size > durable {
            return Ok(());
        }
        self.ledger.advance(durable)?;
        let own = self.ledger.own().clone();
        self.birth(&own)?;
        self.spooled()?;
        let streams: Vec<Reach> = self.ledger.streams().cloned().collect();
        for stream in streams.iter().filter(|stream| stream.size > 0) {
            self.stream(stream)?;
        }
        self.segments(&own)?;
        self.witnessed(&own)?;
        self.measure_older();
        self.prune(&streams)
    }

    /// Deletes what is not needed here any more.
    fn prune(&self, streams: &[Reach]) -> Result<(), ShipError> {
        let Some(pruner) = &self.pruner else { return Ok(()) };
        let now = self.shared.journal.now().wall;
        for stream in streams {
            let files = pruner.prune(stream, (&self.spool, &self.region), now)?;
            if files > 0 {
                tracing::info!(origin = %stream.origin, files, "shipped files were deleted");
            }
        }
        Ok(())
    }

    /// Ships one stream as far as it is signed for.
    fn stream(&mut self, reach: &Reach) -> Result<(), ShipError> {
        if self.spool.is_finished(&reach.origin) {
            return Ok(());
        }
        let is_lost = is_lost(reach);
        match self.birth(reach).and_then(|()| self.segments(reach)) {
            // The registry says so already; what was shipped before stands against what is here now.
            Err(ShipError::Changed { .. }) if is_lost => {}
            shipped => shipped?,
        }
        if reach.ended == Some(Ending::Closed) {
            let from = self.dir.join(layout::head_file(&reach.origin, reach.size));
            let note = fs::read(from).map_err(io_error("reading a final head"))?;
            let key = layout::bucket_head(&reach.origin, reach.size);
            let receipt = self.write(Bucket::find_or_create, &key, note)?;
            let noted = self.spool.note_receipts(&reach.origin, &[receipt]);
            noted.map_err(io_error("writing a receipt"))?;
        }
        if reach.ended.is_some() {
            self.spool.finish(&reach.origin).map_err(io_error("finishing a stream"))?;
            self.sealers.remove(&reach.origin);
        }
        Ok(())
    }

    /// Ships what witnesses said of the registry, as far as the registry itself is there.
    fn witnessed(&mut self, registry: &Reach) -> Result<(), ShipError> {
        let Reach { origin, size, .. } = registry;
        let confirmed = self.sealers.get(origin).map_or(0, Sealer::size).min(*size);
        let dir = self.dir.join(layout::witnessed_dir(origin));
        let heads = names(&dir).map_err(io_error("listing witnessed heads"))?;
        let before = self.witnessed;
        let unsent = before.saturating_add(1)..=confirmed;
        let heads: Vec<u64> =
            heads.iter().filter_map(|name| layout::parse_head_name(name)).collect();
        let due = heads.iter().copied().filter(|head| unsent.contains(head));
        for head in due.take(WITNESSED_MAX) {
            let from = self.dir.join(layout::witnessed_file(origin, head));
            let note = fs::read(from).map_err(io_error("reading a witnessed head"))?;
            let key = layout::bucket_witnessed(origin, head);
            let receipt = self.write(Bucket::find_or_create, &key, note)?;
            let noted = self.spool.note_receipts(origin, &[receipt]);
            noted.map_err(io_error("writing a receipt"))?;
            self.witnessed = head;
        }
        if self.witnessed > before {
            let noted = self.spool.note_witnessed(origin, self.witnessed);
            noted.map_err(io_error("writing how far witnesses' words went"))?;
        }
        let Some(pruner) = &self.pruner else { return Ok(()) };
        let now = self.shared.journal.now().wall;
        pruner.prune_witnessed(origin, (&heads, self.witnessed), now)
    }

    /// Ships the birth note of a stream of which nothing was shipped yet.
    fn birth(&mut self, reach: &Reach) -> Result<(), ShipError> {
        if self.sealers.contains_key(&reach.origin) {
            return Ok(());
        }
        let from = self.dir.join(layout::genesis_note(&reach.origin));
        let note = fs::read(from).map_err(io_error("reading a birth note"))?;
        let key = format!("{}/genesis.note", layout::bucket_dir(&reach.origin));
        let receipt = match self.write(Bucket::find_or_create, &key, note.clone()) {
            // Two gateways must not share a name in a bucket: each has a registry of its own.
            Err(ShipError::Bucket(BucketError::Fork { key })) => {
                return Err(ShipError::OtherRegistry { key });
            }
            written => written?,
        };
        if !self.is_held {
            self.bucket.check_held(&receipt, note)?;
            self.is_held = true;
        }
        let sealer = self.resume(&reach.origin)?;
        self.sealers.insert(reach.origin.clone(), sealer);
        Ok(())
    }

    /// Stands where the stream was shipped to; where the disk does not say, the bucket does.
    fn resume(&self, origin: &Origin) -> Result<Sealer, ShipError> {
        let region = self.region.verifier();
        let cursor = self.spool.cursor(origin).map_err(io_error("reading a cursor"))?;
        let broken = |why| ShipError::Shipped { origin: origin.clone(), why };
        if let Some(note) = cursor {
            let (manifest, hash) = Manifest::open(&note, region).map_err(broken)?;
            let mut sealer = Sealer::new(&self.dir, origin, self.before(origin, manifest.size)?);
            sealer.pass(&manifest, hash)?;
            return Ok(sealer);
        }
        let mut sealer = Sealer::new(&self.dir, origin, self.before(origin, 0)?);
        let (mut size, mut previous) = (0, Hash::ZERO);
        for at in self.bucket.segments(origin)? {
            let key = layout::segment_manifest(origin, at);
            let note = self.bucket.read(&key)?.unwrap_or_default();
            let note = String::from_utf8_lossy(&note);
            let opened = Manifest::open(&note, self.region.verifier()).ok();
            let ours = opened.filter(|(manifest, _)| {
                manifest.origin == *origin
                    && (manifest.first, manifest.previous) == (size, previous)
            });
            let (manifest, hash) = ours.ok_or(BucketError::Fork { key })?;
            (size, previous) = (manifest.size, hash);
            if size >= sealer.size() {
                sealer.pass(&manifest, hash)?;
            }
        }
        match size < sealer.size() {
            true => Err(ShipError::Gone { origin: origin.clone(), size: sealer.size() }),
            false => Ok(sealer),
        }
    }

    /// Where the log stands before its first record that is here or, of the registry, at a resume point of at most so many
    /// records.
    fn before(&self, origin: &Origin, most: u64) -> Result<Option<Walker>, ShipError> {
        let region = self.region.verifier();
        if origin.is_registry() {
            let point = resume::newest(&self.dir, (origin, region), most);
            let point = point.map_err(io_error("reading a resume point"))?;
            return Ok(point.map(|point| point.walker().clone()));
        }
        let pruned = pruned::read(&self.dir, origin, region);
        let pruned = pruned.map_err(io_error("reading where a stream begins"))?;
        Ok(pruned.map(|pruned| pruned.walker))
    }

    /// Sends the segment that was on its way when the process before ended.
    fn spooled(&mut self) -> Result<(), ShipError> {
        let next = self.spool.next().map_err(io_error("reading the spool"))?;
        let Some((note, [stored, index])) = next else { return Ok(()) };
        let opened = Manifest::open(&note, self.region.verifier());
        let whole = opened.ok().filter(|(manifest, _)| {
            (manifest.stored, manifest.index) == (Digest::of(&stored), Digest::of(&index))
        });
        let Some((manifest, hash)) = whole else {
            // A crash between its files: nothing of it was sent, so it is cut anew.
            return self.spool.forget().map_err(io_error("clearing the spool"));
        };
        let origin = manifest.origin.clone();
        let confirmed = match self.resume(&origin) {
            Err(ShipError::Changed { .. })
                if self.ledger.streams().any(|it| it.origin == origin && is_lost(it)) =>
            {
                return self.spooled_of_lost(&Segment { manifest, note, stored, index });
            }
            confirmed => confirmed?,
        };
        if confirmed.size() >= manifest.size {
            // It was sent, and the round ended before that was known here.
            if let Some(sealer) = self.sealers.get_mut(&origin) {
                *sealer = confirmed;
            }
            return self.spool.forget().map_err(io_error("clearing the spool"));
        }
        let segment = Segment { manifest, note, stored, index };
        if let Err(error) = self.send(&segment, Bucket::find_or_create) {
            // It may be there all the same: the next round asks.
            self.sealers.remove(&origin);
            return Err(error);
        }
        if let Some(sealer) = self.sealers.get_mut(&origin) {
            sealer.pass(&segment.manifest, hash)?;
        }
        Ok(())
    }

    /// Sends the segment of a stream whose records are not here any more: it was signed for, and may be the last copy.
    fn spooled_of_lost(&mut self, segment: &Segment) -> Result<(), ShipError> {
        let Manifest { origin, first, previous, .. } = &segment.manifest;
        let cursor = self.spool.cursor(origin).map_err(io_error("reading a cursor"))?;
        let broken = |why| ShipError::Shipped { origin: origin.clone(), why };
        let reached = cursor.map(|note| Manifest::open(&note, self.region.verifier())).transpose();
        let reached = reached.map_err(broken)?.map(|(manifest, hash)| (manifest.size, hash));
        match reached.unwrap_or((0, Hash::ZERO)) == (*first, *previous) {
            true => self.send(segment, Bucket::find_or_create),
            // It is behind the cursor: confirmed, and not let go of.
            false => self.spool.forget().map_err(io_error("clearing the spool")),
        }
    }

    /// Cuts and sends segments until the stream's reach is met.
    fn segments(&mut self, reach: &Reach) -> Result<(), ShipError> {
        loop {
            let registry = self.sealers.get(&self.ledger.own().origin).map_or(0, Sealer::size);
            let Some(sealer) = self.sealers.get_mut(&reach.origin) else { return Ok(()) };
            if sealer.size() >= reach.size {
                return Ok(());
            }
            let cut = sealer.cut(reach, (&self.region, registry));
            let sent = cut.and_then(|segment| {
                self.spool.keep(&segment).map_err(io_error("writing the spool"))?;
                self.send(&segment, Bucket::create)
            });
            if let Err(error) = sent {
                // It stands behind a segment that is not confirmed: the next round begins from the cursor.
                self.sealers.remove(&reach.origin);
                return Err(error);
            }
        }
    }

    /// Has an object in the bucket, for as long as was asked for.
    fn write(&mut self, how: Write, key: &str, bytes: Vec<u8>) -> Result<Receipt, ShipError> {
        let receipt = how(&self.bucket, key, bytes)?;
        self.promise.check(&receipt)?;
        Ok(receipt)
    }

    /// Sends a segment that is in the spool; its manifest last, because that makes it count.
    fn send(&mut self, segment: &Segment, how: Write) -> Result<(), ShipError> {
        let Segment { manifest, note, stored, index } = segment;
        let (origin, at) = (&manifest.origin, (manifest.first, manifest.size));
        let receipts = [
            self.write(how, &layout::segment_records(origin, at), stored.clone())?,
            self.write(how, &layout::segment_index(origin, at), index.clone())?,
            self.write(how, &layout::segment_manifest(origin, at), note.clone().into())?,
        ];
        let confirmed = self.spool.confirm(origin, (note, &receipts));
        confirmed.map_err(io_error("moving a cursor"))?;
        self.shared.is_shipped();
        if manifest.origin == self.shared.journal.origin {
            self.shared.confirmed.fetch_add(framed(manifest), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Adds up the files of earlier lives that are not confirmed to their end.
    fn measure_older(&self) {
        let live = &self.shared.journal.origin;
        let waiting = self.ledger.streams().filter(|stream| {
            stream.origin != *live && stream.size > 0 && !self.spool.is_finished(&stream.origin)
        });
        let bytes = waiting.map(|stream| {
            let files = fs::read_dir(self.dir.join(layout::wal_dir(&stream.origin)));
            let metas = files.into_iter().flatten().flatten().filter_map(|one| one.metadata().ok());
            metas.map(|meta| meta.len()).fold(0, u64::saturating_add)
        });
        self.shared.older.store(bytes.fold(0, u64::saturating_add), Ordering::Relaxed);
    }
}

/// Whether the registry says that what is here of it is not what was signed for.
fn is_lost(reach: &Reach) -> bool {
    matches!(reach.ended, Some(Ending::RolledBack | Ending::Forked))
}

/// What a segment's records take in the journal, whose frames have eight bytes where bundles have two.
fn framed(manifest: &Manifest) -> u64 {
    let count = manifest.size.saturating_sub(manifest.first);
    let more = u64::try_from(FRAME_OVERHEAD).unwrap_or(0).saturating_sub(2);
    manifest.records.bytes.saturating_add(count.saturating_mul(more))
}

//! A region's log as it lies in a bucket, put before the verifier as if it were the journal's own directory.
//!
//! Not here: the verifier (`audit/verify`). Invariant: a segment is handed out only when its manifest is signed by the key of a
//! registry that may speak for its stream, follows the one before, and covers every byte of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use aegis_audit_chain::note::NoteError;
use aegis_audit_chain::retention::{Kept, Retention};
use aegis_audit_chain::segment::{Digest, Manifest, SegmentError};
use aegis_audit_chain::source::{LogSource, Pieces, SourceError};
use aegis_audit_chain::{Hash, Origin, layout};
use aegis_audit_index::{Index, unpack};
use aegis_audit_trust::Trust;
use parking_lot::Mutex;

use crate::pieces::Indexed;
use crate::{Bucket, BucketError, Listed};

/// Whether a whole log's indexes are held against its records, which nobody needs who only reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexes {
    Checked,
    Unread,
}

/// The objects of one region, as they were listed once.
#[derive(Debug)]
pub struct BucketLog<'b> {
    bucket: &'b Bucket,
    trust: Trust,
    /// By their paths in the journal's own directory.
    files: BTreeMap<String, File>,
    names: BTreeMap<String, BTreeSet<String>>,
    /// All keys.
    objects: BTreeMap<String, First>,
    found: Mutex<Vec<(String, SegmentError)>>,
    indexes: Indexes,
    /// How far each registry reached when a segment was carried here, by the registry's name.
    carried: Mutex<BTreeMap<String, u64>>,
    /// The manifest read last: a segment follows it more often than not.
    last: Mutex<Option<(Manifest, Hash)>>,
    /// The indexes read last: who reads some records of a segment mostly asks for their path next.
    pub(crate) indexed: Mutex<VecDeque<Arc<Indexed>>>,
    bytes: u64,
}

/// What was written first under a key.
#[derive(Clone, Debug)]
pub(crate) struct First {
    /// Where the store keeps versions.
    pub(crate) version: Option<String>,
    pub(crate) written_s: Option<u64>,
}

#[derive(Clone, Debug)]
enum File {
    Note(String),
    Segment(Segment),
}

#[derive(Clone, Debug)]
struct Segment {
    origin: Origin,
    first: u64,
    size: u64,
    /// Where the segment before begins and ends.
    before: Option<(u64, u64)>,
}

impl File {
    /// The objects that are read for it.
    fn keys(&self) -> Vec<String> {
        match self {
            Self::Note(key) => vec![key.clone()],
            Self::Segment(Segment { origin, first, size, .. }) => {
                let at = (*first, *size);
                let parts =
                    [layout::segment_records, layout::segment_index, layout::segment_manifest];
                parts.map(|key| key(origin, at)).to_vec()
            }
        }
    }
}

impl<'b> BucketLog<'b> {
    /// Lists the objects of the region whose registries are trusted.
    pub fn open(bucket: &'b Bucket, trust: &Trust, indexes: Indexes) -> Result<Self, BucketError> {
        let mut log = Self {
            bucket,
            trust: trust.clone(),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            objects: BTreeMap::new(),
            found: Mutex::default(),
            indexes,
            carried: Mutex::default(),
            last: Mutex::new(None),
            indexed: Mutex::default(),
            bytes: 0,
        };
        // The registries first: what they had when they were listed was shipped before them, so the listing after has all of
        // that.
        let registries: Vec<&Origin> = trust.registries().map(|(origin, _)| origin).collect();
        let Some(first) = registries.first() else { return Ok(log) };
        let (mut listed, mut dirs) = (Vec::new(), Vec::new());
        for registry in &registries {
            let (dir, witnessed) =
                (layout::bucket_dir(registry), layout::bucket_witnessed_dir(registry));
            // What witnesses saw was shipped before, so the listing after has the records.
            listed.extend(bucket.list(&witnessed)?);
            let is_record = |one: &Listed| !one.key.starts_with(&witnessed);
            listed.extend(bucket.list(&dir)?.into_iter().filter(is_record));
            dirs.push(format!("{dir}/"));
        }
        let all = bucket.list(&format!("{}/{}", layout::BUCKET_ROOT, first.region()))?;
        let is_new = |one: &Listed| !dirs.iter().any(|dir| one.key.starts_with(dir));
        listed.extend(all.into_iter().filter(is_new));
        for one in listed {
            log.take(first, one);
        }
        log.link();
        Ok(log)
    }

    /// Takes in what came to the streams since they were listed, without listing again what is known; the registries stay as
    /// they were.
    pub fn refresh(&mut self) -> Result<(), BucketError> {
        let registries: Vec<Origin> = self.trust.registries().map(|(it, _)| it.clone()).collect();
        for registry in &registries {
            let root = format!("{}/{}", layout::BUCKET_ROOT, registry.region());
            let new = match registry.writer().strip_prefix("registry.") {
                Some(writer) => self.newer(&format!("{root}/{writer}"))?,
                // It speaks for whoever is there.
                None => self.bucket.list(&root)?,
            };
            for one in new {
                if !self.objects.contains_key(&one.key) {
                    self.take(registry, one);
                }
            }
        }
        self.link();
        Ok(())
    }

    /// What stands below a writer behind the newest segment of its newest life, and behind that life.
    fn newer(&self, writer: &str) -> Result<Vec<Listed>, BucketError> {
        let below = |dir: &str| {
            let dir = format!("{dir}/");
            let keys = self.objects.range(dir.clone()..).map(|(key, _)| key);
            keys.take_while(move |key| key.starts_with(&dir)).collect::<Vec<_>>()
        };
        let newest = below(writer).pop().and_then(|key| key.split('/').nth(3));
        let Some(life) = newest.map(|number| format!("{writer}/{number}")) else {
            return self.bucket.list(writer);
        };
        // A segment is here once its manifest is, which comes last.
        let segments = format!("{life}/seg");
        let last = below(&segments).into_iter().rfind(|key| key.ends_with(".man"));
        let mut listed = self.bucket.list_after(&segments, last.map(String::as_str))?;
        // Behind whatever else there is of that life.
        listed.extend(self.bucket.list_after(writer, Some(&format!("{life}/z")))?);
        Ok(listed)
    }

    fn take(&mut self, registry: &Origin, listed: Listed) {
        let Listed { key, bytes, oldest: version, written_s, flaw } = listed;
        self.bytes = self.bytes.saturating_add(bytes);
        self.found.get_mut().extend(flaw.map(|flaw| (key.clone(), flaw)));
        match file_of(registry, &key) {
            Some((_, None)) => {}
            // Two segments that begin alike: only one of them can be ours.
            Some((path, Some(_))) if self.files.contains_key(&path) => {
                self.found.get_mut().push((key.clone(), SegmentError::Stray));
            }
            Some((path, Some(file))) => drop(self.files.insert(path, file)),
            None => self.found.get_mut().push((key.clone(), SegmentError::Stray)),
        }
        self.objects.insert(key, First { version, written_s });
    }

    /// Tells each segment which one stands before it, and each directory what is in it.
    fn link(&mut self) {
        let mut before: Option<Segment> = None;
        for (path, file) in &mut self.files {
            if let File::Segment(segment) = file {
                let follows = before.as_ref().filter(|one| one.origin == segment.origin);
                segment.before = follows.map(|one| (one.first, one.size));
                before = Some(segment.clone());
            }
            let mut path = path.as_str();
            while let Some((dir, name)) = path.rsplit_once('/') {
                self.names.entry(dir.to_owned()).or_default().insert(name.to_owned());
                path = dir;
            }
        }
    }

    /// An object in its first version; an object that was never listed is gone.
    pub(crate) fn object(&self, key: &str) -> Result<Vec<u8>, SourceError> {
        match self.bucket.read_version(key, self.version(key)?) {
            Ok(Some(bytes)) => Ok(bytes.into()),
            Ok(None) => Err(gone(key)),
            Err(error) => {
                let why = causes(&error);
                Err(SourceError::Unreadable { path: key.to_owned(), why })
            }
        }
    }

    /// Which version of an object was written first, where its store keeps versions.
    pub(crate) fn version(&self, key: &str) -> Result<Option<&str>, SourceError> {
        self.objects.get(key).map(|first| first.version.as_deref()).ok_or_else(|| gone(key))
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        self.bucket
    }

    /// First record and size of each segment of a stream, in order.
    pub(crate) fn segments(&self, origin: &Origin) -> impl Iterator<Item = (u64, u64)> {
        let below = format!("{}/", layout::wal_dir(origin));
        let files = self.files.range(below.clone()..);
        let files = files.take_while(move |(path, _)| path.starts_with(&below));
        files.filter_map(|(_, file)| match file {
            File::Segment(segment) => Some((segment.first, segment.size)),
            File::Note(_) => None,
        })
    }

    /// Reads and checks one manifest.
    pub(crate) fn manifest(
        &self,
        origin: &Origin,
        at: (u64, u64),
    ) -> Result<(Manifest, Hash), SourceError> {
        let key = layout::segment_manifest(origin, at);
        let note = self.object(&key)?;
        let broken = |why| SourceError::Broken { path: key.clone(), why };
        let note = std::str::from_utf8(&note).unwrap_or_default();
        let mut opened = Err(SegmentError::Note(NoteError::Unsigned));
        for region in self.trust.regions_of(origin) {
            opened = opened.or_else(|_| {
                let (manifest, hash) = Manifest::open(note, region)?;
                Ok((region.name(), manifest, hash))
            });
        }
        let (registry, manifest, hash) = opened.map_err(broken)?;
        let mut carried = self.carried.lock();
        let least = carried.entry(registry.to_owned()).or_default();
        *least = manifest.registry.max(*least);
        drop(carried);
        let here = manifest.origin == *origin && (manifest.first, manifest.size) == at;
        if here { Ok((manifest, hash)) } else { Err(broken(SegmentError::Misplaced)) }
    }

    fn before(&self, segment: &Segment) -> Result<Option<(Manifest, Hash)>, SourceError> {
        let Some((first, size)) = segment.before else { return Ok(None) };
        let known = self.last.lock().take();
        let fits = |(manifest, _): &(Manifest, Hash)| {
            manifest.origin == segment.origin && manifest.size == size && manifest.first == first
        };
        match known.filter(fits) {
            Some(known) => Ok(Some(known)),
            None => self.manifest(&segment.origin, (first, size)).map(Some),
        }
    }

    fn segment(&self, segment: &Segment) -> Result<Vec<u8>, SourceError> {
        let at = (segment.first, segment.size);
        let (manifest, hash) = self.manifest(&segment.origin, at)?;
        let before = self.before(segment)?;
        // With one missing in between, the records say so by their numbers.
        let adjoins = before.as_ref().is_none_or(|(before, _)| before.size == manifest.first);
        if adjoins
            && (before.is_some() || manifest.first == 0)
            && !manifest.follows(before.as_ref())
        {
            let path = layout::segment_manifest(&segment.origin, at);
            return Err(SourceError::Broken { path, why: SegmentError::Previous });
        }
        let key = layout::segment_records(&segment.origin, at);
        let stored = self.object(&key)?;
        let broken = |why| SourceError::Broken { path: key.clone(), why };
        if Digest::of(&stored) != manifest.stored {
            return Err(broken(SegmentError::Stored));
        }
        let indexed = match self.indexes {
            Indexes::Checked => self.by_index(&manifest, &stored)?,
            Indexes::Unread => None,
        };
        let bundles = indexed.or_else(|| unpack(&stored, manifest.records.bytes));
        let bundles = bundles.ok_or_else(|| broken(SegmentError::Records))?;
        let file = manifest.as_log_file(&bundles).map_err(broken)?;
        *self.last.lock() = Some((manifest, hash));
        Ok(file)
    }

    /// The segment's bundles by its index. One that is gone or wrong is a finding, and no reason not to read the records.
    fn by_index(&self, manifest: &Manifest, stored: &[u8]) -> Result<Option<Vec<u8>>, SourceError> {
        let key = layout::segment_index(&manifest.origin, (manifest.first, manifest.size));
        let (bundles, why) = match self.object(&key) {
            Ok(index) => {
                let index = Index::of(manifest, &index);
                (
                    index.and_then(|index| index.unpack(stored, manifest.records.bytes)),
                    SegmentError::Index,
                )
            }
            Err(SourceError::Broken { why, .. }) => (None, why),
            Err(unreadable @ SourceError::Unreadable { .. }) => return Err(unreadable),
        };
        if bundles.is_none() {
            let (mut found, new) = (self.found.lock(), (key, why));
            // A segment may be read more than once.
            if !found.contains(&new) {
                found.push(new);
            }
        }
        Ok(bundles)
    }
}

/// The file that an object stands for, if it stands for one; `None` when the log writes no such object.
fn file_of(registry: &Origin, key: &str) -> Option<(String, Option<File>)> {
    let mut parts = key.split('/').skip(2);
    let (writer, number) = (parts.next()?, layout::parse_incarnation_name(parts.next()?)?);
    let origin = format!("{}/{}/{writer}/{number}", registry.domain(), registry.region());
    let origin = Origin::parse(&origin).ok()?;
    let (dir, name) = (parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let note = |path: String| Some((path, Some(File::Note(key.to_owned()))));
    match (dir, name) {
        ("genesis.note", None) => note(layout::genesis_note(&origin)),
        ("cp", Some(name)) => note(layout::head_file(&origin, layout::parse_head_name(name)?)),
        ("wit", Some(name)) => {
            note(layout::witnessed_file(&origin, layout::parse_head_name(name)?))
        }
        ("seg", Some(name)) => match layout::parse_manifest_name(name) {
            Some((first, size)) => {
                let path = layout::wal_file(&origin, first);
                let segment = Segment { origin, first, size, before: None };
                Some((path, Some(File::Segment(segment))))
            }
            // Its manifest makes it count; until then a shipper is at work, or died.
            None => {
                let stem = name.strip_suffix(".rec.gz").or_else(|| name.strip_suffix(".idx"))?;
                layout::parse_manifest_name(&format!("{stem}.man"))?;
                Some((String::new(), None))
            }
        },
        _ => None,
    }
}

impl LogSource for BucketLog<'_> {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        Ok(self.names.get(dir).into_iter().flatten().cloned().collect())
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        let bytes = match self.files.get(path) {
            None => return Ok(None),
            Some(File::Note(key)) => self.object(key)?,
            Some(File::Segment(segment)) => self.segment(segment)?,
        };
        Ok(Some(Cow::Owned(bytes)))
    }

    fn place(&self, path: &str) -> String {
        match self.files.get(path) {
            Some(File::Note(key)) => key.clone(),
            Some(File::Segment(segment)) => {
                layout::segment_records(&segment.origin, (segment.first, segment.size))
            }
            None => path.to_owned(),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn pieces(&self) -> Option<&dyn Pieces> {
        Some(self)
    }

    fn carried(&self, registry: &Origin) -> Option<u64> {
        Some(self.carried.lock().get(registry.as_str()).copied().unwrap_or(0))
    }

    fn kept(&self, asked: Retention) -> Kept {
        let objects = self.files.values().flat_map(File::keys);
        let first = |key: String| self.objects.get(&key).map(|first| (key, first));
        self.bucket.kept(objects.filter_map(first).collect(), asked)
    }

    fn found(&self) -> Vec<(String, SegmentError)> {
        self.found.lock().clone()
    }
}

fn gone(key: &str) -> SourceError {
    SourceError::Broken { path: key.to_owned(), why: SegmentError::Gone }
}

/// An error and everything below it, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

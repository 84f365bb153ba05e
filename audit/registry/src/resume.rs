//! A resume point: all that a registry says up to a signed head, without the records that later ones supersede.
//!
//! Pure. Not here: where points lie and when they are written (`audit/ship`). Invariant: a point that opens leads to the head in it:
//! the subtrees give the root that the region key signed, and the head's record stands at its place behind them.

use crate::{Keeps, Streams};
use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::{NoteError, Signer, Verifier};
use aegis_audit_chain::record::{Entry, HeadEntry, Record};
use aegis_audit_chain::{Head, Origin};

const TITLE: &str = "aegis.dev/audit/resume@v1";

/// The record of the newest signed head, and where the registry stood before it.
#[derive(Clone, Debug)]
pub struct Newest {
    before: Walker,
    record: Vec<u8>,
}

impl Newest {
    /// When it was written, by the registry's own clock.
    pub(super) fn ts(&self) -> u64 {
        Record::parse(&self.record).map_or(0, |record| record.head.ts)
    }

    pub fn of(before: Walker, record: &[u8]) -> Self {
        Self { before, record: record.to_vec() }
    }

    /// Where the registry stands behind the record; `None` where it does not stand at its place.
    pub(crate) fn behind(&self) -> Option<Walker> {
        let mut walker = self.before.clone();
        let checked = walker.check(&self.record).ok()?;
        walker.accept(&self.record, &checked);
        Some(walker)
    }
}

/// A registry behind one of its signed heads.
#[derive(Clone, Debug)]
pub struct Resume {
    pub(crate) newest: Newest,
    pub(crate) head: HeadEntry,
    pub(crate) behind: Walker,
    pub(crate) streams: Streams,
}

impl Resume {
    /// `None` unless the newest record is a head over all before it. The streams must keep their records (`Keeps::Newest`).
    pub fn new(newest: Newest, streams: Streams) -> Option<Self> {
        let Ok(Entry::Head(head)) = Entry::parse(&newest.record) else { return None };
        let (behind, known) = (newest.behind()?, newest.before.head());
        let holds = (head.size, head.root) == (known.size, known.root);
        holds.then_some(Self { newest, head, behind, streams })
    }

    pub fn origin(&self) -> &Origin {
        self.behind.origin()
    }

    /// How many records it stands for, which is also the number of the first one behind it.
    pub fn size(&self) -> u64 {
        self.behind.size()
    }

    /// Stands behind the head's record.
    pub fn walker(&self) -> &Walker {
        &self.behind
    }

    /// The signed head that is the last record.
    pub fn head(&self) -> Head {
        self.newest.before.head()
    }

    /// That head as a note of its own.
    pub fn head_note(&self) -> String {
        self.head().note_with(&self.head.sig)
    }

    /// How many streams it knows.
    pub fn streams(&self) -> usize {
        self.streams.list().len()
    }

    pub fn note(&self, region: &Signer) -> String {
        region.note(&self.text())
    }

    /// Reads a point that the region key signed; the key must be named after the registry.
    pub fn open(note: &str, region: &Verifier) -> Result<Self, NoteError> {
        let point = Self::parse(region.open_table(note)?).ok_or(NoteError::Malformed)?;
        if point.origin().as_str() != region.name() {
            return Err(NoteError::Malformed);
        }
        region.check(&point.head().checkpoint(), &point.head.sig)?;
        Ok(point)
    }

    fn text(&self) -> String {
        let mut text = format!("{TITLE}\n{}", self.newest.before.stands());
        for record in self.streams.records().chain([self.newest.record.as_slice()]) {
            // Whatever is a record is text.
            text.push_str(&String::from_utf8_lossy(record));
            text.push('\n');
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != TITLE {
            return None;
        }
        let before = Walker::standing(&mut lines)?;
        let mut records: Vec<&str> = lines.collect();
        let newest = Newest { record: records.pop()?.as_bytes().to_vec(), before };
        let mut streams = Streams::new(Keeps::Newest);
        for record in records {
            let Record { head, entry } = Record::parse(record.as_bytes()).ok()?;
            let said = (head.seq, record.as_bytes());
            streams.apply(newest.before.origin(), said, entry).ok()?;
        }
        let point = Self::new(newest, streams)?;
        // One meaning has one text.
        (point.text() == text).then_some(point)
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::Timestamp;

    use super::*;
    use crate::{Registry, RegistryReader};
    use aegis_audit_chain::Hash;
    use aegis_audit_chain::frame::{Header, push_frame};
    use aegis_audit_chain::link::{Reading, Sequencer};
    use aegis_audit_chain::note::SecretKey;
    use aegis_audit_chain::record::{
        AnchorEntry, BornEntry, ClosedEntry, Draft, Ending, GenesisEntry, RevokedEntry,
    };

    const NAME: &str = "d/r/registry.gw/1";

    fn region() -> Signer {
        Signer::new(NAME, SecretKey::from_seed(&[1; 32]))
    }

    fn stream(n: u64) -> Origin {
        Origin::stream("d", "r", "gw", n).unwrap()
    }

    fn born(n: u64) -> Draft {
        let key = SecretKey::from_seed(&[2; 32]).verifier(stream(n).as_str());
        let (origin, vkey) = (stream(n), key.to_string());
        BornEntry { origin, vkey, previous: None }.draft().unwrap()
    }

    fn anchor(n: u64, size: u64) -> Draft {
        let root = Hash::of(&size.to_be_bytes());
        let sig = region().sign("anything");
        AnchorEntry { origin: stream(n), size, root, tenants: None, sig }.draft().unwrap()
    }

    /// That its key was stolen may be learned after its end.
    fn revoked(n: u64, size: u64) -> Draft {
        let (root, reason) = (Hash::of(&size.to_be_bytes()), "stolen".to_owned());
        RevokedEntry { origin: stream(n), size, root, reason }.draft().unwrap()
    }

    fn closed(n: u64, size: u64) -> Draft {
        let (root, how) = (Hash::of(&size.to_be_bytes()), Ending::Closed);
        let (tenants, torn) = (None, None);
        ClosedEntry { origin: stream(n), how, size, root, tenants, torn }.draft().unwrap()
    }

    /// A registry of two files, and the number that the second begins with.
    fn files() -> ([Vec<u8>; 2], u64) {
        let region = region();
        let origin = Origin::parse(NAME).unwrap();
        let genesis = GenesisEntry {
            origin: origin.clone(),
            vkey: region.verifier().to_string(),
            build: "b".to_owned(),
            config_sha256: Hash::ZERO,
            previous: None,
        };
        let first = vec![
            vec![genesis.draft().unwrap()],
            vec![born(1)],
            vec![anchor(1, 3), anchor(1, 9)],
            vec![closed(1, 9), born(2)],
            vec![anchor(2, 4), revoked(1, 9)],
            vec![anchor(2, 6)],
        ];
        let mut sequencer = Sequencer::new(origin);
        let mut file = |commits: Vec<Vec<Draft>>| {
            let origin = sequencer.origin().clone();
            let mut bytes = Header { origin, first: sequencer.size() }.encode();
            for mut drafts in commits {
                let mut sequencer_after = sequencer.clone();
                let now = |of: &Sequencer| Reading {
                    wall: Timestamp::from_unix_ns(1_000 + of.size()),
                    mono_ns: of.size(),
                };
                drafts.iter().for_each(|one| {
                    let _placed = sequencer_after.place(one.clone(), now(&sequencer_after));
                });
                let Head { size, root, .. } = sequencer_after.head();
                let sig = region.sign(&sequencer_after.head().checkpoint());
                drafts.push(HeadEntry { size, root, sig }.draft().unwrap());
                for draft in drafts {
                    let at = now(&sequencer);
                    push_frame(&mut bytes, &sequencer.place(draft, at).bytes);
                }
            }
            (bytes, sequencer.size())
        };
        let (before, begins) = file(first);
        let (after, _) = file(vec![vec![anchor(2, 8)], vec![closed(2, 8), born(3)]]);
        ([before, after], begins)
    }

    fn read(mut reader: RegistryReader, files: &[(u64, &Vec<u8>)]) -> Registry {
        files.iter().for_each(|(first, bytes)| reader.file(*first, bytes).unwrap());
        reader.finish().unwrap()
    }

    fn point() -> (Resume, [Vec<u8>; 2], u64) {
        let (files, begins) = files();
        let (origin, key) = (Origin::parse(NAME).unwrap(), region().verifier().clone());
        let known = read(RegistryReader::newest(origin, key, None), &[(0, &files[0])]);
        let point = Resume::new(known.newest().unwrap().clone(), known.table().clone()).unwrap();
        (point, files, begins)
    }

    #[test]
    fn a_registry_goes_on_behind_a_point_as_behind_all_it_stands_for() {
        let (point, [before, after], begins) = point();
        assert_eq!((point.size(), point.streams()), (begins, 2));
        let key = region().verifier().clone();
        let opened = Resume::open(&point.note(&region()), &key).unwrap();
        assert_eq!(opened.head_note(), opened.head().note(&region()));
        let behind = RegistryReader::after(opened, (key.clone(), None), Keeps::Newest);
        let behind = read(behind, &[(begins, &after)]);
        let origin = Origin::parse(NAME).unwrap();
        let all = [(0, &before), (begins, &after)];
        let whole = read(RegistryReader::newest(origin.clone(), key.clone(), None), &all);
        let every = read(RegistryReader::new(origin, key), &all);
        assert_eq!(behind.signed_head(), every.signed_head());
        assert_eq!((behind.end(), behind.walker().head()), (every.end(), every.walker().head()));
        assert_eq!((behind.begins(), every.begins()), (begins, 0));
        let said = |of: &Registry| {
            let one = |it: &crate::Stream| {
                (it.born.clone(), it.anchors.last().cloned(), it.closed.clone(), it.revoked.clone())
            };
            of.streams().iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(said(&behind), said(&every));
        assert_eq!(said(&whole), said(&every));
        assert!(behind.streams().iter().any(|stream| stream.revoked.is_some()));
        let next = |of: &Registry| {
            let newest = of.newest().unwrap().clone();
            Resume::new(newest, of.table().clone()).unwrap().note(&region())
        };
        assert_eq!(next(&behind), next(&whole));
        assert!(every.streams().iter().any(|stream| stream.anchors.len() > 1));
        assert!(whole.streams().iter().all(|stream| stream.anchors.len() < 2));
    }

    #[test]
    fn a_point_that_does_not_lead_to_its_head_is_refused_whoever_signed_it() {
        let (point, ..) = point();
        let (text, key) = (point.text(), region().verifier().clone());
        assert!(Resume::open(&region().note(&text), &key).is_ok());
        let lines: Vec<&str> = text.lines().collect();
        // Four of the first stream, two of the second, the head; the superseded anchors are left out.
        assert_eq!(lines.len(), 6 + 4 + 2 + 1);
        let with = |at: usize, line: &str| {
            let mut lines = lines.clone();
            lines[at] = line;
            lines.join("\n") + "\n"
        };
        let without = |at: usize| {
            let mut lines = lines.clone();
            lines.remove(at);
            lines.join("\n") + "\n"
        };
        let other = Hash::of(b"other").standard();
        let peaks: Vec<&str> = lines[4].split(' ').collect();
        let wrong_peaks = [&[other.as_str()], &peaks[1..]].concat().join(" ");
        let size: u64 = lines[2].parse().unwrap();
        let last = lines.len() - 1;
        let sig = lines[last].replace(&point.head.sig, &region().sign("another text"));
        let swapped = [&lines[..6], &[lines[7], lines[6]], &lines[8..]].concat().join("\n") + "\n";
        let twice = [&lines[..7], &lines[6..]].concat().join("\n") + "\n";
        for (what, bad) in [
            ("another title", with(0, "aegis.dev/audit/pruned@v1")),
            ("another name", with(1, "d/r/registry.gw/2")),
            ("another size", with(2, &(size + 1).to_string())),
            ("another spelling of its size", with(2, &format!("0{size}"))),
            ("another hash before", with(3, &other)),
            ("another subtree", with(4, &wrong_peaks)),
            ("a later clock", with(5, "99999999999 1000")),
            ("a head that nobody signed", with(last, &sig)),
            ("no head", without(last)),
            ("no birth", without(6)),
            ("records in another order", swapped),
            ("a record twice", twice),
            ("an empty line", text.replacen("\n{", "\n\n{", 1)),
        ] {
            assert!(Resume::open(&region().note(&bad), &key).is_err(), "{what}: {bad}");
        }
    }
}

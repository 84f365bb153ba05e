//! What the shipping tests share: a journal with calls in it, a folder it is shipped to, and the verifier over that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_audit_chain::link::{Reading, Sequencer, Walker};
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::record::{Draft, HeadEntry};
use aegis_audit_chain::{Head, Origin};
use aegis_audit_ship::{
    Address, Bucket, BucketLog, Disk, DiskFile, Indexes, Journal, JournalConfig, RealDisk,
    ShipConfig, Shipper, Standing, start,
};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Options, Report};

use crate::crews::agreed;

#[path = "../journal/support.rs"]
mod journal;

pub(crate) use journal::{
    DirSource, config, copy_dir, decision, outcome, region_key, rewrite, trust,
    verify as verify_local, wals, write_calls,
};

pub(crate) const STREAM: &str = "streams/gw-1/00000000000000000001";
/// Where that stream lies in a bucket.
pub(crate) const SHIPPED: &str = "v1/eu-west-1/gw-1/00000000000000000001";
pub(crate) const REGISTRY: &str = "aegis.example/eu-west-1/registry.gw-1/1";
const PATIENCE: Duration = Duration::from_secs(30);

/// A journal's directory and the folder it is shipped to.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) bucket: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), bucket: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn journal(&self) -> JournalConfig {
        config(self.dir.path())
    }

    pub(crate) fn open(&self) -> Journal {
        Journal::open(self.journal()).unwrap().0
    }

    pub(crate) fn address(&self) -> Address {
        address(self.bucket.path())
    }

    pub(crate) fn shipping(&self) -> ShipConfig {
        let every = Duration::from_millis(50);
        ShipConfig { every, ..ShipConfig::new(&self.journal(), self.address()).unwrap() }
    }

    /// One life: so many calls, an end in order, and everything shipped.
    pub(crate) fn live(&self, calls: u64) -> Standing {
        let journal = self.open();
        let shipper = start(self.shipping(), &journal).unwrap();
        write_calls(&journal, calls);
        journal.close().unwrap();
        let standing = shipper.stop(PATIENCE);
        assert_eq!(standing.trouble, None);
        standing
    }

    pub(crate) fn verify(&self) -> Report {
        verify(&self.address())
    }

    /// A file in the bucket.
    pub(crate) fn object(&self, name: &str) -> PathBuf {
        self.bucket.path().join(SHIPPED).join(name)
    }

    /// The paths of the stream's objects that end like that, in order.
    pub(crate) fn objects(&self, ending: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.object("seg")).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.to_str().unwrap().ends_with(ending));
        paths.sort();
        paths
    }
}

/// A real disk, but for how files are renamed.
pub(crate) struct Renames<F>(pub(crate) F);

impl<F: Fn(&Path, &Path) -> io::Result<()> + Send + Sync + 'static> Disk for Renames<F> {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.create(path, bytes)
    }

    fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.reopen(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
}

/// The name of that stream.
pub(crate) fn origin() -> Origin {
    Origin::parse("aegis.example/eu-west-1/gw-1/1").unwrap()
}

pub(crate) fn address(bucket: &Path) -> Address {
    Address { url: format!("file://{}", bucket.display()), options: Vec::new() }
}

pub(crate) fn verify(address: &Address) -> Report {
    verify_under(address, &trust())
}

pub(crate) fn verify_under(address: &Address, trust: &Trust) -> Report {
    let bucket = Bucket::open(address).unwrap();
    let log = BucketLog::open(&bucket, trust, Indexes::Checked).unwrap();
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
    agreed(&log, trust, &options)
}

/// Waits until the shipper's standing is as wished.
pub(crate) fn wait_for(shipper: &Shipper, wished: impl Fn(&Standing) -> bool) -> Standing {
    let begun = Instant::now();
    loop {
        let standing = shipper.standing();
        if wished(&standing) {
            return standing;
        }
        assert!(begun.elapsed() < PATIENCE, "{standing:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Goes on with a registry's file as the holder of its key can: with these records and a head over them.
pub(crate) fn sign_on(file: &Path, signer: &Signer, drafts: Vec<Draft>) {
    rewrite(file, |records| {
        let mut walker = Walker::new(Origin::parse(signer.verifier().name()).unwrap());
        for record in records.iter() {
            let checked = walker.check(record).unwrap();
            walker.accept(record, &checked);
        }
        let mut sequencer = Sequencer::resume(walker);
        let wall = (config(Path::new("")).clock)();
        let now = Reading { wall, mono_ns: sequencer.mono_ns() };
        for draft in drafts {
            records.push(sequencer.place(draft, now).bytes);
        }
        let Head { size, root, .. } = sequencer.head();
        let sig = signer.sign(&sequencer.head().checkpoint());
        let head = HeadEntry { size, root, sig };
        records.push(sequencer.place(head.draft().unwrap(), now).bytes);
    });
}

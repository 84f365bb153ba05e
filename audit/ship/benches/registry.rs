//! What it takes to start on an old registry: time and memory to read all of it, and to go on from a resume point.
//!
//! Not a test: no figure fails anything. Always holds: each start is a process of its own, so that its memory is its own.
//! Run `cargo bench -p aegis-audit-ship --bench registry -- <folder> [records]`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench may fail loudly, and it prints"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aegis_audit_chain::frame::{Header, push_frame};
use aegis_audit_chain::link::{Reading, Sequencer};
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::{
    AnchorEntry, BornEntry, ClosedEntry, Draft, Ending, GenesisEntry, HeadEntry,
};
use aegis_audit_chain::roster::Roster;
use aegis_audit_chain::{Hash, Origin, birth_note, layout};
use aegis_audit_registry::RegistryReader;
use aegis_audit_ship::{FILE_BYTES, Journal, JournalConfig, RealDisk};
use aegis_domain::{Region, Timestamp};

const RECORDS: u64 = 2_000_000;
/// A registry's files have so many bytes.
const REGISTRY_FILE_BYTES: usize = 4 * 1024 * 1024;
/// How often a head is written to a note of its own: once a minute, a head a second.
const NOTED: u64 = 60;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    if let [mode, dir] = &words[..]
        && ["all", "open"].contains(&mode.as_str())
    {
        return start(mode, Path::new(dir));
    }
    let folder = words.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let records = words.get(1).map_or(RECORDS, |records| records.parse().unwrap());
    let dir = tempfile::tempdir_in(folder).unwrap();
    let begun = Instant::now();
    let bytes = make(dir.path(), records);
    println!("{records} records, {} MB, made in {:.0?}", bytes / 1_000_000, begun.elapsed());
    println!("\n| start | ms | peak memory MB |\n|---|---|---|");
    for (what, mode) in [
        ("every file read, every head kept (as before resume points)", "all"),
        ("a registry that has no resume point yet", "open"),
        ("from a resume point", "open"),
        ("from a resume point, again", "open"),
    ] {
        let program = std::env::current_exe().unwrap();
        let told = Command::new(program).arg(mode).arg(dir.path()).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        println!("| {what} | {}", String::from_utf8_lossy(&told.stdout).trim());
    }
}

fn start(mode: &str, dir: &Path) {
    let begun = Instant::now();
    match mode {
        "all" => read_all(dir),
        _ => {
            let (journal, _) = Journal::open(config(dir)).unwrap();
            let took = begun.elapsed();
            drop(journal);
            return show(took);
        }
    }
    show(begun.elapsed());
}

fn show(took: Duration) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    println!("{:.1} | {} |", took.as_secs_f64() * 1e3, peak / 1_000);
}

fn read_all(dir: &Path) {
    let (origin, region) = (registry(), key().verifier(registry().as_str()));
    let mut reader = RegistryReader::new(origin.clone(), region);
    let mut names: Vec<PathBuf> = fs::read_dir(dir.join(layout::wal_dir(&origin)))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for path in names {
        let first = layout::parse_wal_name(path.file_name().unwrap().to_str().unwrap()).unwrap();
        reader.file(first, &fs::read(path).unwrap()).unwrap();
    }
    assert!(!reader.finish().unwrap().streams().is_empty());
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn registry() -> Origin {
    Origin::registry("aegis.example", "eu-west-1", "gw-1", 1).unwrap()
}

fn config(dir: &Path) -> JournalConfig {
    JournalConfig {
        dir: dir.to_path_buf(),
        domain: "aegis.example".to_owned(),
        region: Region::parse("eu-west-1").unwrap(),
        writer: "gw-1".to_owned(),
        build: "figures".to_owned(),
        config_sha256: Hash::of(b"config"),
        region_key: key(),
        clock: Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
        }),
        disk: Arc::new(RealDisk),
        file_bytes: FILE_BYTES,
        revoked: Vec::new(),
    }
}

/// A registry as versions before resume points left it: of a gateway that ran so long, and ended.
struct Maker<'m> {
    dir: &'m Path,
    signer: Signer,
    sequencer: Sequencer,
    first: u64,
    file: Vec<u8>,
    bytes: u64,
    /// Only the newest signature is ever checked.
    sig: String,
}

fn make(dir: &Path, records: u64) -> u64 {
    let (origin, stream) = (registry(), Origin::parse("aegis.example/eu-west-1/gw-1/1").unwrap());
    let signer = Signer::new(origin.as_str(), key());
    for of in [layout::wal_dir(&origin), layout::heads_dir(&origin)] {
        fs::create_dir_all(dir.join(of)).unwrap();
    }
    let birth = birth_note(signer.verifier(), &signer);
    fs::write(dir.join(layout::genesis_note(&origin)), birth).unwrap();
    let vkey = SecretKey::from_seed(&[8; 32]).verifier(stream.as_str()).to_string();
    let genesis = GenesisEntry {
        origin: origin.clone(),
        vkey: signer.verifier().to_string(),
        build: "figures".to_owned(),
        config_sha256: Hash::of(b"config"),
        previous: None,
    };
    let sequencer = Sequencer::new(origin.clone());
    let file = Header { origin, first: 0 }.encode();
    let sig = signer.sign("");
    let mut maker = Maker { dir, signer, sequencer, first: 0, file, bytes: 0, sig };
    let born = BornEntry { origin: stream.clone(), vkey, previous: None };
    maker.commit(&[genesis.draft().unwrap()], true);
    maker.commit(&[born.draft().unwrap()], true);
    let tenants = Some(Roster { count: 1, root: Hash::leaf(b"tenant") });
    let mut size = 0_u64;
    while maker.sequencer.size() < records.saturating_sub(2) {
        size += 10;
        let (origin, root) = (stream.clone(), Hash::of(&size.to_be_bytes()));
        let sig = maker.sig.clone();
        let anchor = AnchorEntry { origin, size, root, tenants, sig };
        maker.commit(&[anchor.draft().unwrap()], size.is_multiple_of(10 * NOTED));
    }
    let root = Hash::of(&size.to_be_bytes());
    let (how, torn) = (Ending::Closed, None);
    let closed = ClosedEntry { origin: stream, how, size, root, tenants, torn };
    maker.commit(&[closed.draft().unwrap()], true);
    maker.keep();
    maker.bytes
}

impl Maker<'_> {
    fn commit(&mut self, drafts: &[Draft], noted: bool) {
        if self.file.len() + 4_096 > REGISTRY_FILE_BYTES {
            self.keep();
        }
        for draft in drafts {
            self.push(draft.clone());
        }
        let head = self.sequencer.head();
        if noted {
            self.sig = self.signer.sign(&head.checkpoint());
            let path = self.dir.join(layout::head_file(&head.origin, head.size));
            fs::write(path, head.note_with(&self.sig)).unwrap();
        }
        let entry = HeadEntry { size: head.size, root: head.root, sig: self.sig.clone() };
        self.push(entry.draft().unwrap());
    }

    fn push(&mut self, draft: Draft) {
        let mono_ns = self.sequencer.size() * 500_000_000;
        let wall = Timestamp::from_unix_ns(1_790_000_000_000_000_000 + mono_ns);
        let placed = self.sequencer.place(draft, Reading { wall, mono_ns });
        push_frame(&mut self.file, &placed.bytes);
    }

    fn keep(&mut self) {
        let origin = self.sequencer.origin().clone();
        let path = self.dir.join(layout::wal_file(&origin, self.first));
        fs::write(path, &self.file).unwrap();
        self.bytes += self.file.len() as u64;
        self.first = self.sequencer.size();
        self.file = Header { origin, first: self.first }.encode();
    }
}

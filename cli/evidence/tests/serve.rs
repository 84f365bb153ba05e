//! `audit serve`, read by another project's client: `tlog_tiles`, of Cloudflare's.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_audit_chain::frame::{Header, push_frame};
use aegis_audit_chain::link::{Pruned, Reading, Sequencer, Walker};
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::{
    AnchorEntry, BornEntry, ClockEntry, Draft, GenesisEntry, HeadEntry,
};
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Hash, Head, Origin, birth_note, layout, tree};
use aegis_audit_ship::{Journal, JournalConfig, RealDisk};
use aegis_audit_trust::Trust;
use aegis_cli_evidence::{LogArgs, ServeArgs};
use aegis_domain::{Region, Timestamp};
use tlog_tiles::{
    Checkpoint, Error, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record,
    prove_tree, record_hash,
};

/// Enough for two full tiles, a tile above them, and a part of a third.
const RECORDS: u64 = 700;

fn trust(writer: &str) -> Trust {
    let registry = format!("aegis.example/eu-west-1/registry.{writer}/1");
    Trust::of(key(writer).verifier(&registry)).unwrap()
}

fn key(writer: &str) -> SecretKey {
    let number = writer.bytes().last().unwrap();
    SecretKey::from_seed(&[number; 32])
}

fn journal(root: &Path, writer: &str) -> Origin {
    let config = JournalConfig {
        dir: root.join("audit"),
        domain: "aegis.example".to_owned(),
        region: Region::parse("eu-west-1").unwrap(),
        writer: writer.to_owned(),
        build: "test".to_owned(),
        config_sha256: Hash::of(b""),
        region_key: key(writer),
        clock: Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            Timestamp::from_unix_ns(since.as_nanos().try_into().unwrap())
        }),
        disk: Arc::new(RealDisk),
        file_bytes: 64 * 1_024,
        revoked: Vec::new(),
    };
    let (journal, _) = Journal::open(config).unwrap();
    for _ in 0..RECORDS {
        let draft = ClockEntry { step_ns: 0 }.draft().unwrap();
        drop(journal.append_blocking(draft).unwrap());
    }
    journal.close().unwrap();
    journal.origin().clone()
}

fn get(address: SocketAddr, path: &str) -> (String, Vec<u8>) {
    let mut peer = TcpStream::connect(address).unwrap();
    write!(peer, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).unwrap();
    (head.lines().next().unwrap().to_owned(), body)
}

/// Their reader, over our server.
struct Remote {
    address: SocketAddr,
    log: String,
}

impl TileReader for Remote {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            // Their path names the height, which the specification fixes at 8.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            let (status, body) = get(self.address, &format!("/{}/{path}", self.log));
            assert_eq!(status, "HTTP/1.1 200 OK", "{path}");
            body
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

#[test]
fn their_client_proves_every_entry_and_the_growth_of_the_tree_from_our_tiles() {
    let dir = tempfile::tempdir().unwrap();
    let origin = journal(dir.path(), "gw-1");
    // Another gateway's journal, copied into the same folder.
    let other = journal(&dir.path().join("other"), "gw-2");
    for below in ["registry.gw-2", "streams/gw-2"] {
        let from = dir.path().join("other/audit").join(below);
        std::fs::rename(from, dir.path().join("audit").join(below)).unwrap();
    }
    let both = trust("gw-1").join(trust("gw-2")).unwrap();
    std::fs::write(dir.path().join("trust.txt"), both.to_string()).unwrap();
    let log = LogArgs { from: None, store_option: Vec::new(), trust: None };
    let args = ServeArgs { listen: "127.0.0.1:0".parse().unwrap(), log };
    let server = args.bind(dir.path()).unwrap();
    let address = server.address().unwrap();
    thread::spawn(move || server.run());

    let (_, names) = get(address, "/");
    let names = String::from_utf8(names).unwrap();
    assert!(names.contains(origin.as_str()) && names.contains(other.as_str()), "{names}");
    assert_eq!(get(address, &format!("/{other}/checkpoint")).0, "HTTP/1.1 200 OK");
    let (_, note) = get(address, &format!("/{origin}/checkpoint"));
    let text = String::from_utf8(note).unwrap();
    let text = &text[..=text.find("\n\n").unwrap()];
    let head = Checkpoint::from_bytes(text.as_bytes()).unwrap();
    // Genesis, anchor_ref and what was put in, the seal and close.
    assert_eq!((head.origin(), head.size()), (origin.as_str(), RECORDS + 4));

    let remote = Remote { address, log: origin.to_string() };
    let hashes = TileHashReader::new(head.size(), *head.hash(), &remote);
    let mut entries = Vec::new();
    for bundle in 0..=head.size() / 256 {
        let width = (head.size() - bundle * 256).min(256);
        let part = if width < 256 { format!(".p/{width}") } else { String::new() };
        let (_, mut body) = get(address, &format!("/{origin}/tile/entries/{bundle:03}{part}"));
        while !body.is_empty() {
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            entries.push(body[2..2 + length].to_vec());
            body.drain(..2 + length);
        }
    }
    assert_eq!(entries.len() as u64, head.size());
    for index in [0, 1, 255, 256, 511, 512, 700, head.size() - 1] {
        let proof = prove_record(head.size(), index, &hashes).unwrap();
        let leaf = record_hash(&entries[usize::try_from(index).unwrap()]);
        assert!(check_record(&proof, head.size(), *head.hash(), index, leaf).is_ok(), "{index}");
        let other = record_hash(b"another");
        assert!(check_record(&proof, head.size(), *head.hash(), index, other).is_err());
    }
    // An earlier size, whose root is computed from the entries themselves.
    let leaves: Vec<Hash> = entries.iter().take(300).map(|it| Hash::leaf(it)).collect();
    let before = tlog_tiles::Hash(*tree::root(&leaves).as_bytes());
    let proof = prove_tree(head.size(), 300, &hashes).unwrap();
    assert!(check_tree(&proof, head.size(), *head.hash(), 300, before).is_ok());

    for path in ["/nothing", "/a/b/c/1/checkpoint", "/../../etc/passwd"] {
        assert_eq!(get(address, path).0, "HTTP/1.1 404 Not Found", "{path}");
    }
    for path in ["tile/0/003", "tile/2/000.p/1", "tile/entries/003", "tile/0/002.p/200"] {
        assert_eq!(
            get(address, &format!("/{origin}/{path}")).0,
            "HTTP/1.1 404 Not Found",
            "{path}"
        );
    }
    let mut peer = TcpStream::connect(address).unwrap();
    write!(peer, "POST / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[test]
fn tiles_that_need_deleted_records_are_refused_by_the_regions_word_alone() {
    let dir = tempfile::tempdir().unwrap();
    let origin = journal(dir.path(), "gw-1");
    std::fs::write(dir.path().join("trust.txt"), trust("gw-1").to_string()).unwrap();
    // As a shipper does: the note, and then the file goes.
    let first = dir.path().join("audit").join(layout::wal_file(&origin, 0));
    let mut walker = Walker::new(origin.clone());
    walk_file(&mut walker, (0, &std::fs::read(&first).unwrap()), &mut |_, _| {});
    let pruned = Pruned { walker, last_ts: 1 };
    std::fs::remove_file(first).unwrap();
    for (writer, is_deleted) in [("gw-1", true), ("gw-2", false)] {
        let by = Signer::new("aegis.example/eu-west-1/registry.gw-1/1", key(writer));
        let note = dir.path().join("audit").join(layout::pruned_note(&origin));
        std::fs::write(note, pruned.note(&by)).unwrap();
        let log = LogArgs { from: None, store_option: Vec::new(), trust: None };
        let args = ServeArgs { listen: "127.0.0.1:0".parse().unwrap(), log };
        let server = args.bind(dir.path()).unwrap();
        let address = server.address().unwrap();
        thread::spawn(move || server.run());
        let (status, body) = get(address, &format!("/{origin}/checkpoint"));
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, "HTTP/1.1 500 Internal Server Error", "{body}");
        assert_eq!(body.contains("were shipped and deleted here"), is_deleted, "{body}");
    }
}

/// How many records the long log has, where not `LONG`. Two million take a gigabyte of disk for a while.
const LONG_ASKED: &str = "AEGIS_SERVED_RECORDS";
/// Where it is left, to be served by other versions.
const LONG_KEPT: &str = "AEGIS_SERVED_KEPT";
const LONG: u64 = 20_000;
/// Records of a file of the long log.
const FILE_RECORDS: u64 = 200_000;

/// Places drafts and keeps their frames.
struct Written {
    sequencer: Sequencer,
    signer: Signer,
    file: Vec<u8>,
    first: u64,
}

impl Written {
    fn new(name: &str, seed: u8) -> Self {
        let (origin, key) = (Origin::parse(name).unwrap(), SecretKey::from_seed(&[seed; 32]));
        let file = Header { origin: origin.clone(), first: 0 }.encode();
        let (signer, sequencer) = (Signer::new(name, key), Sequencer::new(origin.clone()));
        let mut written = Self { sequencer, signer, file, first: 0 };
        let vkey = written.signer.verifier().to_string();
        let (build, config_sha256, previous) = ("test".to_owned(), Hash::ZERO, None);
        let genesis = GenesisEntry { origin, vkey, build, config_sha256, previous };
        written.put(genesis.draft().unwrap());
        written
    }

    fn origin(&self) -> Origin {
        Origin::parse(self.signer.verifier().name()).unwrap()
    }

    fn put(&mut self, draft: Draft) {
        let mono_ns = self.sequencer.size();
        let now =
            Reading { wall: Timestamp::from_unix_ns(1_790_000_000_000_000_000 + mono_ns), mono_ns };
        push_frame(&mut self.file, &self.sequencer.place(draft, now).bytes);
    }

    fn sign(&mut self) {
        let Head { size, root, .. } = self.sequencer.head();
        let sig = self.signer.sign(&self.sequencer.head().checkpoint());
        self.put(HeadEntry { size, root, sig }.draft().unwrap());
    }

    /// Ends the file and begins the next.
    fn end_file(&mut self, dir: &Path) {
        let (origin, size) = (self.origin(), self.sequencer.size());
        let next = Header { origin: origin.clone(), first: size }.encode();
        let path = dir.join(layout::wal_file(&origin, self.first));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, std::mem::replace(&mut self.file, next)).unwrap();
        self.first = size;
    }
}

/// A log of so many records, in several files.
fn long_log(dir: &Path, records: u64) -> (Origin, Trust) {
    let mut registry = Written::new("aegis.example/eu-west-1/registry.gw-1/1", 1);
    let mut stream = Written::new("aegis.example/eu-west-1/gw-1/1", 2);
    let origin = stream.origin();
    let vkey = stream.signer.verifier().to_string();
    registry.put(BornEntry { origin: origin.clone(), vkey, previous: None }.draft().unwrap());
    registry.sign();
    while stream.sequencer.size() < records {
        stream.put(ClockEntry { step_ns: 0 }.draft().unwrap());
        if stream.sequencer.size().is_multiple_of(FILE_RECORDS.min(records / 3)) {
            stream.end_file(dir);
        }
    }
    stream.end_file(dir);
    let Head { size, root, .. } = stream.sequencer.head();
    let sig = stream.signer.sign(&stream.sequencer.head().checkpoint());
    let anchor = AnchorEntry { origin: origin.clone(), size, root, tenants: None, sig };
    registry.put(anchor.draft().unwrap());
    registry.sign();
    registry.end_file(dir);
    let note = birth_note(stream.signer.verifier(), &registry.signer);
    std::fs::write(dir.join(layout::genesis_note(&origin)), note).unwrap();
    (origin, Trust::of(registry.signer.verifier().clone()).unwrap())
}

/// A figure of this process' memory, in bytes.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

#[test]
#[expect(clippy::print_stderr, reason = "a long run says what it took")]
fn a_log_of_any_length_is_served_in_the_memory_of_one_file() {
    let records = std::env::var(LONG_ASKED).map_or(LONG, |records| records.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let kept = std::env::var_os(LONG_KEPT).map(std::path::PathBuf::from);
    let root = kept.as_deref().unwrap_or(dir.path());
    let (origin, trust) = long_log(&root.join("audit"), records);
    std::fs::write(root.join("trust.txt"), trust.to_string()).unwrap();
    let log = LogArgs { from: None, store_option: Vec::new(), trust: None };
    let args = ServeArgs { listen: "127.0.0.1:0".parse().unwrap(), log };
    let server = args.bind(root).unwrap();
    let address = server.address().unwrap();
    thread::spawn(move || server.run());
    let before = memory("VmRSS");

    let (_, note) = get(address, &format!("/{origin}/checkpoint"));
    let text = String::from_utf8(note).unwrap();
    let text = &text[..=text.find("\n\n").unwrap()];
    let head = Checkpoint::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(head.size(), records);
    let remote = Remote { address, log: origin.to_string() };
    let hashes = TileHashReader::new(head.size(), *head.hash(), &remote);
    let step = usize::try_from((records / 40).max(1)).unwrap();
    for index in (0..records).step_by(step).chain([records - 1]) {
        let proof = prove_record(head.size(), index, &hashes).unwrap();
        let (_, bundle) = get(address, &format!("/{origin}/{}", entries(index / 256, records)));
        let leaf = record_hash(nth(&bundle, index % 256));
        assert!(check_record(&proof, head.size(), *head.hash(), index, leaf).is_ok(), "{index}");
    }
    let took = memory("VmRSS").saturating_sub(before);
    eprintln!(
        "{records} records: {} KiB more after serving, {} KiB at most",
        took / 1_024,
        memory("VmHWM") / 1_024
    );
    assert!(took < 160 << 20, "{took}");
}

/// The path of a bundle.
fn entries(index: u64, records: u64) -> String {
    let width = (records - index * 256).min(256);
    let part = if width < 256 { format!(".p/{width}") } else { String::new() };
    let (high, low) = (index / 1_000, index % 1_000);
    let index = if high > 0 { format!("x{high:03}/{low:03}") } else { format!("{low:03}") };
    format!("tile/entries/{index}{part}")
}

/// An entry of a bundle.
fn nth(mut bundle: &[u8], nth: u64) -> &[u8] {
    let mut entry = bundle;
    for _ in 0..=nth {
        let (length, rest) = bundle.split_first_chunk().unwrap();
        (entry, bundle) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
    }
    entry
}

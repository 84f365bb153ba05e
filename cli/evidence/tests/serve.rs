//! `audit serve`, read by another project's client: `tlog_tiles`, of Cloudflare's.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::record::ClockEntry;
use aegis_audit_chain::{Hash, Origin, tree};
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
